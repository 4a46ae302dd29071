/** What an operator does with attachments: clean up after dead ones, put back what others took away. */
import { describe, expect } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CniHost, cniHost } from "../src/testing/cni-host.ts";
import { untilOnly } from "../src/testing/dying.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { unit } from "../src/testing/systemd-unit.ts";

const heddle = heddleOfFile();

const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });

/** The configuration directory of a host, with one network whose reservations are in the host's own directory. */
function confDir(host: CniHost, portmap: object = {}): string {
  const dir = join(host.dir, "net.d");
  mkdirSync(dir, { recursive: true });
  const list = {
    cniVersion: "1.0.0",
    name: "mynet",
    plugins: [
      {
        type: "bridge",
        bridge: "mynet",
        isGateway: true,
        ipMasq: true,
        ipam: { type: "host-local", subnet: "10.88.0.0/24", dataDir: join(host.dir, "ipam") },
      },
      { type: "portmap", capabilities: { portMappings: true }, ...portmap },
    ],
  };
  writeFileSync(join(dir, "10-mynet.conflist"), JSON.stringify(list));
  return dir;
}
const CAP_ARGS = JSON.stringify({ portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] });
const reservations = (host: CniHost): readonly string[] =>
  readdirSync(join(host.dir, "ipam", "mynet")).filter((name) => /^\d/.test(name));

describe("heddle gc", () => {
  hostTest("detaches what is dead, reservation and cache included, and leaves what lives", async () => {
    await using host = await cniHost(heddle);
    await using alive = await testNetns();
    const env = { NETCONFPATH: confDir(host), CAP_ARGS };
    {
      await using dying = await testNetns();
      expect((await host.cli(["cni", "add", "mynet", dying.path], env)).code).toBe(0);
    }
    expect((await host.cli(["cni", "add", "mynet", alive.path], { ...env, CAP_ARGS: "" })).code).toBe(0);
    expect(reservations(host).length).toBe(2);
    const done = await host.cli(["gc"], env);
    expect(done.stdout).toMatch(/^detached +container \S+ \(eth0, network mynet\)\n$/);
    expect(done.code).toBe(0);
    expect(reservations(host).length).toBe(1);
    const listed = JSON.parse((await host.cli(["ps", "--json"], {})).stdout) as { state: string }[];
    expect(listed.map((a) => a.state)).toEqual(["ok"]);
    expect((await host.exec(["nft", "list", "map", "inet", "heddle", "ports4"])).stdout).not.toContain(
      "8080",
    );
    expect((await host.cli(["gc"], env)).stdout).toBe("Nothing to clean up.\n");
    expect((await host.cli(["cni", "check", "mynet", alive.path], { ...env, CAP_ARGS: "" })).code).toBe(0);
  });

  hostTest("says with --dry-run what it would remove and why, and removes nothing", async () => {
    await using host = await cniHost(heddle);
    const env = { NETCONFPATH: confDir(host), CAP_ARGS };
    expect((await host.cli(["gc", "--dry-run"], env)).stdout).toBe("Nothing to clean up.\n");
    let path: string;
    {
      await using dying = await testNetns();
      path = dying.path;
      expect((await host.cli(["cni", "add", "mynet", path], env)).code).toBe(0);
      expect((await host.cli(["gc", "--dry-run"], env)).stdout).toBe("Nothing to clean up.\n");
    }
    await untilOnly(host);
    const before = await host.snapshot();
    const told = await host.cli(["gc", "--dry-run"], env);
    expect([told.code, told.stderr]).toEqual([0, ""]);
    const lines = told.stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(
      /^would detach container cnitool-\S+ \(eth0, network mynet\): its namespace \S+ is gone$/,
    );
    expect(lines[0]).toContain(path);
    expect(lines[1]).toBe("  by the list in the cache: bridge, portmap");
    expect(lines.slice(2).map((l) => l.replace(/cnitool-\S+/, "…"))).toEqual([
      "  - nftables, inet heddle, masquerade4: 10.88.0.2 : goto masq_10.88.0.0/24",
      "  - nftables, inet heddle, ports4: tcp . 8080 : 10.88.0.2 . 80",
      "  - nftables, inet heddle, hairpin4: 10.88.0.2 . tcp . 80 : goto hairpin_10.88.0.0/24",
      "  - reservation of 10.88.0.2 by host-local",
      "  - record of bridge",
      "  - record of portmap",
      "  - cache /var/lib/cni/results/mynet-…",
    ]);
    expect(await host.snapshot()).toEqual(before);
    await host.exec(["rm", "-rf", "/var/lib/cni/results"]);
    const [dead] = JSON.parse((await host.cli(["gc", "--dry-run", "--json"], env)).stdout) as object[];
    expect(dead).toMatchObject({
      key: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
      network: "mynet",
      ifname: "eth0",
      by: "configuration",
      plugins: ["bridge", "portmap"],
    });
    // And then it does what it said.
    const done = JSON.parse((await host.cli(["gc", "--json"], env)).stdout) as unknown;
    const { key, network, containerId, ifname } = dead as Readonly<Record<string, unknown>>;
    expect(done).toEqual([{ key, network, containerId, ifname, ok: true }]);
    const after = (await host.snapshot()).join("\n");
    for (const gone of ["8080", "heddle-bridge-", "10.88.0.2"]) expect(after).not.toContain(gone);
  });

  hostTest("leaves entries of other runtimes in the cache, and says that they are dead", async () => {
    await using host = await cniHost(heddle);
    const entry = {
      kind: "cniCacheV1",
      containerId: "theirs",
      ifName: "eth0",
      networkName: "mynet",
      netns: "/run/netns/gone",
    };
    const file = "/var/lib/cni/results/mynet-theirs-eth0";
    writeFileSync(join(host.dir, "entry"), JSON.stringify(entry));
    await host.exec(["install", "-D", "-m", "600", join(host.dir, "entry"), file]);
    const { code, stdout } = await host.cli(["gc"], { NETCONFPATH: confDir(host) });
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout:
        "Nothing to clean up. Of other runtimes, 1 entry in the cache has lost its namespace: see heddle doctor.\n",
    });
    expect((await host.exec(["ls", file])).code).toBe(0);
  });

  hostTest("cleans the kernel also when the network's configuration and the cache are gone", async () => {
    await using host = await cniHost(heddle);
    const env = { NETCONFPATH: confDir(host), CAP_ARGS };
    {
      await using dying = await testNetns();
      expect((await host.cli(["cni", "add", "mynet", dying.path], env)).code).toBe(0);
    }
    await host.exec(["rm", "-rf", "/var/lib/cni/results"]);
    const done = await host.cli(["gc"], { NETCONFPATH: host.dir });
    expect([done.code, done.stderr]).toEqual([0, expect.stringContaining("without its configuration")]);
    expect((await host.exec(["nft", "list", "ruleset"])).stdout).not.toContain("heddle-");
  });
});

describe("heddle reload", () => {
  hostTest(
    "puts back the rules of live attachments after the rule set was flushed, and the gateway's address",
    async () => {
      await using host = await cniHost(heddle);
      await using netns = await testNetns();
      const env = { NETCONFPATH: confDir(host), CAP_ARGS };
      expect((await host.cli(["cni", "add", "mynet", netns.path], env)).code).toBe(0);
      const rules = (await host.exec(["nft", "list", "ruleset"])).stdout;
      await host.exec(["nft", "flush", "ruleset"]);
      await host.exec(["ip", "address", "flush", "dev", "mynet"]);
      await host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
      expect((await host.cli(["cni", "check", "mynet", netns.path], env)).code).toBe(1);
      const done = await host.cli(["reload"], {});
      expect([done.code, done.stderr]).toEqual([0, ""]);
      const lines = (text: string): readonly string[] => text.split("\n").toSorted();
      expect(lines((await host.exec(["nft", "list", "ruleset"])).stdout)).toEqual(lines(rules));
      expect((await host.exec(["ip", "-4", "-br", "address", "show", "mynet"])).stdout).toContain(
        "10.88.0.1/24",
      );
      expect((await host.exec(["sysctl", "-n", "net.ipv4.ip_forward"])).stdout).toBe("1\n");
      expect((await host.cli(["cni", "check", "mynet", netns.path], env)).code).toBe(0);
      // One attachment alone is named as in `heddle show`; another's is not touched.
      await host.exec(["nft", "flush", "ruleset"]);
      const nobody = await host.cli(["reload", "ffffffff"], {});
      expect([nobody.code, nobody.stderr]).toEqual([2, expect.stringContaining("no attachment")]);
      expect((await host.cli(["reload", "ffff", "--all"], {})).code).toBe(2);
      expect((await host.exec(["nft", "list", "ruleset"])).stdout).toBe("");
      const { stdout } = await host.cli(["ps", "--json"], {});
      const [{ key }] = JSON.parse(stdout) as [{ key: string }];
      const whose = {
        key,
        network: "mynet",
        containerId: expect.stringMatching(/^cnitool-/) as string,
        ifname: "eth0",
      };
      expect(JSON.parse((await host.cli(["reload", key.slice(0, 6), "--json"], {})).stdout)).toEqual([
        { ...whose, plugin: "bridge", ok: true },
        { ...whose, plugin: "portmap", ok: true },
      ]);
      expect(lines((await host.exec(["nft", "list", "ruleset"])).stdout)).toEqual(lines(rules));
      // What is in place stays as it is.
      expect((await host.cli(["reload", "--all"], {})).code).toBe(0);
      expect(lines((await host.exec(["nft", "list", "ruleset"])).stdout)).toEqual(lines(rules));
      expect((await host.cli(["cni", "del", "mynet", netns.path], env)).code).toBe(0);
    },
  );

  testWith({
    root: true,
    programs: ["ip", "nsenter", "setpriv", "unshare", "xtables-legacy-multi", "xtables-nft-multi"],
  })("puts back rules of iptables' legacy tables with no more rights than its unit has", async () => {
    await using host = await cniHost(heddle);
    await using netns = await testNetns();
    // A host whose iptables is the one for legacy tables, whatever this machine has chosen.
    const sbin = "/usr/sbin";
    await host.exec(["mount", "--bind", `${sbin}/xtables-legacy-multi`, `${sbin}/xtables-nft-multi`]);
    const env = { NETCONFPATH: confDir(host, { backend: "iptables" }), CAP_ARGS };
    const added = await host.cli(["cni", "add", "mynet", netns.path], env);
    expect([added.code, added.stderr]).toEqual([0, ""]);
    const rules = async () => (await host.exec(["iptables-legacy-save", "-t", "nat"])).stdout;
    expect(await rules()).toContain("--dport 8080");
    await host.exec(["iptables-legacy", "-t", "nat", "-F"]);
    expect(await rules()).not.toContain("--dport 8080");
    const [rights = ""] = unit("heddle-reload.service").get("Service")?.get("CapabilityBoundingSet") ?? [];
    const names = rights
      .toLowerCase()
      .split(" ")
      .map((name) => name.replace(/^cap_/, "+"));
    const bound = ["setpriv", "--no-new-privs", `--bounding-set=-all,${names.join(",")}`];
    const done = await host.cli(["reload"], {}, bound);
    expect([done.code, done.stderr]).toEqual([0, ""]);
    expect(await rules()).toContain("--dport 8080");
    expect((await host.cli(["cni", "del", "mynet", netns.path], env)).code).toBe(0);
  });
});
