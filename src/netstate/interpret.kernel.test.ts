import { describe, expect } from "bun:test";
import type { FirewallRule } from "../firewall/model.ts";
import { kernelTest } from "../testing/needs.ts";
import { MARK, stage } from "../testing/netstate-stage.ts";
import { fresh, mac, prefixOf } from "../testing/plan.ts";
import type { NetObject, Of } from "./model.ts";

const bridge: Of<"bridge"> = {
  kind: "bridge",
  possession: "shared",
  name: "st0",
  mac: fresh.bridgeMac,
  promiscuous: false,
};
const veth: Of<"veth"> = {
  kind: "veth",
  possession: "exclusive",
  host: { name: "vethst01", mac: fresh.hostMac },
  container: { name: "eth0", mac: fresh.containerMac },
  port: { bridge: "st0", hairpin: true, isolated: false },
};
const up: Of<"link-up"> = { kind: "link-up", possession: "exclusive", place: "container", link: "eth0" };
const loopback: Of<"link-up"> = { kind: "link-up", possession: "borrowed", place: "container", link: "lo" };
const address: Of<"address"> = {
  kind: "address",
  possession: "exclusive",
  place: "container",
  link: "eth0",
  address: prefixOf("10.92.0.2/24"),
  dad: false,
  connectedRoute: true,
};
const route: Of<"route"> = {
  kind: "route",
  possession: "exclusive",
  place: "container",
  link: "eth0",
  dst: prefixOf("198.51.100.0/24"),
  gateway: prefixOf("10.92.0.1/32").ip,
};
const forwarding: Of<"sysctl"> = {
  kind: "sysctl",
  possession: "borrowed",
  place: "host",
  key: "net/ipv4/ip_forward",
  value: "1",
};
const masquerade: FirewallRule = {
  kind: "masquerade",
  address: prefixOf("10.92.0.2/32").ip,
  subnet: prefixOf("10.92.0.0/24"),
};
const firewall: Of<"firewall"> = {
  kind: "firewall",
  possession: "exclusive",
  state: { backend: "nftables", rules: [masquerade], network: "net", containerId: "c" },
};
const whole = [bridge, veth, up, loopback, address, route, forwarding, firewall];
/** Fails last: no route leads to its gateway. */
const unreachable: NetObject = { ...route, gateway: prefixOf("203.0.113.9/32").ip };

describe("a bridge", () => {
  kernelTest("whose maker was killed before it came up hears no router's advertisements either", async () => {
    await using on = await stage();
    const { name, mac } = bridge;
    await on.host.exec(["ip", "link", "add", name, "address", mac, "type", "bridge"]);
    const heard = async (): Promise<string> =>
      (await on.host.exec(["sysctl", "-n", `net.ipv6.conf.${name}.accept_ra`])).stdout.trim();
    expect(await heard()).toBe("1");
    expect((await on.do("apply", [bridge])).failure).toBeUndefined();
    expect(await heard()).toBe("0");
    expect((await on.host.exec(["ip", "-br", "link", "show", name])).stdout).toContain("UP");
  });
});

describe("a state", () => {
  kernelTest("is applied, verified and removed, and only what is shared stays", async () => {
    await using on = await stage();
    const before = await on.lines();
    const applied = await on.do("apply", whole);
    expect(applied.failure).toBeUndefined();
    expect(applied.borrowed.toSorted((a, b) => a.object - b.object)).toEqual([
      { object: 3, value: "down" },
      { object: 6, value: "0" },
    ]);
    expect((await on.do("verify", whole)).failure).toBeUndefined();
    expect((await on.do("remove", whole, applied.borrowed)).failure).toBeUndefined();
    const shared = (line: string): boolean => /link st0 bridge|nft: table inet heddle/.test(line);
    const left = (await on.lines()).filter((line) => !shared(line));
    const inContainer = (line: string): boolean =>
      line.startsWith("container 1: ") && !line.includes("127.0.0.");
    expect(left.filter((l) => l.startsWith("host"))).toEqual(before.filter((l) => l.startsWith("host")));
    expect(left.filter(inContainer)).toEqual(before.filter(inContainer));
    expect(left.join("\n")).not.toContain(MARK);
  });

  kernelTest("that is removed twice, or never was, is no failure", async () => {
    await using on = await stage();
    expect((await on.do("remove", whole)).failure).toBeUndefined();
    const { borrowed } = await on.do("apply", whole);
    await on.do("remove", whole, borrowed);
    expect((await on.do("remove", whole, borrowed)).failure).toBeUndefined();
  });

  kernelTest("whose last object fails is taken back, what it borrowed included", async () => {
    await using on = await stage();
    // What is shared is there before, so that it is not a difference.
    await on.do("apply", [bridge, veth, firewall]);
    await on.do("remove", [bridge, veth, firewall]);
    const before = await on.lines();
    const { failure } = await on.do("apply", [...whole, unreachable]);
    expect(failure?.code).toBe("netlink/refused");
    const after = await on.lines();
    const kept = (line: string): boolean => !line.includes("127.0.0.");
    expect(after.filter(kept)).toEqual(before.filter(kept));
  });

  kernelTest("refuses an interface that is there, and leaves it alone", async () => {
    await using on = await stage();
    await on.container.exec(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"]);
    const before = (await on.lines()).filter((l) => l.startsWith("container"));
    const { failure } = await on.do("apply", whole);
    expect(failure?.code).toBe("resource/exists");
    expect((await on.lines()).filter((l) => l.startsWith("container"))).toEqual(before);
  });
});

kernelTest("an address that had to go for another is back after a failure", async () => {
  await using on = await stage();
  const old = { ...address, possession: "shared", place: "host", link: "st0" } as const;
  await on.do("apply", [bridge, { ...old, address: prefixOf("10.91.0.1/24") }]);
  const before = await on.lines();
  const replacing = { ...old, address: prefixOf("10.92.0.1/24"), replaces: [prefixOf("10.91.0.1/24")] };
  expect(
    (await on.do("apply", [bridge, replacing, { ...unreachable, place: "host", link: "st0" }])).failure,
  ).toBeDefined();
  expect(await on.lines()).toEqual(before);
  expect((await on.do("apply", [bridge, replacing])).failure).toBeUndefined();
  expect((await on.lines()).join("\n")).not.toContain("10.91.0.1/24");
});

describe("what was borrowed", () => {
  kernelTest("is not given back if somebody else has changed it since", async () => {
    await using on = await stage();
    await on.host.exec(["sysctl", "-qw", "net.ipv4.conf.lo.rp_filter=0"]);
    const borrowed: NetObject = { ...forwarding, key: "net/ipv4/conf/lo/rp_filter", value: "1" };
    const read = async () =>
      (await on.host.exec(["sysctl", "-n", "net.ipv4.conf.lo.rp_filter"])).stdout.trim();
    const first = await on.do("apply", [borrowed]);
    expect(await read()).toBe("1");
    await on.host.exec(["sysctl", "-qw", "net.ipv4.conf.lo.rp_filter=2"]);
    await on.do("remove", [borrowed], first.borrowed);
    expect(await read()).toBe("2");
    const second = await on.do("apply", [borrowed]);
    await on.do("remove", [borrowed], second.borrowed);
    expect(await read()).toBe("2");
  });
  kernelTest("is nothing where the value was right already", async () => {
    await using on = await stage();
    await on.host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await on.container.exec(["ip", "link", "set", "lo", "up"]);
    const { borrowed } = await on.do("apply", [forwarding, loopback]);
    expect(borrowed).toEqual([]);
    await on.do("remove", [forwarding, loopback], borrowed);
    expect((await on.host.exec(["sysctl", "-n", "net.ipv4.ip_forward"])).stdout.trim()).toBe("1");
  });
});

describe("removal of a pair", () => {
  kernelTest("goes by its mark, whatever it is called by now", async () => {
    await using on = await stage();
    await on.do("apply", [bridge, veth]);
    await on.host.exec(["ip", "link", "set", "vethst01", "down"]);
    await on.host.exec(["ip", "link", "set", "vethst01", "name", "renamed"]);
    await on.do("remove", [veth]);
    expect((await on.host.exec(["ip", "link"])).stdout).not.toContain("renamed");
  });
  kernelTest("spares a link of its name that carries another mark", async () => {
    await using on = await stage();
    await on.host.exec(["ip", "link", "add", "vethst01", "type", "veth", "peer", "name", "peer"]);
    const other = MARK.replace("cdef", "0000");
    await on.host.exec(["ip", "link", "property", "add", "dev", "vethst01", "altname", other]);
    await on.do("remove", [veth]);
    expect((await on.host.exec(["ip", "link"])).stdout).toContain("vethst01");
  });
});

describe("verify", () => {
  const damage: readonly (readonly [string, readonly string[], "host" | "container"])[] = [
    ["the bridge is down", ["ip", "link", "set", "st0", "down"], "host"],
    ["the bridge has another address", ["ip", "link", "set", "st0", "address", "02:00:00:00:00:77"], "host"],
    ["the port has left", ["ip", "link", "set", "vethst01", "nomaster"], "host"],
    ["the loopback is down", ["ip", "link", "set", "lo", "down"], "container"],
    ["the address is gone", ["ip", "address", "flush", "dev", "eth0"], "container"],
    ["the route is gone", ["ip", "route", "delete", "198.51.100.0/24"], "container"],
    ["the parameter differs", ["sysctl", "-qw", "net.ipv4.ip_forward=0"], "host"],
    ["the rules are gone", ["nft", "flush", "ruleset"], "host"],
    [
      "the interface has another address",
      ["ip", "link", "set", "eth0", "address", "02:00:00:00:00:78"],
      "container",
    ],
  ];
  kernelTest.each(damage)("finds that %s", async (_, argv, where) => {
    await using on = await stage();
    expect((await on.do("apply", whole)).failure).toBeUndefined();
    await on[where].exec(argv);
    expect((await on.do("verify", whole)).failure?.code).toBe("check/differs");
  });
  kernelTest("does not mind another MAC address if the final result says so", async () => {
    await using on = await stage();
    await on.do("apply", whole);
    await on.container.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:78"]);
    const container = { ...veth.container, mac: mac("02:00:00:00:00:78") };
    const changed = whole.map((o) => (o === veth ? { ...veth, container } : o));
    expect((await on.do("verify", changed)).failure).toBeUndefined();
  });
});
