/** `bridge` with VLANs by the built executable: who meets whom, the host as the gateway of a VLAN, and what is left. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { inside, seenFrom } from "../../src/testing/traffic.ts";
import { addressIn, bridgeOn, type Json, type ListSite, listSite } from "./list-site.ts";

const kernel = kernelTestWith("bridge vlan");

const heddle = heddleOfFile();

const V4 = ["10.87.0.0/24"];
const flat = (on: ListSite, more: Json = {}, subnets = V4): Json =>
  bridgeOn(on, subnets, { isGateway: false, ...more });
const gateway = (on: ListSite, vlan: number, subnets = V4, more: Json = {}): Json =>
  bridgeOn(on, subnets, { vlan, ...more });

const hostLinkOf = (result: Json): string => String((result["interfaces"] as readonly Json[])[1]?.["name"]);

interface VlanJson {
  readonly vlan: number;
  readonly vlanEnd?: number;
  readonly flags?: readonly string[];
}
/** The VLANs of a port as `bridge vlan` shows them: `7`, `10-20`, `1 PVID Egress Untagged`. */
async function vlansOf(on: ListSite, link: string): Promise<readonly string[]> {
  const { stdout } = await on.host.exec(["bridge", "-json", "-compressvlans", "vlan", "show", "dev", link]);
  const [port] = JSON.parse(stdout) as { readonly vlans: readonly VlanJson[] }[];
  return (port?.vlans ?? []).map(({ vlan, vlanEnd, flags = [] }) =>
    [vlanEnd === undefined ? vlan : `${vlan}-${vlanEnd}`, ...flags].join(" "),
  );
}
const NATIVE = "PVID Egress Untagged";

async function tagged(at: TestNetns, vlan: number, address: string): Promise<void> {
  for (const line of [
    `link add link eth0 name eth0.${vlan} type vlan id ${vlan}`,
    `address add ${address}/24 dev eth0.${vlan}`,
    `link set eth0.${vlan} up`,
  ])
    await at.exec(["ip", ...line.split(" ")]);
}

const linksOf = async (on: ListSite): Promise<readonly string[]> =>
  (await on.ip(on.home, "link", "show")).map((l) => String(l["ifname"]));

describe("ports in VLANs", () => {
  kernel("meet only those of the same VLAN", async () => {
    await using on = await listSite(heddle);
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const ra = await on.add(a, [flat(on, { vlan: 100 })]);
    const rb = await on.add(b, [flat(on, { vlan: 100 })]);
    const rc = await on.add(c, [flat(on, { vlan: 200 })]);
    expect(await vlansOf(on, hostLinkOf(ra))).toEqual([`100 ${NATIVE}`]);
    expect(await seenFrom(a.path, b.path, addressIn(rb), 80)).toBe(addressIn(ra));
    expect(await seenFrom(a.path, c.path, addressIn(rc), 80)).toBeUndefined();
  });

  kernel("of a trunk send and take tagged frames of these VLANs alone", async () => {
    await using on = await listSite(heddle);
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const trunk = [{ id: 101 }, { minID: 200, maxID: 210 }, { id: 205 }];
    const ra = await on.add(a, [flat(on, { vlanTrunk: trunk })]);
    await on.add(b, [flat(on, { vlan: 205 })]);
    await on.add(c, [flat(on, { vlan: 300 })]);
    expect(await vlansOf(on, hostLinkOf(ra))).toEqual([`1 ${NATIVE}`, "101", "200-210"]);
    await tagged(a, 205, "198.18.205.1");
    await tagged(a, 300, "198.18.30.1");
    await b.exec(["ip", "address", "add", "198.18.205.2/24", "dev", "eth0"]);
    await c.exec(["ip", "address", "add", "198.18.30.2/24", "dev", "eth0"]);
    expect(await seenFrom(a.path, b.path, "198.18.205.2", 80)).toBe("198.18.205.1");
    expect(await seenFrom(a.path, c.path, "198.18.30.2", 80)).toBeUndefined();
  });

  kernel("have a native VLAN beside a trunk, and keep the bridge's own if that is preserved", async () => {
    await using on = await listSite(heddle);
    const [a, b] = [await on.container(), await on.container()];
    const both = { vlan: 100, vlanTrunk: [{ minID: 99, maxID: 101 }] };
    const ra = await on.add(a, [flat(on, both)]);
    expect(await vlansOf(on, hostLinkOf(ra))).toEqual(["99", `100 ${NATIVE}`, "101"]);
    const rb = await on.add(b, [flat(on, { ...both, preserveDefaultVlan: true })]);
    expect(await vlansOf(on, hostLinkOf(rb))).toEqual(["1 Egress Untagged", "99", `100 ${NATIVE}`, "101"]);
    await on.check(a, [flat(on, both)], ra);
    await on.check(b, [flat(on, { ...both, preserveDefaultVlan: true })], rb);
  });

  kernel("need a bridge that keeps VLANs apart", async () => {
    await using on = await listSite(heddle);
    const [a, b] = [await on.container(), await on.container()];
    await on.add(a, [flat(on)]);
    const before = await on.host.snapshot([b.path]);
    const refused = await on.call("ADD", b, flat(on, { vlan: 7 }));
    expect([refused.error, refused.message]).toEqual([7, expect.stringContaining("vlan_filtering 1")]);
    expect(await on.host.snapshot([b.path])).toEqual(before);
    await on.host.exec(["ip", "link", "set", "lists0", "type", "bridge", "vlan_filtering", "1"]);
    await on.add(b, [flat(on, { vlan: 7 })]);
  });
});

describe("the host as the gateway of VLANs", () => {
  kernel("is reached in each of them, in both families, and goes with the last container", async () => {
    await using on = await listSite(heddle);
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const before = (await linksOf(on)).concat("lists0");
    const dual = ["10.87.0.0/24", "fd87::/64"];
    const one = gateway(on, 100, dual);
    const two = gateway(on, 200, ["10.86.0.0/24"], { name: "second" });
    const ra = await on.add(a, [one]);
    const rb = await on.add(b, [one]);
    const rc = await on.add(c, [two]);
    const names = (ra["interfaces"] as readonly Json[]).map((i) => i["name"]);
    expect(names).toEqual(["lists0", hostLinkOf(ra), "eth0", "lists0.100"]);
    expect(await seenFrom(a.path, on.home, "10.87.0.1", 80)).toBe(addressIn(ra));
    expect(await seenFrom(b.path, on.home, "fd87::1", 80)).toBe(addressIn(rb, 1));
    expect(await seenFrom(c.path, on.home, "10.86.0.1", 80)).toBe(addressIn(rc));
    // From one VLAN to the other by way of the host.
    expect(await seenFrom(a.path, c.path, addressIn(rc), 80)).toBe(addressIn(ra));
    for (const [at, conf, result] of [
      [a, one, ra],
      [c, two, rc],
    ] as const)
      await on.check(at, [conf], result);
    await on.del(a, [one], ra, { bare: true });
    expect(await linksOf(on)).toContain("lists0.100");
    await on.del(b, [one], rb);
    expect(await linksOf(on)).not.toContain("lists0.100");
    await on.del(c, [two], rc);
    expect((await linksOf(on)).toSorted()).toEqual(before.toSorted());
  });

  kernel("goes by DEL and GC also when the record is lost", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const conf = gateway(on, 100);
    for (const verb of ["DEL", "GC"] as const) {
      await on.add(a, [conf]);
      await on.host.exec(["rm", "-r", `${on.host.dir}/run/attachments`]);
      const more = verb === "GC" ? { "cni.dev/valid-attachments": [] } : {};
      expect((await on.call(verb, a, { ...conf, ...more })).message).toBe("");
      expect(await linksOf(on)).not.toContain("lists0.100");
    }
  });

  kernel("that another program made is used, and stays", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const batch = [
      "link add lists0 up type bridge vlan_filtering 1",
      "link add lists0.100 up type veth peer name other",
      "link set other master lists0 up",
    ];
    await on.host.exec(["ip", "-batch", "-"], { stdin: `${batch.join("\n")}\n` });
    await on.host.exec(["bridge", "vlan", "add", "dev", "other", "vid", "100", "pvid", "untagged"]);
    const result = await on.add(a, [gateway(on, 100)]);
    expect(await seenFrom(a.path, on.home, "10.87.0.1", 80)).toBe(addressIn(result));
    await on.check(a, [gateway(on, 100)], result);
    await on.del(a, [gateway(on, 100)], result);
    expect(await linksOf(on)).toContain("lists0.100");
  });

  kernel("is none if another link has its name, and nothing is left of the attempt", async () => {
    await using on = await listSite(heddle);
    const [a, b] = [await on.container(), await on.container()];
    await on.add(b, [flat(on, { vlan: 100 })]);
    await on.host.exec(["ip", "link", "add", "lists0.100", "type", "veth", "peer", "name", "other"]);
    const before = await on.host.snapshot([a.path]);
    const refused = await on.call("ADD", a, gateway(on, 100));
    expect([refused.error, refused.message]).toEqual([104, expect.stringContaining("lists0.100")]);
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });

  kernel("is there for each of many containers that come and go at once", async () => {
    await using on = await listSite(heddle);
    const containers = await Promise.all(Array.from({ length: 4 }, () => on.container()));
    const conf = gateway(on, 100);
    for (let round = 0; round < 3; round++)
      await Promise.all(
        containers.map(async (at) => {
          const result = await on.add(at, [conf]);
          await on.check(at, [conf], result);
          await on.del(at, [conf], result);
        }),
      );
    expect(await linksOf(on)).not.toContain("lists0.100");
  });
});

describe("CHECK with VLANs", () => {
  const vlan =
    (...words: readonly string[]) =>
    (on: ListSite, port: string) =>
      on.host.exec([...inside(on.home), "bridge", "vlan", ...words.map((w) => (w === "PORT" ? port : w))]);
  const damages: Readonly<Record<string, (on: ListSite, port: string) => Promise<unknown>>> = {
    "a port in another native VLAN": vlan("add", "dev", "PORT", "vid", "7", "pvid", "untagged"),
    "a port that left its VLAN": vlan("del", "dev", "PORT", "vid", "100"),
    "a port in one VLAN too many": vlan("add", "dev", "PORT", "vid", "7"),
    "a trunk that lost a VLAN": vlan("del", "dev", "PORT", "vid", "201"),
    "a bridge that does not filter": (on) =>
      on.host.exec(["ip", "link", "set", "lists0", "type", "bridge", "vlan_filtering", "0"]),
    "a gateway that is down": (on) => on.host.exec(["ip", "link", "set", "lists0.100", "down"]),
    "a gateway that is gone": (on) => on.host.exec(["ip", "link", "delete", "lists0.100"]),
  };
  kernel("finds each kind of damage", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const conf = gateway(on, 100, V4, { vlanTrunk: [{ minID: 200, maxID: 202 }] });
    for (const [name, damage] of Object.entries(damages)) {
      const result = await on.add(a, [conf]);
      await on.check(a, [conf], result);
      await damage(on, hostLinkOf(result));
      const { error } = await on.call("CHECK", a, { ...conf, prevResult: result });
      // What is gone is ENODEV of the kernel.
      expect([name, error]).toEqual([name, name.endsWith("is gone") ? 105 : 103]);
      await on.del(a, [conf], result);
      await on.host.exec(["ip", "link", "delete", "lists0"]);
    }
  });
});
