/** `macvlan` on a real kernel, by the built executable: each option with the traffic that it allows or stops. */
import { describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { addressIn, lan, type Lan } from "../../src/testing/lan.ts";
import { onKernelWith, testWith } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare", "setpriv"] });
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const macvlan = (more: Json = {}): Json => ({ type: "macvlan", master: "up0", ...more });

/** A network where addresses are usable at once, also for those who ask a neighbour first. */
const dual = (on: Lan, more: Json = {}): Json =>
  macvlan({ ipam: on.ipam([4, 6]), enabledad: false, ...more });

describe("macvlan", () => {
  kernel("puts containers onto the network of its master, in both families", async () => {
    await using on = await lan(heddle);
    const [a, b] = [await on.container(), await on.container()];
    const [ra, rb] = [await on.add(a, dual(on)), await on.add(b, dual(on))];
    for (const nth of [0, 1]) {
      expect(await seenFrom(a.path, b.path, addressIn(rb, nth), 80)).toBe(addressIn(ra, nth));
      expect(await seenFrom(a.path, on.machine.path, nth === 0 ? "10.95.0.2" : "fd95::2", 80)).toBe(
        addressIn(ra, nth),
      );
      expect(await seenFrom(on.machine.path, a.path, addressIn(ra, nth), 80)).toBeDefined();
      // That is the nature of the kind; see hostAccess.
      expect(await seenFrom(a.path, on.home, nth === 0 ? "10.95.0.1" : "fd95::1", 80)).toBeUndefined();
    }
    expect((await on.call("CHECK", a, { ...dual(on), prevResult: ra })).message).toBe("");
  });

  kernel("says what it made, and takes all of it back", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const before = await on.snapshot(a);
    const conf = dual(on, { mtu: 1400, mac: "02:00:00:00:00:42", dns: { nameservers: ["192.0.2.53"] } });
    const result = await on.add(a, conf);
    expect(result).toEqual({
      cniVersion: "1.1.0",
      interfaces: [{ name: "eth0", mac: "02:00:00:00:00:42", mtu: 1400, sandbox: a.path }],
      ips: [
        { interface: 0, address: "10.95.0.16/24", gateway: "10.95.0.2" },
        { interface: 0, address: "fd95::16/64", gateway: "fd95::2" },
      ],
      dns: { nameservers: ["192.0.2.53"] },
    });
    expect(await on.link(a.path, "eth0")).toMatchObject({
      address: "02:00:00:00:00:42",
      mtu: 1400,
      linkinfo: { info_kind: "macvlan", info_data: { mode: "bridge" } },
    });
    for (const _ of [1, 2]) expect((await on.call("DEL", a, conf)).message).toBe("");
    expect(await on.snapshot(a)).toEqual(before);
  });

  kernel.each(["bridge", "private", "vepa", "passthru"])("has mode %s", async (mode) => {
    await using on = await lan(heddle);
    const [a, b] = [await on.container(), await on.container()];
    const conf = macvlan({ mode, bcqueuelen: 333, ipam: on.ipam() });
    const ra = await on.add(a, conf);
    expect(await on.link(a.path, "eth0")).toMatchObject({
      linkinfo: { info_data: { mode, bcqueuelen: 333 } },
    });
    expect((await on.call("CHECK", a, { ...conf, prevResult: ra })).message).toBe("");
    const second = await on.call("ADD", b, conf);
    if (mode === "passthru") {
      expect([second.error, second.message]).toEqual([
        104,
        expect.stringContaining(`macvlan of container ${a.name} (eth0, network net)`),
      ]);
      return;
    }
    const between = await seenFrom(a.path, b.path, addressIn(second.result ?? {}), 80);
    expect(between).toBe(mode === "bridge" ? addressIn(ra) : undefined);
  });

  kernel("in mode passthru has the master's address, or lends it its own until DEL", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const own = (await on.link(on.home, "up0"))["address"];
    const inherited = await on.add(a, macvlan({ mode: "passthru" }));
    expect(inherited["interfaces"]).toMatchObject([{ mac: own }]);
    await on.call("DEL", a, macvlan({ mode: "passthru" }));
    const mac = "02:00:00:00:00:42";
    expect((await on.add(a, macvlan({ mode: "passthru", mac })))["interfaces"]).toMatchObject([{ mac }]);
    expect(await on.link(on.home, "up0")).toMatchObject({ address: mac });
    await on.call("DEL", a, macvlan({ mode: "passthru" }));
    expect(await on.link(on.home, "up0")).toMatchObject({ address: own });
  });

  kernel("takes the link of the default route, and does not need it for DEL", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const conf = { type: "macvlan", ipam: on.ipam() };
    const before = await on.snapshot(a);
    const refused = await on.call("ADD", a, conf);
    expect([refused.error, refused.message]).toEqual([7, expect.stringContaining("default route")]);
    expect(await on.snapshot(a)).toEqual(before);
    await on.host.exec(["ip", "route", "add", "default", "via", "10.95.0.2"]);
    const added = await on.add(a, conf);
    expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
    await on.host.exec(["ip", "route", "delete", "default"]);
    expect((await on.call("DEL", a, conf)).message).toBe("");
    expect(await on.snapshot(a)).toEqual(before);
  });

  kernel("takes the link of the IPv6 default route where there is no other", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await on.host.exec(["ip", "-6", "route", "add", "default", "via", "fd95::2"]);
    await on.add(a, { type: "macvlan" });
  });

  kernel("finds its master in the container if it is there", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await a.exec(["ip", "link", "add", "in0", "type", "veth", "peer", "name", "in1"]);
    await a.exec(["ip", "link", "set", "in0", "up"]);
    const conf = macvlan({ master: "in0", linkInContainer: true, ipam: on.ipam() });
    expect((await on.call("ADD", a, { ...conf, linkInContainer: false })).error).toBe(7);
    const added = await on.add(a, conf);
    expect(await on.link(a.path, "eth0")).toMatchObject({ link: "in0" });
    expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
    expect((await on.call("DEL", a, conf)).message).toBe("");
  });

  kernel(
    "takes the MAC address of runtimeConfig, else of args, else of CNI_ARGS, else of its own key",
    async () => {
      await using on = await lan(heddle);
      const mac = (n: number) => `02:00:00:00:00:0${n}`;
      const args = `IgnoreUnknown=1;MAC=${mac(3)}`;
      const sources: readonly (readonly [string, Json, string | undefined])[] = [
        [mac(1), { runtimeConfig: { mac: mac(1) }, args: { cni: { mac: mac(2) } }, mac: mac(4) }, args],
        [mac(2), { args: { cni: { mac: mac(2) } }, mac: mac(4) }, args],
        [mac(3), { mac: mac(4) }, args],
        [mac(4), { mac: mac(4) }, undefined],
      ];
      for (const [wanted, more, given] of sources) {
        const a = await on.container();
        const key = { containerId: a.name, netns: a.path, ifname: "eth0", ...(given ? { args: given } : {}) };
        const conf = { cniVersion: "1.1.0", name: "net", ...macvlan(more) };
        expect((await on.host.call("macvlan", { command: "ADD", ...key }, conf)).message).toBe("");
        expect(await on.link(a.path, "eth0")).toMatchObject({ address: wanted });
      }
    },
  );

  kernel("tells neighbours of an address that was another machine's", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const known = async (ip: string) =>
      (await on.machine.exec(["ip", "neigh", "show", ip])).stdout.includes("02:00:00:00:00:42");
    for (const ip of ["10.95.0.16", "fd95::16"])
      await on.machine.exec([
        "ip",
        "neigh",
        "replace",
        ip,
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        "lan",
        "nud",
        "stale",
      ]);
    await on.add(a, dual(on, { mac: "02:00:00:00:00:42" }));
    for (const ip of ["10.95.0.16", "fd95::16"])
      for (const deadline = performance.now() + 5_000; !(await known(ip));)
        if (performance.now() > deadline) throw new Error(`nobody told of ${ip}`);
  });

  kernel("on another master than the configuration's is found by CHECK", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const added = await on.add(a, macvlan());
    await on.host.exec(["ip", "link", "add", "up9", "type", "veth"]);
    const { error, message } = await on.call("CHECK", a, macvlan({ master: "up9", prevResult: added }));
    expect([error, message]).toEqual([103, expect.stringContaining("eth0 is on up9")]);
  });

  kernel("says in STATUS that its master is not there", async () => {
    await using on = await lan(heddle);
    const status = (conf: Json) =>
      on.host.call("macvlan", { command: "STATUS" }, { cniVersion: "1.1.0", name: "net", ...conf });
    expect((await status(macvlan())).code).toBe(0);
    expect(await status(macvlan({ master: "up9" }))).toMatchObject({ error: 50 });
    expect(await status({ type: "macvlan" })).toMatchObject({ error: 50 });
  });

  kernel("refuses bad values with the key's name, and leaves nothing", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const before = await on.snapshot(a);
    const bad: readonly (readonly [key: string, more: Json])[] = [
      ["master", { master: "up9" }],
      ["master", { master: "lo" }],
      ["master", { master: "a/b" }],
      ["mode", { mode: "l2" }],
      ["mtu", { mtu: 1501 }],
      ["mtu", { mtu: -1 }],
      ["mac", { mac: "01:00:00:00:00:01" }],
      ["runtimeConfig.mac", { runtimeConfig: { mac: "nonsense" } }],
      ["bcqueuelen", { bcqueuelen: -1 }],
      ["linkInContainer", { linkInContainer: 1 }],
      ["enabledad", { enabledad: "yes" }],
      ["hostAccess", { hostAccess: true }],
      ["hostAccess", { hostAccess: true, mode: "private", ipam: on.ipam() }],
      ["ipam", { ipam: { type: "static", addresses: [] } }],
    ];
    for (const [key, more] of bad) {
      const refused = await on.call("ADD", a, macvlan(more));
      expect([key, refused.error, refused.message]).toEqual([key, 7, expect.stringContaining(key)]);
      expect(await on.snapshot(a)).toEqual(before);
    }
  });

  kernel("names who is in the way on a master that has another user", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await on.host.exec(["ip", "link", "add", "br7", "type", "bridge"]);
    await on.host.exec(["ip", "link", "set", "up0", "master", "br7"]);
    const before = await on.snapshot(a);
    const refused = await on.call("ADD", a, macvlan({ ipam: on.ipam() }));
    expect([refused.error, refused.message]).toEqual([104, expect.stringContaining("it is a port of br7")]);
    expect(await on.snapshot(a)).toEqual(before);
  });
});

describe("an IPv6 address of macvlan", () => {
  const twice = async (on: Lan): Promise<unknown> =>
    on.machine.exec(["ip", "address", "add", "fd95::16/64", "dev", "lan", "nodad"]);
  const v6 = (on: Lan, more: Json = {}): Json => macvlan({ ipam: on.ipam([6]), ...more });

  kernel("is looked for in the background, and CHECK tells of another owner", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await twice(on);
    const added = await on.add(a, v6(on));
    const check = () => on.call("CHECK", a, { ...v6(on), prevResult: added });
    for (const deadline = performance.now() + 10_000; (await check()).code === 0;)
      if (performance.now() > deadline) throw new Error("the other owner was not found");
    expect((await check()).message).toContain("another owner");
  });

  kernel("can be used before the end of that", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await on.add(a, v6(on));
    const { stdout } = await a.exec([
      "ip",
      "-6",
      "-oneline",
      "address",
      "show",
      "dev",
      "eth0",
      "scope",
      "global",
    ]);
    // Where the namespace is not slow, it has just begun.
    expect(stdout).toMatch(/optimistic|^(?!.*tentative)/);
    expect(await seenFrom(on.machine.path, a.path, "fd95::16", 80)).toBe("fd95::2");
  });

  kernel("is waited for with enabledad, and another owner ends ADD", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await on.add(a, v6(on, { enabledad: true }));
    const { stdout } = await a.exec(["ip", "-6", "address", "show", "dev", "eth0", "scope", "global"]);
    expect(stdout).not.toContain("tentative");
    await on.call("DEL", a, v6(on));
    await on.machine.exec(["ip", "address", "add", "fd95::17/64", "dev", "lan", "nodad"]);
    const before = await on.snapshot(a);
    const refused = await on.call("ADD", a, v6(on, { enabledad: true }));
    expect([refused.error, refused.message]).toEqual([
      104,
      expect.stringContaining("another owner of fd95::17"),
    ]);
    expect(await on.snapshot(a)).toEqual(before);
  });
});

describe("hostAccess of macvlan", () => {
  const access = (on: Lan): Json => dual(on, { hostAccess: true });
  const shims = async (on: Lan): Promise<readonly Json[]> => {
    const { stdout } = await on.host.exec(["ip", "-json", "-details", "link", "show", "type", "macvlan"]);
    return JSON.parse(stdout) as Json[];
  };

  kernel("lets host and containers reach one another, in both families", async () => {
    await using on = await lan(heddle);
    // The strictest that a host may be set to.
    await on.host.exec([
      "sysctl",
      "-qw",
      "net.ipv4.conf.all.rp_filter=1",
      "net.ipv4.conf.default.rp_filter=1",
    ]);
    const [a, b] = [await on.container(), await on.container()];
    const [ra, rb] = [await on.add(a, access(on)), await on.add(b, access(on))];
    for (const [nth, own] of [
      [0, "10.95.0.1"],
      [1, "fd95::1"],
    ] as const) {
      for (const [container, result] of [
        [a, ra],
        [b, rb],
      ] as const) {
        expect(await seenFrom(container.path, on.home, own, 80)).toBe(addressIn(result, nth));
        expect(await seenFrom(on.home, container.path, addressIn(result, nth), 80)).toBe(own);
      }
      // The host speaks to the rest of the network as before, and it to the host.
      expect(await seenFrom(on.home, on.machine.path, nth === 0 ? "10.95.0.2" : "fd95::2", 80)).toBe(own);
      expect(await seenFrom(on.machine.path, on.home, own, 80)).toBeDefined();
    }
    expect((await on.call("CHECK", a, { ...access(on), prevResult: ra })).message).toBe("");
    expect(await shims(on)).toHaveLength(1);
  });

  kernel("tells the network nothing of the shim", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const added = await on.add(a, access(on));
    const master = (await on.link(on.home, "up0"))["address"];
    await seenFrom(on.home, a.path, addressIn(added), 80);
    for (const own of ["10.95.0.1", "fd95::1"]) {
      await seenFrom(on.machine.path, on.home, own, 80);
      const { stdout } = await on.machine.exec(["ip", "neigh", "show", own]);
      expect(stdout).toContain(String(master));
    }
    const shim = String((await shims(on))[0]?.["ifname"]);
    const { stdout } = await on.host.exec(["ip", "-brief", "address", "show", "dev", shim]);
    expect(stdout).not.toMatch(/inet|fe80|10\.95|fd95/);
  });

  const withShim = async (on: Lan, a: TestNetns): Promise<readonly string[]> => {
    await on.add(a, access(on));
    await on.call("DEL", a, access(on));
    return on.snapshot(a);
  };

  kernel("leaves the shim and nothing else, however DEL is called", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const before = await withShim(on, a);
    const key = { command: "DEL", containerId: a.name, ifname: "eth0" } as const;
    const conf = { cniVersion: "1.1.0", name: "net", ...access(on) };
    await on.add(a, access(on));
    expect((await on.host.call("macvlan", key, conf)).message).toBe("");
    await a.exec(["ip", "link", "delete", "eth0"], { mustSucceed: false });
    expect(await on.snapshot(a)).toEqual(before);
  });

  kernel("finds its routes by their metric when the record is lost", async () => {
    await using on = await lan(heddle);
    const [a, b] = [await on.container(), await on.container()];
    await on.add(b, access(on));
    const before = await withShim(on, a);
    await on.add(a, access(on));
    const dir = join(on.host.dir, "run/attachments");
    const { stdout } = await on.host.exec(["grep", "-l", `"${a.name}"`, "-r", dir]);
    rmSync(stdout.trim());
    expect((await on.call("DEL", a, access(on))).message).toBe("");
    expect(await on.snapshot(a)).toEqual(before);
    expect(await seenFrom(on.home, b.path, "10.95.0.16", 80)).toBe("10.95.0.1");
  });

  kernel("is whole again when the shim was removed, after the next ADD", async () => {
    await using on = await lan(heddle);
    const [a, b] = [await on.container(), await on.container()];
    const ra = await on.add(a, access(on));
    const mac = (await shims(on))[0]?.["address"];
    await on.host.exec(["ip", "link", "delete", String((await shims(on))[0]?.["ifname"])]);
    expect((await on.call("CHECK", a, { ...access(on), prevResult: ra })).error).toBeDefined();
    expect((await on.call("DEL", a, access(on))).message).toBe("");
    await on.add(b, access(on));
    expect((await shims(on))[0]?.["address"]).toBe(mac);
  });

  const reached = async (on: Lan, a: TestNetns, added: Json): Promise<void> => {
    for (const [nth, own] of [
      [0, "10.95.0.1"],
      [1, "fd95::1"],
    ] as const) {
      expect(await seenFrom(a.path, on.home, own, 80)).toBe(addressIn(added, nth));
      expect(await seenFrom(on.home, a.path, addressIn(added, nth), 80)).toBe(own);
    }
  };

  kernel("goes on while tuning gives the container another hardware address, and after it", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const tuning = { type: "tuning", mac: "02:00:00:00:00:77" };
    await withShim(on, a);
    const empty = await on.snapshot(a);
    const added = await on.add(a, access(on));
    const before = await on.snapshot(a);
    const tuned = await on.add(a, { ...tuning, prevResult: added });
    await reached(on, a, tuned);
    expect((await on.call("CHECK", a, { ...access(on), prevResult: tuned })).message).toBe("");
    expect((await on.call("DEL", a, tuning)).message).toBe("");
    await reached(on, a, added);
    expect(await on.snapshot(a)).toEqual(before);
    // The namespace is gone before the host can be told of the old address.
    await on.add(a, { ...tuning, prevResult: added });
    await on.host.exec(["ip", "netns", "delete", a.name]);
    for (const conf of [tuning, access(on)]) expect((await on.call("DEL", a, conf)).message).toBe("");
    const inHost = (lines: readonly string[]) => lines.filter((l) => l.startsWith("host: "));
    expect(inHost(await on.snapshot())).toEqual(inHost(empty));
  });

  onKernelWith(["vrf"], () =>
    test("goes on while the container's interface is a member of a VRF", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const vrf = { type: "vrf", vrfname: "red" };
      const added = await on.add(a, access(on));
      const neighbours = async () =>
        (await a.exec(["ip", "neighbour", "show", "nud", "permanent"])).stdout.split("\n").toSorted();
      const before = await neighbours();
      const joined = await on.add(a, { ...vrf, prevResult: added });
      expect(await neighbours()).toEqual(before);
      expect((await on.call("CHECK", a, { ...access(on), prevResult: joined })).message).toBe("");
      expect((await on.call("DEL", a, vrf)).message).toBe("");
      await reached(on, a, added);
    }),
  );
});
