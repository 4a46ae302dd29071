/** The life of a lease, between the plugin, the daemon and a server that does what the test wants. */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { versions } from "../../src/cni/version.ts";
import { type DhcpLab, dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { type Behaviour, startServer } from "../../src/testing/dhcp-server.ts";
import { testWith } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";

const labTest = testWith({ root: true, programs: ["ip", "setpriv"] });
const usual: Behaviour = { link: "lan", address: "10.9.0.1", first: "10.9.1.10", leaseSeconds: 3600 };
/** Renewed after two seconds, rebound after five, over after eight. */
const short: Behaviour = { ...usual, leaseSeconds: 8, t1: 2, t2: 5 };

const leaseFiles = (lab: DhcpLab): readonly string[] =>
  readdirSync(join(lab.dir, "state/dhcp")).filter((n) => n.endsWith(".json"));
/** As the plugin that called would have done. */
const configure = async (lab: DhcpLab, address: string): Promise<unknown> =>
  run(["ip", "-n", lab.container.name, "address", "add", address, "dev", "eth0"]);

describe("a lease", () => {
  labTest("is got, told, kept on disk, checked, and given back", async () => {
    await using lab = await dhcpLab();
    const options = [
      [3, "0a090001"],
      [6, "0a090035"],
      [15, Buffer.from("lan.test").toString("hex")],
      [26, "0578"],
    ] as const;
    await using server = await startServer(lab.server, { ...usual, options });
    await using daemon = await lab.daemon();
    const added = await lab.call("ADD", { ipam: { priority: 50 } });
    expect(added.json).toEqual({
      cniVersion: "1.1.0",
      ips: [{ address: "10.9.1.10/16", gateway: "10.9.0.1" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.9.0.1", mtu: 1400, priority: 50 }],
      dns: { nameservers: ["10.9.0.53"], domain: "lan.test" },
    });
    const request = await server.saw("request");
    expect(request).toMatchObject({ source: "0.0.0.0", destination: "255.255.255.255", broadcast: false });
    expect(request.clientId).toBe(`00${Buffer.from("c1/lan/eth0").toString("hex")}`);
    expect(leaseFiles(lab)).toHaveLength(1);
    const prevResult = added.json;
    expect(await lab.call("CHECK", { conf: { prevResult } })).toMatchObject({ code: 0, stdout: "" });
    const asked = server.seen().length;
    expect(await lab.call("DEL")).toMatchObject({ code: 0, stdout: "" });
    expect(await server.saw("release", asked)).toMatchObject({
      source: "10.9.1.10",
      destination: "10.9.0.1",
      ciaddr: "10.9.1.10",
    });
    expect(leaseFiles(lab)).toEqual([]);
    expect(await lab.call("DEL")).toMatchObject({ code: 0, stdout: "" });
    expect((await lab.call("CHECK", { conf: { prevResult } })).json).toMatchObject({ code: 103 });
    expect(await daemon.stop()).toBe(0);
    expect(existsSync(lab.socketPath)).toBe(false);
  });

  labTest("is told in the words of every version", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, { ...usual, options: [[3, "0a090001"]] });
    await using _daemon = await lab.daemon();
    for (const cniVersion of versions) {
      const added = await lab.call("ADD", { conf: { cniVersion } });
      const old = { ip4: { ip: "10.9.1.10/16", gateway: "10.9.0.1", routes: [{ dst: "0.0.0.0/0" }] } };
      const current = {
        ips: [{ address: "10.9.1.10/16", gateway: "10.9.0.1" }],
        routes: [{ dst: "0.0.0.0/0" }],
      };
      expect(added.json).toMatchObject({ cniVersion, ...(cniVersion < "0.3.0" ? old : current) });
      for (const _twice of [1, 2])
        expect(await lab.call("DEL", { conf: { cniVersion } })).toMatchObject({ code: 0, stdout: "" });
    }
  });

  labTest("is one for each interface of a container, and the server may have no second", async () => {
    await using lab = await dhcpLab();
    await run(["ip", "-n", lab.container.name, "link", "add", "net1", "link", "eth0", "type", "macvlan"]);
    await run(["ip", "-n", lab.container.name, "link", "set", "net1", "up"]);
    const second = { ifname: "net1" };
    {
      await using server = await startServer(lab.server, usual);
      await using _ = await lab.daemon();
      const [one, two] = [await lab.call("ADD"), await lab.call("ADD", { call: second })];
      expect([one.json, two.json]).toMatchObject([
        { ips: [{ address: "10.9.1.10/16" }] },
        { ips: [{ address: "10.9.1.11/16" }] },
      ]);
      const before = server.seen().length;
      expect((await lab.call("DEL", { call: second })).code).toBe(0);
      expect(await server.saw("release", before)).toMatchObject({ ciaddr: "10.9.1.11" });
      expect(leaseFiles(lab)).toHaveLength(1);
      expect((await lab.call("CHECK", { conf: { prevResult: one.json } })).code).toBe(0);
      expect((await lab.call("DEL")).code).toBe(0);
    }
    await using _ = await startServer(lab.server, { ...usual, addresses: 1 });
    await using _daemon = await lab.daemon("--resendtimeout", "1s");
    const one = await lab.call("ADD");
    expect((await lab.call("ADD", { call: second })).json).toMatchObject({
      code: 11,
      msg: expect.stringContaining("no DHCP server answered") as unknown,
    });
    expect(leaseFiles(lab)).toHaveLength(1);
    expect((await lab.call("CHECK", { conf: { prevResult: one.json } })).code).toBe(0);
    for (const call of [second, {}]) expect((await lab.call("DEL", { call })).code).toBe(0);
    expect(leaseFiles(lab)).toEqual([]);
  });

  labTest("is not taken from packets that are wrong in one thing", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, { ...usual, noise: "10.9.66.66" });
    await using daemon = await lab.daemon();
    expect((await lab.call("ADD")).json).toMatchObject({ ips: [{ address: "10.9.1.10/16" }] });
    expect(daemon.log.lines().join("\n")).not.toContain("10.9.66.66");
  });

  labTest("is renewed with the server that gave it, from its own address", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, { ...short, noise: "10.9.66.66" });
    await using daemon = await lab.daemon();
    expect((await lab.call("ADD")).code).toBe(0);
    await configure(lab, "10.9.1.10/16");
    expect(await server.saw("renew")).toMatchObject({
      source: "10.9.1.10",
      destination: "10.9.0.1",
      ciaddr: "10.9.1.10",
      clientId: `00${Buffer.from("c1/lan/eth0").toString("hex")}`,
    });
    await daemon.said("renewed for 8 s");
    // Longer than the first lease would have lasted.
    const before = server.seen().length;
    await server.saw("renew", before + 2);
    expect(await lab.addresses()).toEqual(["10.9.1.10"]);
  });

  labTest("is rebound with any server when its own is silent", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, { ...short, renew: "silent" });
    await using daemon = await lab.daemon();
    expect((await lab.call("ADD")).code).toBe(0);
    await configure(lab, "10.9.1.10/16");
    await server.saw("renew");
    expect(await server.saw("rebind")).toMatchObject({ source: "10.9.1.10", destination: "255.255.255.255" });
    await daemon.said("renewed for 8 s");
  });

  labTest("that nobody renews is over: the address goes, CHECK says so, DEL forgets it", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, { ...short, renew: "silent", rebind: "silent" });
    await using daemon = await lab.daemon();
    const added = await lab.call("ADD");
    await configure(lab, "10.9.1.10/16");
    await daemon.said("the address was removed from eth0");
    expect(await lab.addresses()).toEqual([]);
    expect((await lab.call("CHECK", { conf: { prevResult: added.json } })).stdout).toContain(
      "a lease that is over",
    );
    expect(server.seen().filter((s) => s.type === "rebind").length).toBeGreaterThan(0);
    expect((await lab.call("DEL")).code).toBe(0);
    expect(leaseFiles(lab)).toEqual([]);
    expect(server.seen().some((s) => s.type === "release")).toBe(false);
  });

  labTest("that the server refuses to renew is over at once", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, {
      ...short,
      leaseSeconds: 600,
      t1: 1,
      t2: 300,
      renew: "nak",
    });
    await using daemon = await lab.daemon();
    await lab.call("ADD");
    await configure(lab, "10.9.1.10/16");
    await daemon.said("the server refuses it");
    await daemon.said("the address was removed from eth0");
    expect(await lab.addresses()).toEqual([]);
  });

  labTest("goes on after the daemon was killed, and is renewed in time", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, short);
    const first = await lab.daemon();
    const added = await lab.call("ADD");
    await configure(lab, "10.9.1.10/16");
    await first.stop("SIGKILL");
    // What it left of its socket is in nobody's way.
    expect(existsSync(lab.socketPath)).toBe(true);
    await using second = await lab.daemon();
    await second.said("goes on with 1 leases");
    expect((await lab.call("CHECK", { conf: { prevResult: added.json } })).code).toBe(0);
    await server.saw("renew");
    await second.said("renewed for 8 s");
  });

  labTest("ends with its namespace, without a word to the server", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, short);
    await using daemon = await lab.daemon();
    await lab.call("ADD");
    await run(["ip", "netns", "delete", lab.container.name]);
    await run(["ip", "netns", "add", lab.container.name]);
    await daemon.said("its network namespace is gone");
    expect(leaseFiles(lab)).toEqual([]);
    expect(server.seen().some((s) => s.type === "renew")).toBe(false);
    expect((await lab.call("DEL")).code).toBe(0);
  });

  labTest("ends with its interface", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, short);
    await using daemon = await lab.daemon();
    await lab.call("ADD");
    await run(["ip", "-n", lab.container.name, "link", "set", "eth0", "down"]);
    await run(["ip", "-n", lab.container.name, "link", "delete", "eth0"]);
    await daemon.said("there is no longer an interface");
  });

  labTest("leaves no socket and no process in the container's namespace", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, usual);
    await using daemon = await lab.daemon();
    await lab.call("ADD");
    const packet = await lab.container.exec(["cat", "/proc/net/packet"]);
    expect(packet.stdout.trim().split("\n")).toHaveLength(1);
    const pids = await run(["ip", "netns", "pids", lab.container.name]);
    expect(pids.stdout.trim()).toBe("");
    const home = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
    expect(/^Threads:\s+\d+$/m.test(home)).toBe(true);
    const own = await run(["readlink", `/proc/self/ns/net`]);
    for (const task of readdirSync(`/proc/${daemon.pid}/task`))
      expect((await run(["readlink", `/proc/${daemon.pid}/task/${task}/ns/net`])).stdout).toBe(own.stdout);
  });
});
