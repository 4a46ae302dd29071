/**
 * Podman 5 on Heddle, a plugin of netavark, at length: options and what is refused, several networks at once, both families,
 * networks that come and go, and containers that are killed.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
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
const tree = await podmanTree("5");
const podmanTest = groundTest(tree);
const LIMIT_MS = patience(180_000);

/** As the page leaves it, but without its container and its network. */
async function emptySite(): Promise<PodmanSite> {
  const site = await podmanSite(tree, heddle, "5");
  await endContainers(site, "one");
  await site.podman("network", "rm", "web");
  return site;
}
const make = (site: PodmanSite, name: string, ...options: readonly string[]): Promise<unknown> =>
  site.podman("network", "create", "--driver", "heddle", ...options, name);
/** The addresses by interface, without the loopback's and those of links. */
const addresses = async (site: PodmanSite, name: string): Promise<readonly string[]> =>
  [...(await inContainer(site, name, "ip", "-o", "addr")).matchAll(/: (eth\d+) +inet6? (\S+)/g)]
    .map(([, ifname, address]) => `${ifname} ${address}`)
    .filter((line) => !line.includes(" fe80:"))
    .toSorted();
/** Who the web server of a container sees when another one asks. */
const who = async (site: PodmanSite, from: string, to: string): Promise<string> =>
  (await inContainer(site, from, "wget", "-q", "-O", "-", "-T", "5", `http://${to}/cgi-bin/who`)).trim();
const bridges = async ({ on }: PodmanSite): Promise<string> =>
  (await on.exec(["ip", "-br", "link", "show", "type", "bridge"])).stdout;
/** Nothing of containers, and no bridge of a network either. */
async function clean(site: PodmanSite): Promise<void> {
  await nothingLeft(site.on);
  expect(await bridges(site)).toBe("");
}

describe("Podman 5 at length", () => {
  podmanTest(
    "makes networks with what they ask for, and says what is wrong with others",
    async () => {
      await using site = await emptySite();
      const { podman } = site;
      await make(site, "any");
      await make(site, "both", "--ipv6");
      await make(site, "full", "--subnet", "10.90.0.0/24", "--gateway", "10.90.0.254", "--opt", "mtu=1400");
      const shown = JSON.parse((await podman("network", "inspect", "any", "both", "full")).stdout) as unknown;
      expect(shown).toMatchObject([
        {
          driver: "heddle",
          subnets: [{ subnet: "10.213.0.0/24", gateway: "10.213.0.1" }],
          dns_enabled: false,
        },
        { subnets: [{ subnet: "10.213.1.0/24" }, { subnet: expect.stringMatching(/^fd.*\/64$/) }] },
        { subnets: [{ subnet: "10.90.0.0/24", gateway: "10.90.0.254" }], options: { mtu: "1400" } },
      ]);
      const refused: readonly (readonly [readonly string[], string])[] = [
        [["--opt", "bogus=1"], "options.bogus: is no option of mode bridge"],
        [["--opt", "mtu=12"], "options.mtu: 12 is less than 68"],
        [["--opt", "mode=vlan", "--opt", "parent=lo", "--subnet", "10.5.0.0/24"], "options.vlan: is missing"],
        [["--opt", "mode=macvlan"], "options.parent: is missing"],
        [["--subnet", "10.90.0.128/25"], "10.90.0.128/25 overlaps 10.90.0.0/24"],
        [["--dns", "192.0.2.53"], "network_dns_servers: nobody answers for names in this network"],
        [["--ipam-driver", "dhcp"], "ipam_options.driver: dhcp is for the modes macvlan and vlan"],
      ];
      for (const [options, why] of refused)
        expect(await site.refused("network", "create", "--driver", "heddle", ...options, "bad")).toContain(
          why,
        );
    },
    LIMIT_MS,
  );

  podmanTest(
    "a container on several networks has its port by one of them, whichever is taken away",
    async () => {
      await using site = await emptySite();
      const { on, podman } = site;
      await using machine = await outside(on);
      for (const i of [0, 1, 2]) await make(site, `net${i}`, "--subnet", `10.9${i}.0.0/24`);
      const ports = ["--publish", "8080:80", "--publish", "127.0.0.1:8081:80/tcp"];
      await startContainer(site, "a", "--network", "net0,net1,net2", ...ports);
      const served = async (): Promise<void> => {
        expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
        expect(await asked(on.net, "127.0.0.1", 8081)).toMatch(/^10\.9[012]\.0\.1$/);
      };
      // Podman keeps the networks of a container without an order.
      const had = (await addresses(site, "a")).map((line) => line.split(" "));
      expect(had.map(([ifname]) => ifname)).toEqual(["eth0", "eth1", "eth2"]);
      expect(had.map(([, address]) => address).toSorted()).toEqual([
        "10.90.0.2/24",
        "10.91.0.2/24",
        "10.92.0.2/24",
      ]);
      const routes = await inContainer(site, "a", "ip", "route", "show", "default");
      expect(routes.match(/dev eth\d +metric \d+/g)).toEqual([
        "dev eth0  metric 100",
        "dev eth1  metric 101",
        "dev eth2  metric 102",
      ]);
      await served();
      for (const [gone, back] of [["net0", "net0"], ["net1"], ["net2"]] as const) {
        await podman("network", "disconnect", gone, "a");
        await served();
        if (back) await podman("network", "connect", back, "a");
      }
      expect(await addresses(site, "a")).toEqual([expect.stringContaining(" 10.90.0.")]);
      await endContainers(site, "a");
      await clean(site);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a network that is connected later has the address and the MAC that are asked for, in both families",
    async () => {
      await using site = await emptySite();
      const { podman } = site;
      await make(site, "one", "--subnet", "10.90.0.0/24");
      await make(site, "two", "--subnet", "10.91.0.0/24", "--subnet", "fd91::/64", "--ipv6");
      await startContainer(site, "a", "--network", "one");
      await startContainer(site, "b", "--network", "two:ip=10.91.0.9,ip=fd91::9");
      const asking = ["--ip", "10.91.0.77", "--ip6", "fd91::77", "--mac-address", "02:00:00:00:00:77"];
      await podman("network", "connect", ...asking, "two", "a");
      expect(await addresses(site, "a")).toEqual([
        "eth0 10.90.0.2/24",
        "eth1 10.91.0.77/24",
        "eth1 fd91::77/64",
      ]);
      expect(await inContainer(site, "a", "ip", "link", "show", "eth1")).toContain("02:00:00:00:00:77");
      expect(await who(site, "b", "10.91.0.77")).toContain("10.91.0.9");
      expect(await who(site, "b", "[fd91::77]")).toContain("fd91::9");
      expect(await site.refused("run", "--rm", "--network", "two", "--ip", "10.91.0.77", IMAGE)).toContain(
        "10.91.0.77 is already allocated",
      );
      await podman("network", "disconnect", "two", "a");
      expect(await addresses(site, "a")).toEqual(["eth0 10.90.0.2/24"]);
      await endContainers(site, "a", "b");
      await clean(site);
    },
    LIMIT_MS,
  );

  podmanTest(
    "networks are kept apart if they say so, and an internal one has no way out",
    async () => {
      await using site = await emptySite();
      const { on } = site;
      await using machine = await outside(on);
      await make(site, "apart", "--subnet", "10.90.0.0/24", "--opt", "isolate=true");
      await make(site, "away", "--subnet", "10.91.0.0/24", "--opt", "isolate=true");
      await make(site, "open", "--subnet", "10.92.0.0/24");
      await make(site, "inner", "--subnet", "10.93.0.0/24", "--internal");
      for (const name of ["apart", "away", "open"]) await startContainer(site, name, "--network", name);
      await startContainer(site, "in1", "--network", "inner", "--publish", "8080:80");
      await startContainer(site, "in2", "--network", "inner");
      const netns = async (name: string): Promise<string> => {
        const { stdout } = await site.podman("inspect", name, "--format", "{{.NetworkSettings.SandboxKey}}");
        return on.path(stdout.trim());
      };
      expect(await asked(await netns("apart"), "10.91.0.2", 80)).toBeUndefined();
      // What leaves a network has the host's address on the next one.
      expect(await asked(await netns("apart"), "10.92.0.2", 80)).toBe("10.92.0.1");
      expect(await who(site, "in2", "10.93.0.1")).toContain("10.93.0.2");
      expect(await inContainer(site, "in1", "ip", "route")).not.toContain("default");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBeUndefined();
      await endContainers(site, "apart", "away", "open", "in1", "in2");
      await clean(site);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a flushed firewall is put back by Heddle's reload, and by Podman's own",
    async () => {
      await using site = await emptySite();
      const { on } = site;
      await using machine = await outside(on);
      await make(site, "net0", "--subnet", "10.90.0.0/24");
      await startContainer(site, "a", "--network", "net0", "--publish", "8080:80");
      const served = () => asked(machine.path, UPLINK.ground, 8080);
      expect(await served()).toBe(UPLINK.outside);
      await survivesFlushes(site, served, () => addresses(site, "a"));
      await endContainers(site, "a");
      await clean(site);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a container that is stopped, killed, or left by everybody who watches it is taken away and started again",
    async () => {
      await using site = await emptySite();
      const { on, podman } = site;
      await using machine = await outside(on);
      await make(site, "net0", "--subnet", "10.90.0.0/24");
      await make(site, "net1", "--subnet", "10.91.0.0/24");
      const run = (): Promise<unknown> =>
        startContainer(
          site,
          "a",
          "--network",
          "net0:ip=10.90.0.9",
          "--network",
          "net1",
          "--publish",
          "8080:80",
        );
      const served = async (): Promise<void> => {
        expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      };
      await run();
      await podman("stop", "--time", "0", "a");
      await clean(site);
      await podman("start", "a");
      await served();
      await on.kill(/httpd/);
      await podman("wait", "a");
      await podman("start", "a");
      await served();
      expect(await addresses(site, "a")).toHaveLength(2);
      await on.kill(/conmon|httpd/);
      await endContainers(site, "a");
      await clean(site);
      // Everything that it had is free.
      await run();
      await served();
      await endContainers(site, "a");
      await clean(site);
    },
    LIMIT_MS,
  );

  podmanTest(
    "a container whose namespace is deleted is cleaned up by heddle gc, its network's bridge included",
    async () => {
      await using site = await emptySite();
      const { on, podman } = site;
      await make(site, "net0", "--subnet", "10.90.0.0/24");
      await startContainer(site, "a", "--network", "net0", "--publish", "8080:80");
      const { stdout } = await podman("inspect", "a", "--format", "{{.NetworkSettings.SandboxKey}}");
      await on.exec(["umount", stdout.trim()]);
      await on.exec(["rm", stdout.trim()]);
      await on.kill(/conmon|httpd/);
      // netavark 1.17 gives up before it calls the plugin; who is told of that, Podman or conmon's clean-up, is open.
      await on.exec(["podman", "rm", "--force", "--time", "0", "a"], { mustSucceed: false });
      expect((await podman("ps", "--all", "--quiet")).stdout).toBe("");
      const done = await on.exec(["heddle", "gc"]);
      expect(done.stdout).toContain("network net0");
      await clean(site);
      await startContainer(site, "b", "--network", "net0", "--publish", "8080:80");
      await endContainers(site, "b");
      await clean(site);
    },
    LIMIT_MS,
  );
});
