/**
 * The plugins on a real kernel, by the built executable: every option of `bridge`, `ptp` and `portmap` with the traffic
 * that it allows or stops, and CHECK, which finds each kind of damage and accepts what later plugins change.
 */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { cniHost, type CniHost, type PluginReply } from "../src/testing/cni-host.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../src/testing/netns.ts";
import { inside, seenFrom } from "../src/testing/traffic.ts";
import { demand } from "./faults/loop.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "iptables", "nsenter", "unshare"] });
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const V4 = ["10.94.0.0/24"];
const DUAL = [...V4, "fd94::/64"];

interface Site extends AsyncDisposable {
  readonly host: CniHost;
  /** The host's own namespace, for traffic. */
  readonly home: string;
  container(): Promise<TestNetns>;
  /** Calls a plugin for the container. */
  call(verb: "ADD" | "CHECK" | "DEL", at: TestNetns, conf: Json, more?: Json): Promise<PluginReply>;
}

async function site(): Promise<Site> {
  const stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  return {
    host,
    home: `/proc/${host.pid}/ns/net`,
    container: async () => stack.use(await testNetns()),
    call: (command, { path, name }, conf, more = {}) =>
      host.call(
        String(conf["type"]),
        { command, containerId: name, netns: path, ifname: "eth0" },
        { cniVersion: "1.1.0", name: "net", ...conf, ...more },
      ),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const ipam = ({ host }: Site, ranges: readonly string[] = V4, routes: readonly Json[] = []): Json => ({
  ipam: {
    type: "host-local",
    dataDir: join(host.dir, "ipam"),
    ranges: ranges.map((subnet) => [{ subnet }]),
    routes: [
      { dst: "0.0.0.0/0" },
      ...(ranges.some((r) => r.includes(":")) ? [{ dst: "::/0" }] : []),
      ...routes,
    ],
  },
});
const bridge = (on: Site, more: Json = {}, ranges = V4): Json => ({
  type: "bridge",
  bridge: "net0",
  isGateway: true,
  ...ipam(on, ranges),
  ...more,
});

const resultOf = async (reply: Promise<PluginReply>): Promise<Json> =>
  demand("call", await reply).result ?? {};
const listOf = (result: Json, field: string): readonly Json[] => (result[field] ?? []) as readonly Json[];
const addressOf = (result: Json, nth = 0): string =>
  String(listOf(result, "ips")[nth]?.["address"]).split("/")[0] ?? "";
const hostLinkOf = (result: Json): string =>
  String(listOf(result, "interfaces").find((i) => String(i["name"]).startsWith("veth"))?.["name"]);

interface LinkJson {
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly address: string;
  readonly master?: string;
  readonly linkinfo?: { readonly info_slave_data?: Json };
}
async function linkOf(net: string, name: string, on: Site): Promise<LinkJson> {
  const { stdout } = await on.host.exec([...inside(net), "ip", "-json", "-details", "link", "show", name]);
  return (JSON.parse(stdout) as LinkJson[])[0] as LinkJson;
}
const sysctl = async (on: Site, net: string, key: string): Promise<string> =>
  (await on.host.exec([...inside(net), "cat", `/proc/sys/${key}`])).stdout.trim();

/** Who is asked outside sees the host, whatever masquerades. */
async function hides(conf: (on: Site) => Json): Promise<void> {
  for (const ipMasqBackend of ["nftables", "iptables"]) {
    await using on = await site();
    const [a, outside] = [await on.container(), await on.container()];
    await on.host.exec(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    await on.host.exec(["ip", "link", "set", "up1", "netns", outside.name]);
    await on.host.exec(["ip", "address", "add", "192.0.2.1/24", "dev", "up0"]);
    await on.host.exec(["ip", "link", "set", "up0", "up"]);
    await outside.exec(["ip", "address", "add", "192.0.2.2/24", "dev", "up1"]);
    await outside.exec(["ip", "link", "set", "up1", "up"]);
    await resultOf(on.call("ADD", a, { ...conf(on), ipMasq: true, ipMasqBackend }));
    expect(await seenFrom(a.path, outside.path, "192.0.2.2", 80)).toBe("192.0.2.1");
  }
}

describe("bridge", () => {
  kernel("lets containers reach each other and their gateway, in both families", async () => {
    await using on = await site();
    const [a, b] = [await on.container(), await on.container()];
    const conf = bridge(on, {}, DUAL);
    const [ra, rb] = [await resultOf(on.call("ADD", a, conf)), await resultOf(on.call("ADD", b, conf))];
    for (const nth of [0, 1]) {
      expect(await seenFrom(a.path, b.path, addressOf(rb, nth), 80)).toBe(addressOf(ra, nth));
      const gateway = String(listOf(ra, "ips")[nth]?.["gateway"]);
      expect(await seenFrom(a.path, on.home, gateway, 80)).toBe(addressOf(ra, nth));
    }
  });

  kernel("that is new lets containers be reached from elsewhere at once, over IPv6 too", async () => {
    await using on = await site();
    const a = await on.container();
    const conf = bridge(on, {}, DUAL);
    await resultOf(on.call("ADD", a, conf));
    // While the bridge's link-local address is looked for, the host forwards nothing to a container.
    const { stdout } = await on.host.exec(["ip", "-6", "-oneline", "address", "show", "tentative"]);
    expect(stdout).not.toContain("net0");
    demand("DEL", await on.call("DEL", a, conf));
    await on.host.exec(["ip", "link", "delete", "net0"]);
    await resultOf(on.call("ADD", a, { ...conf, enabledad: true }));
    expect(await sysctl(on, on.home, "net/ipv6/conf/net0/accept_dad")).toBe("1");
  });

  kernel("tells the network of an address that was another container's, in both families", async () => {
    await using on = await site();
    const [a, b] = [await on.container(), await on.container()];
    await resultOf(on.call("ADD", a, bridge(on, {}, DUAL)));
    for (const ip of ["10.94.0.3", "fd94::3"])
      await a.exec([
        "ip",
        "neigh",
        "replace",
        ip,
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        "eth0",
        "nud",
        "stale",
      ]);
    await resultOf(on.call("ADD", b, bridge(on, {}, DUAL)));
    const { address } = await linkOf(b.path, "eth0", on);
    const known = async () => (await a.exec(["ip", "neigh", "show", "dev", "eth0"])).stdout;
    for (const deadline = performance.now() + 5_000; (await known()).split(address).length < 3;)
      if (performance.now() > deadline) throw new Error(await known());
  });

  kernel(
    "without isGateway leaves the bridge without an address and the host without forwarding",
    async () => {
      await using on = await site();
      const a = await on.container();
      await resultOf(on.call("ADD", a, bridge(on, { isGateway: false })));
      const { stdout } = await on.host.exec(["ip", "-json", "-4", "address", "show", "net0"]);
      expect(JSON.parse(stdout)).toEqual([]);
      expect(await sysctl(on, on.home, "net/ipv4/ip_forward")).toBe("0");
    },
  );

  kernel("refuses a second IPv4 network on its bridge unless forceAddress is set", async () => {
    await using on = await site();
    const [a, b] = [await on.container(), await on.container()];
    await resultOf(on.call("ADD", a, bridge(on)));
    const other = bridge(on, {}, ["10.93.0.0/24"]);
    const before = await on.host.snapshot([b.path]);
    const refused = await on.call("ADD", b, other, { name: "other" });
    expect(refused.message).toContain("already has an address different from 10.93.0.1/24");
    expect(await on.host.snapshot([b.path])).toEqual(before);
    await resultOf(on.call("ADD", b, other, { name: "other", forceAddress: true }));
    const { stdout } = await on.host.exec(["ip", "-brief", "-4", "address", "show", "net0"]);
    expect(stdout).toContain("10.93.0.1/24");
    expect(stdout).not.toContain("10.94.0.1/24");
  });

  kernel("takes several IPv6 networks that do not overlap", async () => {
    await using on = await site();
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    await resultOf(on.call("ADD", a, bridge(on, {}, ["fd94::/64"])));
    await resultOf(on.call("ADD", b, bridge(on, {}, ["fd93::/64"]), { name: "other" }));
    const overlapping = await on.call("ADD", c, bridge(on, {}, ["fd94::/48"]), { name: "third" });
    expect(overlapping.message).toContain("already has an address");
  });

  kernel("has one MAC address, whoever comes and goes", async () => {
    await using on = await site();
    const seen: string[] = [];
    const note = async () => seen.push((await linkOf(on.home, "net0", on)).address);
    const [a, b] = [await on.container(), await on.container()];
    const conf = bridge(on);
    const added = await resultOf(on.call("ADD", a, conf));
    await note();
    // Without an address of its own a bridge takes the lowest of its ports.
    await on.host.exec(["ip", "link", "add", "low0", "address", "02:00:00:00:00:01", "type", "veth"]);
    await on.host.exec(["ip", "link", "set", "low0", "master", "net0"]);
    await note();
    const second = await resultOf(on.call("ADD", b, conf));
    await note();
    for (const at of [a, b]) demand("DEL", await on.call("DEL", at, conf));
    await note();
    for (const result of [added, second])
      expect(seen).toContain(String(listOf(result, "interfaces")[0]?.["mac"]));
    expect(new Set(seen).size).toBe(1);
  });

  kernel("sets what its options say on the links", async () => {
    await using on = await site();
    const a = await on.container();
    const conf = bridge(on, { mtu: 1400, hairpinMode: true, portIsolation: true, enabledad: true }, DUAL);
    const added = await resultOf(on.call("ADD", a, conf));
    const port = await linkOf(on.home, hostLinkOf(added), on);
    expect(port.linkinfo?.info_slave_data).toMatchObject({ hairpin: true, isolated: true });
    expect(port).toMatchObject({ mtu: 1400, master: "net0" });
    expect(await linkOf(on.home, "net0", on)).toMatchObject({ mtu: 1400 });
    expect(await linkOf(a.path, "eth0", on)).toMatchObject({ mtu: 1400 });
    expect(await sysctl(on, a.path, "net/ipv6/conf/eth0/accept_dad")).toBe("1");
    expect(await sysctl(on, a.path, "net/ipv4/conf/eth0/arp_notify")).toBe("1");
    demand("CHECK", await on.call("CHECK", a, conf, { prevResult: added }));
  });

  kernel("in promiscMode makes the bridge promiscuous", async () => {
    await using on = await site();
    const a = await on.container();
    await resultOf(on.call("ADD", a, bridge(on, { promiscMode: true })));
    expect((await linkOf(on.home, "net0", on)).flags).toContain("PROMISC");
  });

  kernel("isolates ports from each other but not from the gateway", async () => {
    await using on = await site();
    const [a, b] = [await on.container(), await on.container()];
    const conf = bridge(on, { portIsolation: true });
    await resultOf(on.call("ADD", a, conf));
    const rb = await resultOf(on.call("ADD", b, conf));
    expect(await seenFrom(a.path, b.path, addressOf(rb), 80)).toBeUndefined();
    expect(await seenFrom(b.path, on.home, "10.94.0.1", 80)).toBe(addressOf(rb));
  });

  kernel("with macspoofchk drops frames of another address, and those alone", async () => {
    await using on = await site();
    const a = await on.container();
    const added = await resultOf(on.call("ADD", a, bridge(on, { macspoofchk: true })));
    const own = (await linkOf(a.path, "eth0", on)).address;
    const setMac = (mac: string) => a.exec(["ip", "link", "set", "eth0", "address", mac]);
    expect(await seenFrom(a.path, on.home, "10.94.0.1", 80)).toBe(addressOf(added));
    await setMac("02:00:00:00:00:99");
    expect(await seenFrom(a.path, on.home, "10.94.0.1", 81)).toBeUndefined();
    await setMac(own);
    expect(await seenFrom(a.path, on.home, "10.94.0.1", 82)).toBe(addressOf(added));
  });

  kernel("with disableContainerInterface leaves the container's end down", async () => {
    await using on = await site();
    const a = await on.container();
    const conf = { type: "bridge", bridge: "net0", disableContainerInterface: true };
    const added = await resultOf(on.call("ADD", a, conf));
    expect((await linkOf(a.path, "eth0", on)).flags).not.toContain("UP");
    demand("CHECK", await on.call("CHECK", a, conf, { prevResult: added }));
  });

  kernel("hides containers behind the host's address with ipMasq, by either backend", () =>
    hides((on) => bridge(on)),
  );

  kernel("takes the MAC address of runtimeConfig, else of args, else of CNI_ARGS", async () => {
    await using on = await site();
    const sources: readonly (readonly [string, Json, string | undefined])[] = [
      [
        "02:00:00:00:00:01",
        { runtimeConfig: { mac: "02:00:00:00:00:01" }, args: { cni: { mac: "02:00:00:00:00:02" } } },
        "IgnoreUnknown=1;MAC=02:00:00:00:00:03",
      ],
      [
        "02:00:00:00:00:02",
        { args: { cni: { mac: "02:00:00:00:00:02" } } },
        "IgnoreUnknown=1;MAC=02:00:00:00:00:03",
      ],
      ["02:00:00:00:00:03", {}, "IgnoreUnknown=1;MAC=02:00:00:00:00:03"],
    ];
    for (const [wanted, more, args] of sources) {
      const a = await on.container();
      const key = { containerId: a.name, netns: a.path, ifname: "eth0", ...(args ? { args } : {}) };
      const conf = { cniVersion: "1.1.0", name: "net", ...bridge(on), ...more };
      demand("ADD", await on.host.call("bridge", { command: "ADD", ...key }, conf));
      expect((await linkOf(a.path, "eth0", on)).address).toBe(wanted);
    }
  });
});

describe("ptp", () => {
  kernel("hides who is behind a link of its own behind the host's address, by either backend", () =>
    hides((on) => ({ type: "ptp", ...ipam(on) })),
  );

  kernel("routes between containers, the host and the outside, in both families", async () => {
    await using on = await site();
    const [a, b] = [await on.container(), await on.container()];
    const conf = { type: "ptp", ipMasq: true, mtu: 1420, ...ipam(on, DUAL) };
    const [ra, rb] = [await resultOf(on.call("ADD", a, conf)), await resultOf(on.call("ADD", b, conf))];
    for (const nth of [0, 1]) {
      const gateway = String(listOf(ra, "ips")[nth]?.["gateway"]);
      expect(await seenFrom(a.path, on.home, gateway, 80)).toBe(addressOf(ra, nth));
      expect(await seenFrom(on.home, a.path, addressOf(ra, nth), 80)).toBeDefined();
      expect(await seenFrom(a.path, b.path, addressOf(rb, nth), 80)).toBe(addressOf(ra, nth));
    }
    // While its link-local address is looked for, the host forwards nothing to a container.
    const { stdout } = await on.host.exec(["ip", "-6", "-oneline", "address", "show", "tentative"]);
    for (const added of [ra, rb]) expect(stdout).not.toContain(hostLinkOf(added));
    expect((await linkOf(a.path, "eth0", on)).mtu).toBe(1420);
    demand("CHECK", await on.call("CHECK", a, conf, { prevResult: ra }));
  });
});

describe("CHECK", () => {
  type Damage = (on: Site, a: TestNetns, added: Json) => Promise<unknown>;
  const damages: Readonly<Record<string, Damage>> = {
    "an address that was removed": (_, a, added) =>
      a.exec(["ip", "address", "delete", `${addressOf(added)}/24`, "dev", "eth0"]),
    "a route that was removed": (_, a) => a.exec(["ip", "route", "delete", "198.51.100.0/24"]),
    "a link that is down": (on, _, added) => on.host.exec(["ip", "link", "set", hostLinkOf(added), "down"]),
    "a container's link that is down": (_, a) => a.exec(["ip", "link", "set", "eth0", "down"]),
    "a port that left its bridge": (on, _, added) =>
      on.host.exec(["ip", "link", "set", hostLinkOf(added), "nomaster"]),
    "a bridge that is down": (on) => on.host.exec(["ip", "link", "set", "net0", "down"]),
    "a gateway that lost its address": (on) =>
      on.host.exec(["ip", "address", "delete", "10.94.0.1/24", "dev", "net0"]),
    "a MAC address that nobody announced": (_, a) =>
      a.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"]),
    "an MTU that nobody announced": (_, a) => a.exec(["ip", "link", "set", "eth0", "mtu", "1300"]),
    "masquerading that was removed": (on) =>
      on.host.exec(["nft", "flush", "map", "inet", "heddle", "masquerade4"]),
    "a rule set that was flushed": (on) => on.host.exec(["nft", "flush", "ruleset"]),
    "hairpin mode switched off": (on, _, added) =>
      on.host.exec(["ip", "link", "set", hostLinkOf(added), "type", "bridge_slave", "hairpin", "off"]),
    "isolation switched off": (on, _, added) =>
      on.host.exec(["ip", "link", "set", hostLinkOf(added), "type", "bridge_slave", "isolated", "off"]),
    "the MAC check removed": (on) =>
      on.host.exec(["nft", "flush", "set", "bridge", "heddle", "allowed_macs"]),
    "forwarding switched off": (on) => on.host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=0"]),
    "an interface that is gone": (_, a) => a.exec(["ip", "link", "delete", "eth0"]),
    "a reservation that is gone": (on, _, added) =>
      on.host.exec(["rm", join(on.host.dir, "ipam/net", addressOf(added))]),
  };
  kernel.each(Object.entries(damages))("of a bridge network finds %s", async (_, damage) => {
    await using on = await site();
    const a = await on.container();
    const conf = bridge(on, {
      mtu: 1400,
      ipMasq: true,
      hairpinMode: true,
      portIsolation: true,
      macspoofchk: true,
      ...ipam(on, V4, [{ dst: "198.51.100.0/24", gw: "10.94.0.1" }]),
    });
    const added = await resultOf(on.call("ADD", a, conf));
    demand("CHECK", await on.call("CHECK", a, conf, { prevResult: added }));
    await damage(on, a, added);
    const checked = await on.call("CHECK", a, conf, { prevResult: added });
    expect(checked.code).toBe(1);
    expect(checked.error).toBeGreaterThan(0);
    // Not a failure of the program itself.
    expect(checked.error).not.toBe(999);
    demand("DEL", await on.call("DEL", a, conf));
  });

  kernel("accepts what a later plugin changed and said", async () => {
    await using on = await site();
    const a = await on.container();
    const conf = bridge(on, { ipMasq: true, mtu: 1400 });
    const added = await resultOf(on.call("ADD", a, conf));
    await a.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:55", "mtu", "1300"]);
    await a.exec(["ip", "address", "add", "10.200.0.1/32", "dev", "eth0"]);
    await a.exec(["ip", "route", "add", "10.201.0.0/16", "via", "10.94.0.1"]);
    const interfaces = listOf(added, "interfaces").map((i) =>
      i["sandbox"] ? { ...i, mac: "02:00:00:00:00:55", mtu: 1300 } : i,
    );
    demand("CHECK", await on.call("CHECK", a, conf, { prevResult: { ...added, interfaces } }));
  });
});

describe("portmap", () => {
  const conf = (backend: string, hostPort: number, hostIP?: string): Json => ({
    type: "portmap",
    backend,
    runtimeConfig: {
      portMappings: [{ hostPort, containerPort: 80, protocol: "tcp", ...(hostIP ? { hostIP } : {}) }],
    },
  });
  kernel.each(["nftables", "iptables"])(
    "by %s leads from the host to the container, and CHECK finds it gone",
    async (backend) => {
      await using on = await site();
      const a = await on.container();
      // Where br_netfilter translates bridged frames, the way to oneself leads back out of the same port.
      const prevResult = await resultOf(on.call("ADD", a, bridge(on, { hairpinMode: true })));
      const map = conf(backend, 9494);
      const result = await resultOf(on.call("ADD", a, map, { prevResult }));
      expect(listOf(result, "ips")).toEqual(listOf(prevResult, "ips"));
      const listen = { address: addressOf(result), port: 80 };
      expect(await seenFrom(on.home, a.path, "127.0.0.1", 9494, listen)).toBe("10.94.0.1");
      expect(await seenFrom(a.path, a.path, "10.94.0.1", 9494, listen)).toBe("10.94.0.1");
      demand("CHECK", await on.call("CHECK", a, map, { prevResult }));
      await on.host.exec(["nft", "flush", "ruleset"]);
      expect((await on.call("CHECK", a, map, { prevResult })).code).toBe(1);
      demand("DEL", await on.call("DEL", a, map));
    },
  );

  kernel.each(["nftables", "iptables"])(
    "by %s names the live container that has a port, and takes it from a dead one",
    async (backend) => {
      await using on = await site();
      const [a, b] = [await on.container(), await on.container()];
      const [ra, rb] = [
        await resultOf(on.call("ADD", a, bridge(on))),
        await resultOf(on.call("ADD", b, bridge(on))),
      ];
      await resultOf(on.call("ADD", a, conf(backend, 9495), { prevResult: ra }));
      const refused = await on.call("ADD", b, conf(backend, 9495, "127.0.0.1"), { prevResult: rb });
      expect(refused.message).toContain(a.name);
      expect(refused.error).toBeGreaterThanOrEqual(100);
      await on.host.exec(["ip", "netns", "delete", a.name]);
      await resultOf(on.call("ADD", b, conf(backend, 9495), { prevResult: rb }));
    },
  );
});
