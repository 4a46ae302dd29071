/** Podman 4.3 on Heddle by CNI at length: several networks at once, networks that come and go, and containers that are killed. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";
import {
  endContainers,
  inContainer,
  type PodmanSite,
  podmanSite,
  podmanTree,
  startContainer,
  survivesFlushes,
} from "./podman.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const tree = await podmanTree();
const podmanTest = groundTest(tree);
const LIMIT_MS = patience(180_000);

/** The addresses of IPv4 by interface, without the loopback's. */
const addresses = async (site: PodmanSite, name: string): Promise<readonly string[]> =>
  [...(await inContainer(site, name, "ip", "-o", "-4", "addr")).matchAll(/: (eth\d+) +inet (\S+)/g)].map(
    ([, ifname, address]) => `${ifname} ${address}`,
  );
const refused = (site: PodmanSite, ...words: readonly string[]) =>
  site.on.exec(["podman", ...words], { env: { ...plainEnv, HOME: "/root" }, mustSucceed: false });
const networks = async (site: PodmanSite, ...subnets: readonly string[]): Promise<void> => {
  for (const [i, subnet] of subnets.entries())
    await site.podman("network", "create", "--subnet", subnet, `net${i}`);
};

describe("Podman 4 at length", () => {
  podmanTest(
    "a container in several networks has its port by one of them, whichever is taken away",
    async () => {
      await using site = await podmanSite(tree, heddle);
      const { on, podman } = site;
      await using machine = await outside(on);
      await networks(site, "10.90.0.0/24", "10.91.0.0/24", "10.92.0.0/24");
      await startContainer(
        site,
        "a",
        "--network",
        "net0,net1,net2",
        "--publish",
        "8080:80",
        "--publish",
        "127.0.0.1:8081:80/tcp",
      );
      const served = async (): Promise<void> => {
        expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
        expect(await asked(on.net, "127.0.0.1", 8081)).toMatch(/^10\.9[012]\.0\.1$/);
      };
      expect(await addresses(site, "a")).toHaveLength(3);
      await served();
      await podman("network", "disconnect", "net0", "a");
      await served();
      await podman("network", "connect", "net0", "a");
      await podman("network", "disconnect", "net1", "a");
      await served();
      await podman("network", "disconnect", "net2", "a");
      await served();
      expect(await addresses(site, "a")).toEqual([expect.stringContaining(" 10.90.0.")]);
      await podman("network", "disconnect", "net0", "a");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBeUndefined();
      await endContainers(site, "a");
      await nothingLeft(on);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a network that is connected later has the address and the MAC that are asked for, and containers reach each other",
    async () => {
      await using site = await podmanSite(tree, heddle);
      const { on, podman } = site;
      await networks(site, "10.90.0.0/24", "10.91.0.0/24");
      await startContainer(site, "a", "--network", "net0");
      await startContainer(site, "b", "--network", "net1", "--ip", "10.91.0.9");
      await podman(
        "network",
        "connect",
        "--ip",
        "10.91.0.77",
        "--mac-address",
        "02:00:00:00:00:77",
        "net1",
        "a",
      );
      expect(await addresses(site, "a")).toEqual([
        expect.stringContaining("eth0 10.90.0."),
        "eth1 10.91.0.77/24",
      ]);
      expect(await inContainer(site, "a", "ip", "link", "show", "eth1")).toContain("02:00:00:00:00:77");
      const page = "http://10.91.0.77/cgi-bin/who";
      expect(await inContainer(site, "b", "wget", "-q", "-O", "-", page)).toContain("10.91.0.9");
      // The same address is not given twice.
      const again = await refused(
        site,
        "run",
        "--rm",
        "--ulimit",
        "host",
        "--network",
        "net1",
        "--ip",
        "10.91.0.77",
        IMAGE,
      );
      expect(again.code).not.toBe(0);
      expect(again.stderr).toContain("10.91.0.77");
      await podman("network", "disconnect", "net1", "a");
      expect(await addresses(site, "a")).toEqual([expect.stringContaining("eth0 10.90.0.")]);
      await endContainers(site, "a", "b");
      await nothingLeft(on);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a flushed firewall is put back by Heddle's reload, and by Podman's own",
    async () => {
      await using site = await podmanSite(tree, heddle);
      const { on } = site;
      await using machine = await outside(on);
      await networks(site, "10.90.0.0/24");
      await startContainer(site, "a", "--network", "net0", "--publish", "8080:80");
      const served = () => asked(machine.path, UPLINK.ground, 8080);
      expect(await served()).toBe(UPLINK.outside);
      await survivesFlushes(site, served, () => addresses(site, "a"));
      await endContainers(site, "a");
      await nothingLeft(on);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a container that is killed from outside, with the process that watches it, is taken away and started again",
    async () => {
      await using site = await podmanSite(tree, heddle);
      const { on, podman } = site;
      await using machine = await outside(on);
      await networks(site, "10.90.0.0/24", "10.91.0.0/24");
      const run = (address: string): Promise<unknown> =>
        startContainer(
          site,
          "a",
          "--network",
          `net0:ip=${address}`,
          "--network",
          "net1",
          "--publish",
          "8080:80",
        );
      await run("10.90.0.9");
      await on.kill(/httpd/);
      await podman("wait", "a");
      await podman("start", "a");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      expect(await addresses(site, "a")).toHaveLength(2);
      await on.kill(/conmon|httpd/);
      await endContainers(site, "a");
      await nothingLeft(on);
      // Everything that it had is free.
      await run("10.90.0.9");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      await on.kill(/conmon|httpd/);
      await endContainers(site, "a");
      await nothingLeft(on);
    },
    LIMIT_MS,
  );
});
