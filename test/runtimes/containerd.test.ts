/**
 * containerd on Heddle, the release of Debian 12 and the newest: one container of `ctr` and one pod each, from the start
 * to the end. What takes longer is in `containerd.long.test.ts`.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { serveIn } from "../../src/testing/traffic.ts";
import { patience } from "../../src/testing/slowdown.ts";
import {
  containerdSite,
  containerdTree,
  type ContainerdVersion,
  containerds,
  POD_NETWORK,
} from "./containerd.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft, owned } from "./left.ts";
import { endPod, networkReady, podIds, runPod } from "./pods.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const versions = Object.keys(containerds) as ContainerdVersion[];
const LIMIT_MS = patience(60_000);

for (const version of versions) {
  const tree = await containerdTree(version);
  const runtimeTest = groundTest(tree);

  describe(`containerd ${version}`, () => {
    runtimeTest(
      "gives a container of ctr its network, and takes everything back at its end",
      async () => {
        await using site = await containerdSite(version, tree, heddle);
        await using machine = await outside(site.on);
        await using _server = await serveIn(machine.path, UPLINK.outside, 8080);
        const run = await site.on.start(["ctr", "run", "--rm", "--cni", IMAGE, "web"]);
        const inside = async (id: string, ...argv: readonly string[]): Promise<string> => {
          // `ctr exec` deletes the process before its output is copied (containerd pull request 13931): at times it says nothing.
          for (let n = 0; n < 5; n++) {
            const { stdout } = await site.ctr("task", "exec", "--exec-id", `${id}${n}`, "web", ...argv);
            if (stdout !== "") return stdout;
          }
          return "";
        };
        await site.running("web");
        const address =
          /inet (10\.88\.\S+)\/16/.exec(await inside("a", "ip", "addr", "show", "eth0"))?.[1] ?? "";
        expect(address).toStartWith(POD_NETWORK.prefix);
        expect(await inside("b", "ping", "-c", "1", POD_NETWORK.gateway)).toContain(" 0% packet loss");
        expect(await asked(machine.path, address, 80)).toBe(UPLINK.outside);
        expect((await inside("c", "nc", UPLINK.outside, "8080")).trim()).toBe(UPLINK.ground);
        expect(await owned(site.on)).not.toEqual([]);
        await site.ctr("task", "kill", "--signal", "SIGKILL", "web");
        expect(await run.exited).toBe(137);
        await nothingLeft(site.on);
      },
      LIMIT_MS,
    );

    runtimeTest(
      "gives a pod its address and its host port, and takes everything back when it is removed",
      async () => {
        await using site = await containerdSite(version, tree, heddle);
        await using machine = await outside(site.on);
        const cri = site.cri();
        expect(await networkReady(cri)).toBe(true);
        const pod = await runPod(cri, "web", [{ hostPort: 8080, containerPort: 80 }]);
        const [four = "", six = ""] = pod.ips;
        expect(four).toStartWith(POD_NETWORK.prefix);
        expect(six).toStartWith(POD_NETWORK.prefix6);
        expect(await asked(site.on.net, four, 80)).toBe(POD_NETWORK.gateway);
        expect(await asked(site.on.net, six, 80)).toBe(POD_NETWORK.gateway6);
        expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
        expect(await asked(site.on.net, "127.0.0.1", 8080)).toBe(POD_NETWORK.gateway);
        await endPod(cri, pod.id);
        expect(await podIds(cri)).toEqual([]);
        await nothingLeft(site.on);
      },
      LIMIT_MS,
    );
  });
}
