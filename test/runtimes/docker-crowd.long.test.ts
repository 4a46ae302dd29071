/**
 * Containers of Docker that start, stop and change networks at random, while both daemons are killed and the firewall is
 * flushed: no address is given twice, and nothing is left at the end. `HEDDLE_SEED` repeats an order.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { diceOf, seed } from "../../src/testing/seed.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type DockerSite, dockerSite, dockerTree } from "./docker.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";

const heddle = heddleOfFile();
const tree = await dockerTree("newest");
const dockerTest = groundTest(tree);
const STEPS = 60;
const NETWORKS = ["a", "b"] as const;

interface Crowd {
  readonly site: DockerSite;
  readonly roll: (below: number) => number;
  readonly names: string[];
  made: number;
}

/** What Docker says of a call that was cut off is its own: it may fail, and what it leaves is looked at in the end. */
const attempt = (site: DockerSite, ...words: readonly string[]) =>
  site.on.exec(["docker", ...words], { mustSucceed: false, timeoutMs: 60_000 });

/** Does this, and kills the plugin in the middle of it now and then. */
async function disturbed({ site, roll }: Crowd, work: Promise<unknown>): Promise<void> {
  if (roll(4) === 0) {
    await Bun.sleep(roll(500));
    await site.restart("plugin", "SIGKILL");
  }
  await work;
}

async function step(crowd: Crowd): Promise<void> {
  const { site, roll, names } = crowd;
  const network = NETWORKS[roll(2)] ?? "a";
  const what = roll(20);
  if (what < 8 || names.length < 2) {
    const name = `c${++crowd.made}`;
    names.push(name);
    const ports = ["-p", `${20_000 + crowd.made}:80`];
    const options = ["--stop-timeout", "0", "--name", name, "--network", network, ...ports];
    return disturbed(crowd, attempt(site, "run", "-d", ...options, IMAGE));
  }
  const [name = ""] = names.splice(roll(names.length), 1);
  if (what < 13) return disturbed(crowd, attempt(site, "rm", "-f", name));
  names.push(name);
  if (what < 15) return site.restart("plugin", "SIGTERM");
  if (what < 16) return site.restart("docker", "SIGKILL");
  if (what < 18) {
    await site.on.exec(["nft", "delete", "table", "inet", "heddle"], { mustSucceed: false });
    await site.on.exec(["heddle", "reload"]);
  } else await attempt(site, "network", roll(2) === 0 ? "connect" : "disconnect", network, name);
}

const addresses = async ({ docker }: DockerSite): Promise<readonly string[]> => {
  const format = "{{range .Containers}}{{.IPv4Address}} {{end}}";
  const shown = await Promise.all(
    NETWORKS.map((network) => docker("network", "inspect", "-f", format, network)),
  );
  return shown.flatMap((line) => line.split(" ").filter((word) => word !== ""));
};

describe("a crowd of containers of Docker", () => {
  dockerTest(
    "gets every address once and leaves nothing, whoever is killed meanwhile",
    async () => {
      console.log(`seed ${seed}`);
      await using site = await dockerSite(tree, heddle, "--live-restore");
      const { docker, on } = site;
      for (const network of NETWORKS)
        await docker("network", "create", "-d", "heddle", "--ipam-driver", "heddle", network);
      const crowd: Crowd = { site, roll: diceOf(seed, "docker"), names: [], made: 0 };
      for (let n = 0; n < STEPS; n++) {
        await step(crowd);
        const given = await addresses(site);
        expect(given.toSorted()).toEqual([...new Set(given)].toSorted());
      }
      const ids = (await docker("ps", "-aq")).split("\n").filter((id) => id !== "");
      expect(ids.length).toBeGreaterThan(0);
      await docker("rm", "-f", ...ids);
      await docker("network", "rm", ...NETWORKS);
      const files = ["busybox", "find", "/var/lib/heddle/docker", "-name", "*.json"];
      expect((await on.exec(files)).stdout).toBe("");
      expect((await on.exec(["ip", "-br", "link"])).stdout).not.toMatch(/^(?:br-|veth|hdl)/m);
      await nothingLeft(on);
    },
    patience(600_000),
  );
});
