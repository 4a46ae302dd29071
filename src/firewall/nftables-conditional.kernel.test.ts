import { expect, test } from "bun:test";
import { isNetError } from "../errors.ts";
import { describeWith } from "../testing/needs.ts";
import {
  allLive,
  listRuleset,
  mapping,
  markOf,
  nftablesBench,
  nftablesIn,
  nobodyLives,
  stateOf,
} from "../testing/nftables.ts";
import { ask, smallNet } from "../testing/small-net.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { parseConditions } from "./conditions.ts";
import type { PortMapping } from "./model.ts";

/** Mappings with conditions, by nftables: they hold for their own container, and leave nothing. */
const kernel = describeWith({ root: true, programs: ["ip", "nft"] });
const [A, B] = [markOf(1), markOf(2)];

const only = (m: PortMapping, words: string): PortMapping => {
  const parsed = parseConditions([words], m.target.family);
  if (!parsed.ok) throw new TypeError(parsed.why);
  return { ...m, conditions: parsed.value };
};
const local = (host: string, container = 2) => mapping(host, `10.99.0.${container}:80`, "10.99.0.0/24");

kernel("a mapping with conditions", () => {
  test("is a chain of its own that reads as the words were written", async () => {
    await using b = await nftablesBench();
    const wanted = stateOf(
      only(local("8080/tcp"), "ip saddr { 192.0.2.0/24, 198.51.100.1 } ip daddr != 203.0.113.1 iifname up0"),
      only(
        local("127.0.0.1:8081/udp"),
        "ip saddr { 192.0.2.0/24, 198.51.100.1 } ip daddr != 203.0.113.1 iifname up0",
      ),
    );
    b.firewall.apply(wanted, A, allLive);
    b.firewall.verify(wanted, A, nobodyLives);
    const chain = `conditions4_${A}`;
    const text = await listRuleset(b.netns, "chain", "inet", "heddle", chain);
    const dnat = [
      "dnat ip to ip daddr . meta l4proto . th dport map @conditional_hostip_targets4",
      "dnat ip to meta l4proto . th dport map @conditional_targets4",
    ];
    const lines = ["192.0.2.0/24", "198.51.100.1"].flatMap((from) =>
      dnat.map((to) => `ip saddr ${from} ip daddr != 203.0.113.1 iifname "up0" ${to}`),
    );
    expect(
      text
        .split("\n")
        .map((l) => l.trim())
        .slice(2, -3),
    ).toEqual(lines);
    const all = await listRuleset(b.netns);
    expect(all).toContain(`tcp . 8080 comment "${A}" : goto ${chain}`);
    expect(all).toContain("meta nfproto ipv4 meta l4proto . th dport vmap @conditional_ports4");
    b.firewall.remove(A, wanted);
    expect(await listRuleset(b.netns)).not.toContain(A);
    b.firewall.apply(wanted, A, allLive);
    b.firewall.remove(A);
    expect(await listRuleset(b.netns)).not.toContain(A);
    b.firewall.apply(wanted, A, allLive);
    b.firewall.prune(A.slice(0, -16), new Set());
    expect(await listRuleset(b.netns)).not.toContain(A);
  });

  test("is replaced with its conditions when they change, and CHECK sees a rule that is gone", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(only(local("8080/tcp"), "ip saddr 192.0.2.1")), A, allLive);
    const wanted = stateOf(only(local("8080/tcp"), "ip saddr != 192.0.2.1"));
    expect(() => b.firewall.verify(wanted, A, nobodyLives)).toThrow("conditions4_");
    b.firewall.apply(wanted, A, allLive);
    b.firewall.verify(wanted, A, nobodyLives);
    b.firewall.apply(stateOf(local("8080/tcp")), A, allLive);
    b.firewall.verify(stateOf(local("8080/tcp")), A, nobodyLives);
    expect(await listRuleset(b.netns)).not.toContain(`goto conditions4_${A}`);
  });

  test.each([
    ["8080/tcp", "8080/tcp"],
    ["8080/tcp", "192.0.2.1:8080/tcp"],
    ["192.0.2.1:8080/tcp", "8080/tcp"],
    ["192.0.2.1:8080/tcp", "192.0.2.1:8080/tcp"],
  ])("on %s and one of another container on %s are in each other's way", async (first, second) => {
    await using b = await nftablesBench();
    const conditional = (host: string, n: number) => stateOf(only(local(host, n), "ip saddr 192.0.2.1"));
    for (const [one, other] of [
      [conditional(first, 2), stateOf(local(second, 3))],
      [stateOf(local(first, 2)), conditional(second, 3)],
      [conditional(first, 2), conditional(second, 3)],
    ] as const) {
      b.firewall.apply(one, A, allLive);
      let code = "";
      try {
        b.firewall.apply(other, B, allLive);
      } catch (e) {
        code = isNetError(e, "port/taken") ? e.code : String(e);
      }
      expect(code).toBe("port/taken");
      expect(() => b.firewall.refuseTaken(other, B, allLive)).toThrow("is taken by");
      // That of a dead container is taken over.
      b.firewall.apply(other, B, nobodyLives);
      b.firewall.verify(other, B, nobodyLives);
      b.firewall.remove(B);
      b.firewall.remove(A);
      expect((await listRuleset(b.netns)).includes("heddle-portmap")).toBeFalse();
    }
  });

  test("by the link that a packet came by", async () => {
    await using net = await smallNet();
    using locks = tempDir("locks");
    using firewall = nftablesIn(net.host, locks.path);
    await net.serve(net.one, "one", "10.99.0.2", 80);
    firewall.apply(stateOf(only(local("8080/tcp"), "iifname { uplink, other }")), A, allLive);
    expect(await ask(net.outside, "192.0.2.1", 8080)).toBe("one saw 192.0.2.2");
    expect(await ask(net.two, "192.0.2.1", 8080)).toBe("ECONNREFUSED");
  });

  test("lets through whom they name, in both families, and nobody else's packets are concerned", async () => {
    await using net = await smallNet();
    using locks = tempDir("locks");
    using firewall = nftablesIn(net.host, locks.path);
    for (const address of ["10.99.0.2", "fd00:99::2"]) await net.serve(net.one, "one", address, 80);
    for (const address of ["10.99.0.3", "fd00:99::3"]) await net.serve(net.two, "two", address, 80);
    const six = (host: string, n: number) => mapping(host, `[fd00:99::${n}]:80`, "fd00:99::/64");
    const withConditions = stateOf(
      only(local("8080/tcp"), "ip saddr != 192.0.2.2"),
      only(six("8080/tcp", 2), "ip6 saddr 2001:db8::/64"),
      only(local("192.0.2.1:8081/tcp"), "ip saddr != 192.0.2.2"),
    );
    expect(() =>
      firewall.apply(stateOf(...withConditions.rules, only(local("1/tcp"), "iifname up0")), A, allLive),
    ).toThrow(TypeError);
    firewall.apply(withConditions, A, allLive);
    firewall.apply(stateOf(local("9090/tcp", 3), six("9090/tcp", 3)), B, allLive);
    expect(await ask(net.outside, "192.0.2.1", 8080)).toBe("ECONNREFUSED");
    expect(await ask(net.two, "192.0.2.1", 8080)).toStartWith("one saw");
    expect(await ask(net.host, "127.0.0.1", 8080)).toStartWith("one saw");
    expect(await ask(net.outside, "2001:db8::1", 8080)).toBe("one saw 2001:db8::2");
    expect(await ask(net.two, "2001:db8::1", 8080)).toBe("ECONNREFUSED");
    expect(await ask(net.outside, "192.0.2.1", 8081)).toBe("ECONNREFUSED");
    expect(await ask(net.two, "192.0.2.1", 8081)).toStartWith("one saw");
    expect(await ask(net.two, "10.99.0.1", 8081)).toBe("ECONNREFUSED");
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("two saw 192.0.2.2");
    expect(await ask(net.outside, "2001:db8::1", 9090)).toBe("two saw 2001:db8::2");
    firewall.remove(A, withConditions);
    expect(await ask(net.two, "192.0.2.1", 8080)).toBe("ECONNREFUSED");
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("two saw 192.0.2.2");
  }, 30_000);
});
