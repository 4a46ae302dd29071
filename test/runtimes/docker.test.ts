/**
 * Docker with Heddle as its driver, the release of Debian 12: a network, two containers and a host port, from the start to
 * the end, with restarts in the middle. What takes longer is in `docker.long.test.ts`.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { dockerSite, dockerTree } from "./docker.ts";
import { type Ground, groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { stepsOf } from "./manual.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const tree = await dockerTree("20.10");
const dockerTest = groundTest(tree);

/** All but the chains and sets that every container shares, which stay; what is in them for one names its mark. */
const withoutLayout = async (on: Ground): Promise<readonly string[]> =>
  (await on.snapshot()).filter((line) => !line.startsWith("nft: ") || line.includes('comment "heddle-'));

describe("Docker 20.10", () => {
  dockerTest(
    "gives containers a network of Heddle's, with a host port, through restarts of both, and leaves nothing",
    async () => {
      await using site = await dockerSite(tree, heddle);
      const { on, docker } = site;
      await using machine = await outside(on);
      const before = await withoutLayout(on);
      for (const step of stepsOf("Docker"))
        if ("commands" in step)
          await on.exec(["sh", "-e", "-c", step.commands], { env: { ...plainEnv, IMAGE } });
      await docker(
        "run",
        "-d",
        "--stop-timeout",
        "0",
        "--name",
        "two",
        "--network",
        "web",
        "--restart",
        "always",
        IMAGE,
      );
      const wget = (from: string, to: string) =>
        docker("exec", from, "wget", "-q", "-O", "-", `http://${to}/cgi-bin/who`);
      expect(await wget("two", "one")).toContain("10.77.0.3");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      expect(await asked(on.net, "127.0.0.1", 8080)).toBe("10.77.0.1");
      await site.restart("plugin", "SIGKILL");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      await docker("stop", "--time", "0", "one");
      await site.restart("docker", "SIGTERM");
      expect(await docker("network", "ls", "--filter", "driver=heddle", "--format", "{{.Name}}")).toBe("web");
      await docker("start", "one");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      expect(await wget("one", "two")).toContain("10.77.0.");
      await docker("rm", "-f", "one", "two");
      expect(await asked(on.net, "127.0.0.1", 8080)).toBeUndefined();
      await docker("network", "rm", "web");
      expect(await withoutLayout(on)).toEqual(before);
    },
    patience(120_000),
  );
});
