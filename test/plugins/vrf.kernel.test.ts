/** `vrf` by the built executable, on a kernel that has VRFs: members, tables, what survives, and traffic inside. */
import { describe, expect, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { onKernelWith, testWith } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { seenFrom } from "../../src/testing/traffic.ts";
import { addressIn, bridgeOn, type Json, type ListSite, listSite } from "./list-site.ts";

const DUAL = ["10.91.0.0/24", "fd91::/64"];
const main = (on: ListSite): Json => bridgeOn(on, DUAL);
const vrf = (more: Json = {}): Json => ({ type: "vrf", vrfname: "red", ...more });
const inRed = (on: ListSite, more: Json = {}): readonly Json[] => [main(on), vrf(more)];
const bad: readonly (readonly [string, number, string, Json])[] = [
  ["no name", 7, "vrfname", { vrfname: undefined }],
  ["a name that is a path", 7, "vrfname", { vrfname: "../red" }],
  ["the interface's own name", 7, "vrfname", { vrfname: "eth0" }],
  ["a table below zero", 7, "table", { table: -1 }],
  ["no previous result", 7, "prevResult", { prevResult: undefined }],
  ["the name of another link", 104, "a link lo of kind hardware", { vrfname: "lo" }],
];

const heddle = heddleOfFile();

const anyKernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });

describe("vrf on every kernel", () => {
  anyKernel.each(bad)("refuses %s with code %i and changes nothing", async (_, code, says, more) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, [main(on)]);
    const before = await on.host.snapshot([a.path]);
    const reply = await on.call("ADD", a, { ...vrf(), prevResult, ...more });
    expect([reply.code, reply.error]).toEqual([1, code]);
    expect(reply.message).toContain(says);
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });
  anyKernel("does not speak versions below 0.3.1", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    expect((await on.call("ADD", a, { ...vrf(), cniVersion: "0.3.0" })).error).toBe(1);
  });
  anyKernel("DEL of what was never added succeeds, whatever is there", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    for (const of of [{}, { bare: true }]) await on.del(a, [vrf(), { type: "vrf" }], {}, of);
  });
});

interface Shown {
  readonly master: unknown;
  readonly vrfs: readonly string[];
}
async function shown(on: ListSite, { path }: TestNetns, ifname = "eth0"): Promise<Shown> {
  const links = await on.ip(path, "-details", "link", "show");
  const info = (l: Json): Json => (l["linkinfo"] ?? {}) as Json;
  const vrfs = links.filter((l) => info(l)["info_kind"] === "vrf");
  return {
    master: links.find((l) => l["ifname"] === ifname)?.["master"],
    vrfs: vrfs.map((l) => `${String(l["ifname"])} ${JSON.stringify(info(l)["info_data"])}`),
  };
}
const red = (table: number): string => `red {"table":${table}}`;

/** Unicast routes of a table over a link, but link-local ones. */
async function routesIn(
  on: ListSite,
  { path }: TestNetns,
  table: string,
  dev = "eth0",
): Promise<readonly string[]> {
  const all = await on.ip(path, "route", "show", "table", "all");
  return all
    .filter((r) => (r["table"] ?? "main") === table && r["dev"] === dev)
    .filter((r) => !["local", "broadcast", "anycast", "multicast"].includes(String(r["type"])))
    .map(({ dst, gateway }) => [dst, ...(typeof gateway === "string" ? ["via", gateway] : [])].join(" "))
    .filter((line) => !/^(?:fe80|ff00)/.test(line))
    .toSorted();
}
const ROUTES = ["10.91.0.0/24", "default via 10.91.0.1", "default via fd91::1", "fd91::/64"];

async function globalAddresses(on: ListSite, { path }: TestNetns): Promise<readonly string[]> {
  const { stdout } = await on.host.exec([
    ...["nsenter", `--net=${path}`, "--", "ip", "-oneline", "-6", "address"],
    ...["show", "dev", "eth0", "scope", "global"],
  ]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " "));
}

onKernelWith(["vrf"], () => {
  describe("ADD of vrf", () => {
    test("moves the interface with its addresses and routes into the VRF, at once", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const result = await on.add(a, inRed(on));
      expect(await shown(on, a)).toEqual({ master: "red", vrfs: [red(1)] });
      expect(await routesIn(on, a, "1")).toEqual(ROUTES);
      expect(await routesIn(on, a, "main")).toEqual([]);
      const [address = ""] = await globalAddresses(on, a);
      expect(address).toContain(`${addressIn(result, 1)}/64`);
      expect(address).not.toContain("tentative");
      await on.check(a, inRed(on), result);
    });

    test("leaves the interface reachable in both families, and gives it its own way out", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const result = await on.add(a, inRed(on));
      // A server that was not told of VRFs listens in all of them, if it asks for no address of one.
      await a.exec(["sysctl", "-qw", "net.ipv4.tcp_l3mdev_accept=1"]);
      const any = { address: "::", port: 80 };
      expect(await seenFrom(on.home, a.path, addressIn(result, 0), 80, any)).toBe("::ffff:10.91.0.1");
      expect(await seenFrom(on.home, a.path, addressIn(result, 1), 80, any)).toBe("fd91::1");
      const [way] = await on.ip(a.path, "route", "get", "vrf", "red", "192.0.2.1");
      expect([way?.["dev"], way?.["gateway"]]).toEqual(["eth0", "10.91.0.1"]);
    });

    test("keeps routes without a gateway, several next hops, and those of other tables", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const prevResult = await on.add(a, [main(on)]);
      const routes = [
        "-4 route add 10.7.0.0/16 dev eth0",
        "-4 route add 10.8.0.0/16 via 10.91.0.9 table 100",
        "-6 route append 2001:db8::/32 via fd91::8 dev eth0",
        "-6 route append 2001:db8::/32 via fd91::9 dev eth0",
      ];
      for (const words of routes) await a.exec(["ip", ...words.split(" ")]);
      const before = await on.host.snapshot([a.path]);
      expect((await on.call("ADD", a, { ...vrf(), prevResult })).message).toBe("");
      expect(await routesIn(on, a, "1")).toContain("10.7.0.0/16");
      expect(await routesIn(on, a, "100")).toEqual(["10.8.0.0/16 via 10.91.0.9"]);
      const { stdout } = await a.exec(["ip", "-6", "route", "show", "table", "1"]);
      expect(stdout).toMatch(/2001:db8::\/32[^]*fd91::8[^]*fd91::9/);
      await on.del(a, [vrf()], prevResult);
      const l3mdev = (line: string): boolean => line.includes("l3mdev");
      expect((await on.host.snapshot([a.path])).filter((line) => !l3mdev(line))).toEqual([...before]);
    });

    test("of two interfaces shares a VRF, or gives each the next free table", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      for (const [ifname, vrfname] of [
        ["eth0", "red"],
        ["net1", "red"],
        ["net2", "blue"],
      ] as const)
        await on.add(a, inRed(on, { vrfname }), { ifname });
      expect((await shown(on, a)).vrfs.toSorted()).toEqual(['blue {"table":2}', red(1)]);
      expect((await shown(on, a, "net1")).master).toBe("red");
      expect((await shown(on, a, "net2")).master).toBe("blue");
    });

    test("of two interfaces with the same addresses keeps each in a VRF of its own", async () => {
      await using on = await listSite(heddle);
      const [a, net1] = [await on.container(), { ifname: "net1" }];
      const other = { ...bridgeOn(on, DUAL, { bridge: "lists1" }), name: "second" };
      const second = [other, { ...vrf({ vrfname: "blue" }), name: "second" }];
      const results = [await on.add(a, inRed(on)), await on.add(a, second, net1)];
      expect(addressIn(results[1] ?? {})).toBe(addressIn(results[0] ?? {}));
      expect(await routesIn(on, a, "1")).toEqual(ROUTES);
      expect(await routesIn(on, a, "2", "net1")).toEqual(ROUTES);
      await on.check(a, inRed(on), results[0] ?? {});
      await on.check(a, second, results[1] ?? {}, net1);
      await on.del(a, inRed(on), results[0] ?? {});
      expect(await routesIn(on, a, "2", "net1")).toEqual(ROUTES);
      await on.check(a, second, results[1] ?? {}, net1);
    });

    test("of several interfaces at the same moment chooses different tables", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const names = ["net1", "net2"];
      const results: Json[] = [];
      for (const ifname of names) results.push(await on.add(a, [main(on)], { ifname }));
      const replies = await Promise.all(
        names.map((ifname, i) =>
          on.call("ADD", a, { ...vrf({ vrfname: `v${ifname}` }), prevResult: results[i] }, { ifname }),
        ),
      );
      expect(replies.map((r) => r.message)).toEqual(names.map(() => ""));
      const tables = (await shown(on, a)).vrfs.map((line) => line.replace(/.*:(\d+)}$/, "$1"));
      expect(tables.toSorted()).toEqual(["1", "2"]);
    });

    test("takes the table that is asked for, and refuses another than the VRF has", async () => {
      await using on = await listSite(heddle);
      const [a, net1] = [await on.container(), { ifname: "net1" }];
      await on.add(a, inRed(on, { table: 1001 }));
      expect((await shown(on, a)).vrfs).toEqual([red(1001)]);
      const prevResult = await on.add(a, [main(on)], net1);
      const before = await on.host.snapshot([a.path]);
      const refused = await on.call("ADD", a, { ...vrf({ table: 1002 }), prevResult }, net1);
      expect([refused.error, refused.message.includes("table 1001, not 1002")]).toEqual([104, true]);
      expect(await on.host.snapshot([a.path])).toEqual(before);
      expect((await on.call("ADD", a, { ...vrf({ table: 1001 }), prevResult }, net1)).message).toBe("");
    });

    test("refuses an interface that has another master, and leaves it there", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const prevResult = await on.add(a, [main(on)]);
      await a.exec(["ip", "link", "add", "br0", "type", "bridge"]);
      await a.exec(["ip", "link", "set", "eth0", "master", "br0"]);
      const refused = await on.call("ADD", a, { ...vrf(), prevResult });
      expect([refused.error, refused.message.includes("a master of eth0, br0,")]).toEqual([104, true]);
      await on.del(a, [vrf()], prevResult);
      expect((await shown(on, a)).master).toBe("br0");
    });
  });

  describe("DEL of vrf", () => {
    test("with the key alone gives addresses and routes back, and may come twice", async () => {
      const of = { bare: true };
      await using on = await listSite(heddle);
      const a = await on.container();
      const result = await on.add(a, [main(on)]);
      // The kernel's rule for VRFs comes with the first one and stays.
      await on.del(
        a,
        inRed(on).slice(1),
        await on.add(
          a,
          [vrf()].map((c) => ({ ...c, prevResult: result })),
        ),
      );
      const before = await on.host.snapshot([a.path]);
      expect((await on.call("ADD", a, { ...vrf(), prevResult: result })).message).toBe("");
      await on.del(a, [vrf()], result, of);
      expect(await on.host.snapshot([a.path])).toEqual(before);
      expect(await shown(on, a)).toEqual({ master: undefined, vrfs: [] });
      expect(await seenFrom(on.home, a.path, addressIn(result, 1), 80)).toBe("fd91::1");
      await on.del(a, [vrf({ table: "broken" })], result, of);
      expect(await on.host.snapshot([a.path])).toEqual(before);
    });

    test("removes the VRF with its last member alone, and spares one that was there before", async () => {
      await using on = await listSite(heddle);
      const [a, b, net1] = [await on.container(), await on.container(), { ifname: "net1" }];
      const results = [await on.add(a, inRed(on)), await on.add(a, inRed(on), net1)];
      await on.del(a, inRed(on), results[0] ?? {});
      expect(await shown(on, a, "net1")).toEqual({ master: "red", vrfs: [red(1)] });
      await on.del(a, inRed(on), results[1] ?? {}, { ...net1, bare: true });
      expect((await shown(on, a)).vrfs).toEqual([]);
      await b.exec(["ip", "link", "add", "red", "type", "vrf", "table", "77"]);
      const result = await on.add(b, inRed(on));
      expect(await shown(on, b)).toEqual({ master: "red", vrfs: [red(77)] });
      await on.del(b, inRed(on), result);
      expect((await shown(on, b)).vrfs).toEqual([red(77)]);
    });

    test("succeeds when the interface, the VRF or the namespace is gone", async () => {
      await using on = await listSite(heddle);
      const [a, b, c] = [await on.container(), await on.container(), await on.container()];
      const results = [await on.add(a, inRed(on)), await on.add(b, inRed(on)), await on.add(c, inRed(on))];
      await a.exec(["ip", "link", "delete", "eth0"]);
      await on.del(a, inRed(on), results[0] ?? {});
      expect((await shown(on, a)).vrfs).toEqual([]);
      await b.exec(["ip", "link", "delete", "red"]);
      await on.del(b, [vrf()], results[1] ?? {});
      expect(await routesIn(on, b, "main")).toEqual(ROUTES);
      await on.host.exec(["ip", "netns", "delete", c.name]);
      await on.del(c, inRed(on), results[2] ?? {}, { bare: true });
      const records = readdirSync(join(on.host.dir, "run/attachments"));
      expect(records.filter((name) => name.includes("-vrf-"))).toEqual([]);
    });

    test("works without its record, and CHECK does before", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const result = await on.add(a, inRed(on));
      const records = join(on.host.dir, "run/attachments");
      for (const name of readdirSync(records)) if (name.includes("-vrf-")) rmSync(join(records, name));
      await on.check(a, inRed(on), result);
      await on.del(a, [vrf()], result);
      expect(await shown(on, a)).toEqual({ master: undefined, vrfs: [] });
      expect(await routesIn(on, a, "main")).toEqual(ROUTES);
    });

    test("and GC take what no attachment needs", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      await on.add(a, inRed(on));
      const none = { "cni.dev/valid-attachments": [] };
      expect((await on.call("GC", a, { ...vrf(), ...none })).message).toBe("");
      expect(await shown(on, a)).toEqual({ master: undefined, vrfs: [] });
    });

    test("takes out what the reference put in, after CHECK", async () => {
      const program = await peerProgram("vrf");
      if (program === undefined) return;
      const by = program.slice(0, program.lastIndexOf("/"));
      await using on = await listSite(heddle);
      const a = await on.container();
      const prevResult = await on.add(a, [main(on)]);
      const reply = await on.call("ADD", a, { ...vrf(), prevResult }, { by });
      expect([reply.code, reply.message]).toEqual([0, ""]);
      await on.check(a, inRed(on), prevResult);
      await on.del(a, [vrf()], prevResult);
      expect(await shown(on, a)).toEqual({ master: undefined, vrfs: [] });
      expect(await routesIn(on, a, "main")).toEqual(ROUTES);
    });
  });

  describe("CHECK of vrf", () => {
    test("passes in lists with bridge and tuning or sbr, in both orders", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const tuning = {
        type: "tuning",
        mac: "02:00:00:00:00:55",
        mtu: 1400,
        sysctl: { "net.core.somaxconn": "7" },
      };
      for (const plugins of [
        [main(on), vrf(), tuning],
        [main(on), tuning, vrf()],
        [main(on), vrf(), { type: "sbr" }],
        [main(on), { type: "sbr" }, vrf()],
      ]) {
        const result = await on.add(a, plugins);
        await on.check(a, plugins, result);
        await on.del(a, plugins, result);
      }
    });
    const damages: readonly (readonly [string, readonly string[]])[] = [
      ["the interface has left", ["ip", "link", "set", "eth0", "nomaster"]],
      ["the VRF is down", ["ip", "link", "set", "red", "down"]],
      ["the VRF is gone", ["ip", "link", "delete", "red"]],
      ["a route is gone", ["ip", "route", "delete", "default", "table", "1"]],
      ["an address is gone", ["ip", "-6", "address", "flush", "dev", "eth0", "scope", "global"]],
    ];
    test("finds each kind of damage, of which ADD after DEL knows nothing", async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const prevResult = await on.add(a, [main(on)]);
      const found: (readonly [string, number | undefined])[] = [];
      for (const [what, argv] of damages) {
        expect((await on.call("ADD", a, { ...vrf(), prevResult })).message).toBe("");
        await a.exec(argv);
        found.push([what, (await on.call("CHECK", a, { ...vrf(), prevResult })).error]);
        await on.del(a, [vrf()], prevResult);
      }
      expect(found).toEqual(damages.map(([what]) => [what, 103]));
    });
  });
});
