/** `sbr` by the built executable: the way that answers take, the choice of tables, and what DEL and CHECK make of it. */
import { describe, expect } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { seenFrom } from "../../src/testing/traffic.ts";
import { addressIn, bridgeOn, type Json, type ListSite, listSite } from "./list-site.ts";

const needs = { root: true, programs: ["ip", "nft", "nsenter", "unshare"] };
const kernel = testWith(needs);
const peer = whyNot(needs) === undefined ? await peerProgram("sbr") : undefined;
const peerTest = testWith({ ...needs, feature: peer === undefined ? "needs the reference plugins" : true });
const by = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

const heddle = heddleOfFile();

const first = (on: ListSite): readonly Json[] => [bridgeOn(on, ["10.89.0.0/24"])];
const second = (on: ListSite, more: Json = {}): readonly Json[] => [
  bridgeOn(on, ["10.90.0.0/24", "fd90::/64"], { bridge: "lists1", name: "second" }),
  { type: "sbr", name: "second", ...more },
];
const net1 = { ifname: "net1" };

/** Rules of both families as `priority: from SOURCE to TABLE`, without the kernel's own. */
async function rulesIn(on: ListSite, { path }: TestNetns): Promise<readonly string[]> {
  const rules = [...(await on.ip(path, "rule", "show")), ...(await on.ip(path, "-6", "rule", "show"))];
  return rules
    .filter((r) => r["src"] !== "all")
    .map((r) => `${String(r["priority"])}: from ${String(r["src"])} to ${String(r["table"])}`);
}
async function routesIn(on: ListSite, { path }: TestNetns, table: string): Promise<readonly string[]> {
  // With `all` the command shows both families, and does not mind a table that one of them lacks.
  const all = await on.ip(path, "route", "show", "table", "all");
  const routes = all.filter((r) => (r["table"] ?? "main") === table);
  const words = ({ dst, gateway, dev }: Json): string =>
    [dst, ...(typeof gateway === "string" ? ["via", gateway] : []), "dev", dev].join(" ");
  return routes.map(words).filter((line) => !line.startsWith("fe80"));
}

/** A container with two interfaces, the second of them with `sbr`, and somebody else behind a router that is strict. */
async function twoHomed(on: ListSite) {
  const [a, outside] = [await on.container(), await on.container()];
  await on.host.exec(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
  await on.host.exec(["ip", "link", "set", "up1", "netns", outside.name]);
  await on.host.exec(["ip", "address", "add", "192.0.2.1/24", "dev", "up0"]);
  await on.host.exec(["ip", "link", "set", "up0", "up"]);
  await outside.exec(["ip", "address", "add", "192.0.2.2/24", "dev", "up1"]);
  await outside.exec(["ip", "link", "set", "up1", "up"]);
  await outside.exec(["ip", "route", "add", "default", "via", "192.0.2.1"]);
  // What comes in by another interface than the way back goes out by is dropped.
  await on.host.exec(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"]);
  await on.add(a, first(on));
  const [bridge = {}] = second(on);
  // Of two default routes the kernel would take the one whose gateway it has heard of.
  const ipam = { ...(bridge["ipam"] as Json), routes: [] };
  const result = await on.add(a, [{ ...bridge, ipam }], net1);
  return { a, outside, result };
}

describe("sbr", () => {
  kernel("sends answers back by the interface that was asked, where they were lost without it", async () => {
    await using on = await listSite(heddle);
    const { a, outside, result } = await twoHomed(on);
    const asked = (): Promise<string | undefined> => seenFrom(outside.path, a.path, addressIn(result), 80);
    expect(await asked()).toBeUndefined();
    const sbr = { type: "sbr", name: "second" };
    expect((await on.call("ADD", a, { ...sbr, prevResult: result }, net1)).message).toBe("");
    expect(await asked()).toBe("192.0.2.2");
    const [way] = await on.ip(a.path, "-6", "route", "get", "2001:db8::1", "from", addressIn(result, 1));
    expect([way?.["dev"], way?.["gateway"]]).toEqual(["net1", "fd90::1"]);
    await on.del(a, [sbr], result, net1);
    expect(await asked()).toBeUndefined();
  });

  kernel("gives each address a table, and the main table no route of the interface", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    await on.add(a, first(on));
    await on.add(a, second(on), net1);
    expect(await rulesIn(on, a)).toEqual(["32000: from 10.90.0.2 to 100", "32000: from fd90::2 to 101"]);
    expect(await routesIn(on, a, "100")).toEqual(["default via 10.90.0.1 dev net1", "10.90.0.0/24 dev net1"]);
    expect(await routesIn(on, a, "101")).toEqual(["fd90::/64 dev net1", "default via fd90::1 dev net1"]);
    const main = await routesIn(on, a, "main");
    expect(main).toEqual(["default via 10.89.0.1 dev eth0", "10.89.0.0/24 dev eth0"]);
  });

  kernel("leads to a table that is named, takes other gateways, and keeps subnets with hints", async () => {
    await using on = await listSite(heddle);
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    await on.add(a, second(on, { table: 300 }), net1);
    expect(await rulesIn(on, a)).toEqual(["32000: from 10.90.0.2 to 300", "32000: from fd90::2 to 300"]);
    expect(await routesIn(on, a, "main")).toContain("default via 10.90.0.1 dev net1");
    await on.add(b, second(on, { gateways: ["fd90::77", "10.90.0.77"] }), net1);
    expect(await routesIn(on, b, "100")).toContain("default via 10.90.0.77 dev net1");
    expect(await routesIn(on, b, "101")).toContain("default via fd90::77 dev net1");
    const hinted = second(on, { addSourceHints: true });
    const result = await on.add(c, hinted, net1);
    expect(await routesIn(on, c, "main")).toEqual([
      "10.90.0.0/24 dev net1",
      "fd90::/64 dev net1",
      "fd90::/64 dev net1",
    ]);
    await on.check(c, hinted, result, net1);
    const [way] = await on.ip(c.path, "-6", "route", "get", "fd90::1");
    expect(way?.["prefsrc"]).toBe(addressIn(result, 1));
  });

  kernel("chooses different tables for interfaces that come at the same moment", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const names = ["net1", "net2", "net3", "net4", "net5", "net6"];
    const results: Json[] = [];
    for (const ifname of names) results.push(await on.add(a, second(on).slice(0, 1), { ifname }));
    const replies = await Promise.all(
      names.map((ifname, i) =>
        on.call("ADD", a, { type: "sbr", name: "second", prevResult: results[i] }, { ifname }),
      ),
    );
    expect(replies.map((r) => r.message)).toEqual(names.map(() => ""));
    const tables = (await rulesIn(on, a)).map((line) => Number(line.split(" to ")[1]));
    expect(tables.toSorted((x, y) => x - y)).toEqual(names.flatMap((_, i) => [100 + 2 * i, 101 + 2 * i]));
    const locks = readdirSync(join(on.host.dir, "run/lock"));
    expect(locks.filter((name) => name.startsWith("netns"))).toEqual([]);
  });

  const bad: readonly (readonly [string, number, string, Json])[] = [
    ["a table of zero", 7, "table", { table: 0 }],
    ["two gateways of one family", 7, "gateways[1]", { gateways: ["10.90.0.1", "10.90.0.2"] }],
    ["a gateway that is none", 7, "gateways[0]", { gateways: ["red"] }],
    ["hints that are a word", 7, "addSourceHints", { addSourceHints: "yes" }],
    ["a gateway out of reach", 105, "RTM_NEWROUTE", { gateways: ["203.0.113.1"] }],
    ["no previous result", 7, "prevResult", { prevResult: undefined }],
    [
      "a result without an address",
      7,
      "no IP address",
      { prevResult: { cniVersion: "1.1.0", interfaces: [], ips: [] } },
    ],
  ];
  kernel.each(bad)("refuses %s with code %i and leaves everything as it was", async (_, code, says, more) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, second(on).slice(0, 1), net1);
    const before = await on.host.snapshot([a.path]);
    const reply = await on.call("ADD", a, { ...second(on)[1], prevResult, ...more }, net1);
    expect([reply.code, reply.error]).toEqual([1, code]);
    expect(reply.message).toContain(says);
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });
});

describe("DEL of sbr", () => {
  const how = [
    ["with all that a runtime knows", {}],
    ["with the key alone", { bare: true }],
  ] as const;
  kernel.each(how)("%s puts every route back, and may come twice", async (_, more) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    await on.add(a, first(on));
    const [bridge = {}, sbr = {}] = second(on);
    const result = await on.add(a, [bridge], net1);
    const before = await on.host.snapshot([a.path]);
    for (const options of [{}, { addSourceHints: true }, { table: 300 }]) {
      const conf = { ...sbr, ...options };
      expect((await on.call("ADD", a, { ...conf, prevResult: result }, net1)).message).toBe("");
      await on.del(a, [conf], result, { ...net1, ...more });
      expect(await on.host.snapshot([a.path])).toEqual(before);
    }
    await on.del(a, [{ ...sbr, table: "broken" }], result, { ...net1, ...more });
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });
  kernel("succeeds when the interface, its address or the namespace is gone", async () => {
    await using on = await listSite(heddle);
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const results = [
      await on.add(a, second(on), net1),
      await on.add(b, second(on), net1),
      await on.add(c, second(on), net1),
    ];
    await a.exec(["ip", "link", "delete", "net1"]);
    await on.del(a, second(on), results[0] ?? {}, net1);
    expect(await rulesIn(on, a)).toEqual([]);
    await b.exec(["ip", "address", "flush", "dev", "net1"]);
    await on.del(b, second(on), results[1] ?? {}, net1);
    expect(await rulesIn(on, b)).toEqual([]);
    await on.host.exec(["ip", "netns", "delete", c.name]);
    await on.del(c, second(on), results[2] ?? {}, { ...net1, bare: true });
    expect(readdirSync(join(on.host.dir, "run/attachments"))).toEqual([]);
  });
  kernel("removes the rules also when the record is lost", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const result = await on.add(a, second(on), net1);
    const records = join(on.host.dir, "run/attachments");
    for (const name of readdirSync(records)) if (name.includes("-sbr-")) rmSync(join(records, name));
    await on.check(a, second(on), result, net1);
    await on.del(a, second(on).slice(1), result, net1);
    expect(await rulesIn(on, a)).toEqual([]);
  });
  peerTest("removes what the reference made, which passes CHECK before", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const [bridge = {}, sbr = {}] = second(on);
    const result = await on.add(a, [bridge], net1);
    // Its log goes to standard error.
    expect((await on.call("ADD", a, { ...sbr, prevResult: result }, { ...net1, by })).code).toBe(0);
    expect(await rulesIn(on, a)).toHaveLength(2);
    await on.check(a, second(on), result, net1);
    await on.del(a, [sbr], result, net1);
    expect(await rulesIn(on, a)).toEqual([]);
  });
});

describe("CHECK of sbr", () => {
  kernel("passes in a list with bridge or ptp, and with tuning", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const [{ bridge: _, isGateway: __, ...link } = {}, sbr = {}] = second(on);
    const tuning = { type: "tuning", name: "second", mac: "02:00:00:00:00:55", mtu: 1400 };
    for (const plugins of [
      [...second(on), tuning],
      [...second(on).slice(0, 1), tuning, sbr],
      [{ ...link, type: "ptp" }, sbr, tuning],
    ]) {
      const result = await on.add(a, plugins, net1);
      await on.check(a, plugins, result, net1);
      await on.del(a, plugins, result, net1);
    }
  });
  const damages: readonly (readonly [string, readonly string[]])[] = [
    ["a rule is gone", ["ip", "rule", "delete", "from", "10.90.0.2"]],
    ["a route of a table is gone", ["ip", "route", "delete", "default", "table", "100"]],
    ["an IPv6 route is gone", ["ip", "-6", "route", "delete", "fd90::/64", "table", "101"]],
    [
      "a route is in the main table again",
      ["ip", "route", "add", "default", "via", "10.90.0.1", "onlink", "dev", "net1"],
    ],
  ];
  kernel.each(damages)("finds that %s", async (_, argv) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, second(on), net1);
    await a.exec(argv);
    const reply = await on.call("CHECK", a, { ...second(on)[1], prevResult }, net1);
    expect([reply.code, reply.error]).toEqual([1, 103]);
  });
});
