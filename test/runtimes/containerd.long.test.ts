/**
 * containerd on Heddle when things go wrong: it is restarted or killed, namespaces vanish, addresses run out, ports are
 * taken. At the end nothing of a container is left.
 */
import { describe, expect } from "bun:test";
import { readdirSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import {
  CONFLIST,
  type ContainerdSite,
  containerdSite,
  containerdTree,
  type ContainerdVersion,
  containerds,
  type NetworkList,
  POD_NETWORK,
} from "./containerd.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft, owned } from "./left.ts";
import { manual } from "./manual.ts";
import { addressesOf, endPod, networkReady, podIds, runPod } from "./pods.ts";
import { LISTED, useReference } from "./reference.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const versions = Object.keys(containerds) as ContainerdVersion[];
const LIMIT_MS = patience(120_000);
/** What `docs/runtimes.md` tells an operator to allow where FORWARD drops. */
const ADMISSION = "iptables -I CNI-ADMIN -m conntrack --ctstate DNAT -j ACCEPT";
const WEB = [{ hostPort: 8080, containerPort: 80 }];

const namespaces = ({ on }: ContainerdSite): readonly string[] => readdirSync(on.path("/run/netns"));

/** Puts a script before a plugin that writes down with which command it is called. */
async function witness({ on }: ContainerdSite, plugin: string): Promise<void> {
  await on.exec(["mkdir", "/opt/cni/real"]);
  await on.exec(["ln", "-s", "/opt/cni/bin/heddle", `/opt/cni/real/${plugin}`]);
  await on.exec(["rm", `/opt/cni/bin/${plugin}`]);
  const lines = ["#!/bin/sh", "echo $CNI_COMMAND >> /tmp/commands", `exec /opt/cni/real/${plugin}`, ""];
  on.write(`/opt/cni/bin/${plugin}`, lines.join("\n"), 0o755);
}

/** The commands that a witness has seen, each once. */
async function witnessed({ on }: ContainerdSite): Promise<readonly string[]> {
  const { stdout } = await on.exec(["cat", "/tmp/commands"]);
  return [...new Set(stdout.trim().split("\n"))].toSorted();
}

/** What a kubelet does after a start: it ends every pod that it does not want. */
async function endAll(site: ContainerdSite): Promise<void> {
  for (const id of await podIds(site.cri())) await endPod(site.cri(), id);
}

/** Ends the processes of all containers, as a machine that loses its power does. */
const killContainers = ({ on }: ContainerdSite): Promise<void> => on.kill(/containerd-shim|^\/bin\/httpd/);

/** What the machine's end does to namespaces. containerd may be faster where it sees a pod's processes die. */
async function deleteNamespaces(site: ContainerdSite): Promise<void> {
  for (const name of namespaces(site))
    await site.on.exec(["ip", "netns", "delete", name], { mustSucceed: false });
  expect(namespaces(site)).toEqual([]);
}

/** containerd makes a namespace before it writes down whose it is: killed between the two, it knows nothing of it. Nobody was asked to attach it. */
async function deleteForgotten(site: ContainerdSite): Promise<void> {
  if ((await podIds(site.cri())).length > 0) return;
  for (const name of namespaces(site)) {
    // It may not even be one yet.
    const { stdout } = await site.on.exec(["ip", "-n", name, "-o", "link"], { mustSucceed: false });
    expect(stdout.trim().split("\n")).toHaveLength(1);
    await site.on.exec(["ip", "netns", "delete", name]);
  }
}

for (const version of versions) {
  const tree = await containerdTree(version);
  const longTest = (
    title: string,
    body: (site: ContainerdSite) => Promise<void>,
    change?: (list: NetworkList) => NetworkList,
  ): void =>
    groundTest(tree)(
      title,
      async () => {
        await using site = await containerdSite(version, tree, heddle, change);
        await body(site);
      },
      LIMIT_MS,
    );

  describe(`containerd ${version}`, () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const)
      longTest(`restarted by ${signal} finds its pod served as before, and ends it`, async (site) => {
        await using machine = await outside(site.on);
        const pod = await runPod(site.cri(), "web", WEB);
        const serves = () => asked(machine.path, UPLINK.ground, 8080);
        await site.stop(signal);
        expect(await serves()).toBe(UPLINK.outside);
        await site.start();
        expect(await addressesOf(site.cri(), pod.id)).toEqual(pod.ips);
        expect(await serves()).toBe(UPLINK.outside);
        await endPod(site.cri(), pod.id);
        await nothingLeft(site.on);
      });

    longTest("ends a pod whose namespace was deleted under its feet", async (site) => {
      const pod = await runPod(site.cri(), "web", WEB);
      await deleteNamespaces(site);
      await endPod(site.cri(), pod.id);
      await nothingLeft(site.on);
    });

    longTest("ends a pod whose processes and namespace are gone", async (site) => {
      const pod = await runPod(site.cri(), "web", WEB);
      await killContainers(site);
      await deleteNamespaces(site);
      await endPod(site.cri(), pod.id);
      await nothingLeft(site.on);
    });

    longTest("frees everything after a reboot: namespaces gone, cache there", async (site) => {
      const pods = [await runPod(site.cri(), "web", WEB), await runPod(site.cri(), "other")];
      await site.stop("SIGKILL");
      await killContainers(site);
      await deleteNamespaces(site);
      await site.start();
      expect((await podIds(site.cri())).toSorted()).toEqual(pods.map(({ id }) => id).toSorted());
      await endAll(site);
      await nothingLeft(site.on);
    });

    longTest(
      "refuses a second pod a host port, names the first, and gives it when that has ended",
      async (site) => {
        const first = await runPod(site.cri(), "first", WEB);
        const before = await owned(site.on);
        const refusal = await runPod(site.cri(), "second", WEB).catch((e: unknown) => String(e));
        expect(refusal).toContain("8080");
        expect(refusal).toContain(first.id);
        await site.cri().call("ListPodSandbox", {});
        expect((await owned(site.on)).filter((line) => !before.includes(line))).toEqual([]);
        await endPod(site.cri(), first.id);
        const second = await runPod(site.cri(), "second", WEB);
        expect(await asked(site.on.net, "127.0.0.1", 8080)).toBeDefined();
        await endPod(site.cri(), second.id);
        await nothingLeft(site.on);
      },
    );

    longTest("gives pods a way to each other, by address and by host port", async (site) => {
      const [a, b] = [await runPod(site.cri(), "a"), await runPod(site.cri(), "b", WEB)];
      const insideOf = async (ip: string): Promise<string> => {
        for (const name of namespaces(site)) {
          const path = site.on.path(`/run/netns/${name}`);
          const { stdout } = await site.on.exec([
            "nsenter",
            `--net=/run/netns/${name}`,
            "--",
            "ip",
            "-4",
            "-o",
            "addr",
          ]);
          if (stdout.includes(` ${ip}/`)) return path;
        }
        throw new Error(`no namespace has ${ip}`);
      };
      const from = await insideOf(a.ip);
      expect(await asked(from, b.ip, 80)).toBe(a.ip);
      expect(await asked(from, b.ips[1] ?? "", 80)).toBe(a.ips[1] ?? "");
      expect(await asked(from, "10.88.0.1", 8080)).toBeDefined();
      expect(await asked(await insideOf(b.ip), "10.88.0.1", 8080)).toBeDefined();
      await endAll(site);
      await nothingLeft(site.on);
    });

    longTest(
      "killed while it makes a pod frees everything when the kubelet ends what was begun",
      async (site) => {
        let cutShort = 0;
        for (let afterMs = 10; afterMs < 200; afterMs += 20) {
          const made = runPod(site.cri(), `pod-${afterMs}`, WEB).then(
            () => false,
            () => true,
          );
          await Bun.sleep(afterMs); // Any point will do; nothing is waited for.
          await site.stop("SIGKILL");
          if (await made) cutShort++;
          await site.start();
          await endAll(site);
          await deleteForgotten(site);
          await nothingLeft(site.on);
        }
        expect(cutShort).toBeGreaterThan(0);
      },
    );

    longTest("makes and ends many pods at once, each with an address of its own", async (site) => {
      const wave = (letter: string) =>
        Promise.all(
          Array.from({ length: 8 }, (_, i) =>
            runPod(site.cri(), `${letter}${i}`, [{ hostPort: 8100 + i, containerPort: 80 }]),
          ),
        );
      const pods = await wave("a");
      expect(new Set(pods.flatMap(({ ips }) => ips)).size).toBe(16);
      for (const [i] of pods.entries()) expect(await asked(site.on.net, "127.0.0.1", 8100 + i)).toBeDefined();
      await Promise.all(pods.map(({ id }) => endPod(site.cri(), id)));
      await nothingLeft(site.on);
      await wave("b");
      await endAll(site);
      await nothingLeft(site.on);
    });

    longTest("frees by `heddle gc` what a killed ctr has left", async (site) => {
      const run = await site.on.start(["ctr", "run", "--cni", IMAGE, "web"]);
      await site.running("web");
      await run.end("SIGKILL");
      await killContainers(site);
      expect((await owned(site.on)).join("\n")).toContain("networks/pods/10.88.0.");
      await site.on.exec(["heddle", "gc"]);
      await nothingLeft(site.on);
    });

    longTest("without its own state leaves pods to `heddle gc`", async (site) => {
      await runPod(site.cri(), "web", WEB);
      await site.stop("SIGKILL");
      await site.on.exec(["heddle", "gc"]);
      expect(await asked(site.on.net, "127.0.0.1", 8080)).toBeDefined();
      await killContainers(site);
      await deleteNamespaces(site);
      await site.on.exec(["rm", "--recursive", "/var/lib/containerd"]);
      await site.start();
      expect(await podIds(site.cri())).toEqual([]);
      await site.on.exec(["heddle", "gc"]);
      await nothingLeft(site.on);
    });

    longTest("serves again by `heddle reload` after somebody flushed all firewall rules", async (site) => {
      await using machine = await outside(site.on);
      const pod = await runPod(site.cri(), "web", WEB);
      const serves = () => asked(machine.path, UPLINK.ground, 8080);
      await site.on.exec(["nft", "flush", "ruleset"]);
      expect(await serves()).toBeUndefined();
      await site.on.exec(["heddle", "reload"]);
      expect(await serves()).toBe(UPLINK.outside);
      await endPod(site.cri(), pod.id);
      await nothingLeft(site.on);
    });

    longTest(
      "on a host that forwards nothing lets pods out, and in what the operator lets in",
      async (site) => {
        await using machine = await outside(site.on);
        await using _server = await serveIn(machine.path, UPLINK.outside, 8080);
        for (const program of ["iptables", "ip6tables"])
          await site.on.exec([program, "-P", "FORWARD", "DROP"]);
        const pod = await runPod(site.cri(), "web", WEB);
        const [name = ""] = namespaces(site);
        const out = await connectFrom(site.on.path(`/run/netns/${name}`), UPLINK.outside, 8080);
        expect(out.stdout.trim()).toBe(UPLINK.ground);
        expect(await asked(machine.path, UPLINK.ground, 8080)).toBeUndefined();
        expect(manual()).toContain(`\`${ADMISSION}\``);
        await site.on.exec(ADMISSION.split(" "));
        expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
        await endPod(site.cri(), pod.id);
        await nothingLeft(site.on);
        expect((await site.on.exec(["iptables-save"])).stdout).not.toContain(pod.ip);
      },
    );

    longTest("runs pods on a list that is packed into one plugin", async (site) => {
      await site.on.exec(["heddle", "cni", "pack", CONFLIST, "--output", CONFLIST]);
      await site.restart("SIGTERM");
      const pod = await runPod(site.cri(), "web", WEB);
      expect(await asked(site.on.net, "127.0.0.1", 8080)).toBe(POD_NETWORK.gateway);
      await endPod(site.cri(), pod.id);
      await nothingLeft(site.on);
    });

    longTest(
      "gives a pod the rates that a kubelet asks for",
      async (site) => {
        const rates = { "kubernetes.io/ingress-bandwidth": "1M", "kubernetes.io/egress-bandwidth": "10M" };
        const pod = await runPod(site.cri(), "web", WEB, rates);
        const { stdout } = await site.on.exec(["tc", "qdisc", "show"]);
        expect([...stdout.matchAll(/ tbf .* rate (\S+)/g)].map(([, rate]) => rate)).toEqual([
          "1Mbit",
          "10Mbit",
        ]);
        expect(await asked(site.on.net, pod.ip, 80)).toBe(POD_NETWORK.gateway);
        await endPod(site.cri(), pod.id);
        await nothingLeft(site.on);
      },
      (list) => ({
        ...list,
        plugins: [...list.plugins, { type: "bandwidth", capabilities: { bandwidth: true } }],
      }),
    );

    longTest("ends a pod that the reference plugins made", async (site) => {
      await useReference(site.on, [...LISTED, "loopback"]);
      const pod = await runPod(site.cri(), "web", WEB);
      const rules = async (): Promise<string> => (await site.on.exec(["iptables-save"])).stdout;
      expect(await rules()).toContain(pod.ip);
      await site.on.exec(["heddle", "install", "--force", "--cni-bin-dir", "/opt/cni/bin"]);
      await endPod(site.cri(), pod.id);
      await nothingLeft(site.on);
      expect(await rules()).not.toContain(pod.ip);
    });

    longTest("calls of every plugin ADD and DEL, and STATUS if it is new enough", async (site) => {
      await witness(site, "bridge");
      const pod = await runPod(site.cri(), "web");
      await networkReady(site.cri());
      await site.restart("SIGTERM");
      await endPod(site.cri(), pod.id);
      expect(await witnessed(site)).toEqual(expect.arrayContaining([...containerds[version].verbs]));
    });
  });
}

const newest = await containerdTree("2");

describe("containerd 2", () => {
  groundTest(newest)(
    "calls its network not ready while Heddle says that no address is free",
    async () => {
      const range = { subnet: "10.88.0.0/16", rangeStart: "10.88.0.10", rangeEnd: "10.88.0.11" };
      await using site = await containerdSite("2", newest, heddle, (list) => {
        const [bridge, ...others] = list.plugins;
        const small = { ...bridge, ipam: { type: "host-local", ranges: [[range]] } };
        return { ...list, plugins: [small, ...others] };
      });
      const pods = [await runPod(site.cri(), "a")];
      expect(await networkReady(site.cri())).toBe(true);
      pods.push(await runPod(site.cri(), "b"));
      expect(await networkReady(site.cri())).toContain("10.88.0.10");
      for (const { id } of pods) await endPod(site.cri(), id);
      expect(await networkReady(site.cri())).toBe(true);
    },
    LIMIT_MS,
  );
});
