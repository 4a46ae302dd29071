import { describe, expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { NetError } from "../../errors.ts";
import { openFileStore } from "../../fabric/store/file.ts";
import type { Kv } from "../../fabric/store/kv.ts";
import { cidr, ip } from "../../testing/address.ts";
import { codeOf } from "../../testing/failure.ts";
import { deaf, flannelStore, interrupted, NETWORK } from "../../testing/flannel-store.ts";
import { subnets } from "../../testing/fabric.ts";
import {
  announcementOf,
  nodesAfter,
  type RegistrySite,
  registryContract,
  Told,
} from "../../testing/registry-contract.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { openKvRegistry } from "./kv-registry.ts";
import { leaseValue, VALUE_LIMIT } from "./lease-codec.ts";

async function contractSite(): Promise<RegistrySite> {
  const temp = tempDir("registry");
  const dir = temp.in("store");
  const writing = async (work: (kv: Kv) => Promise<unknown>): Promise<void> => {
    const kv = openFileStore({ dir });
    await work(kv);
    kv.close();
  };
  await writing((kv) => kv.put("/net/config", NETWORK));
  return {
    config: NETWORK,
    network: cidr("10.1.0.0/16"),
    open: () => openKvRegistry({ kv: openFileStore({ dir }), prefix: "net/", checkSeconds: 0.2 }),
    spoil: async () => {
      await writing((kv) => kv.put("/net/subnets/10.1.250.0-24", "{"));
      return "10.1.250.0-24";
    },
    stop: async () => renameSync(dir, temp.in("away")),
    start: async () => renameSync(temp.in("away"), dir),
    [Symbol.asyncDispose]: async () => temp[Symbol.dispose](),
  };
}

registryContract("A directory", contractSite);

describe("acquiring a subnet", () => {
  test("writes the key and value of flanneld with a lease of 24 hours", async () => {
    await using s = flannelStore();
    const registry = await s.open();
    const from = Date.now();
    const { node, expires = 0 } = await registry.acquire(announcementOf(0), undefined);
    expect(node.id).toMatch(/^10\.1\.\d+\.0-24$/);
    const entry = await s.kv.get(s.key(node.id));
    expect(entry?.value).toBe(
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:00"}}',
    );
    expect((expires - from) / 1000).toBeWithin(86_399, 86_402);
    expect(await s.kv.timeToLive(entry?.lease ?? "")).toBeWithin(86_390, 86_401);
  });

  test("fails clearly without a configuration, and with a broken one", async () => {
    await using s = flannelStore("{");
    expect(await codeOf((await s.open({ prefix: "/other" })).acquire(announcementOf(0), undefined))).toBe(
      "config/not-found",
    );
    expect(await codeOf((await s.open()).acquire(announcementOf(0), undefined))).toMatch(
      /^(?:config\/invalid|decode\/malformed)$/,
    );
  });

  test("takes back the subnet of before if it is free and fits, and else another", async () => {
    await using s = flannelStore();
    const registry = await s.open();
    expect((await registry.acquire(announcementOf(0), subnets({ v4: "10.1.77.0/24" }))).node.id).toBe(
      "10.1.77.0-24",
    );
    for (const former of ["10.1.77.0/24", "10.1.78.0/25", "10.2.1.0/24", "10.1.0.0/24"]) {
      const other = await s.open();
      const { node } = await other.acquire(announcementOf(1), subnets({ v4: former }));
      expect(node.subnets.v4?.text).not.toBe(former);
      await other.release({ node, expires: 0 });
    }
  });

  test("prefers what the store says over what was before", async () => {
    await using s = flannelStore();
    await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(0)), { lease: await s.kv.grant(60) });
    const { node } = await (await s.open()).acquire(announcementOf(0), subnets({ v4: "10.1.77.0/24" }));
    expect(node.id).toBe("10.1.9.0-24");
  });

  test("takes away a second key of its own address, by which others would leave it out", async () => {
    await using s = flannelStore();
    const value = leaseValue(announcementOf(0));
    for (const name of ["10.1.5.0-24", "10.1.9.0-24"])
      await s.kv.put(s.key(name), value, { lease: await s.kv.grant(60) });
    const { node } = await (await s.open()).acquire(announcementOf(0), subnets({ v4: "10.1.9.0/24" }));
    expect(node.id).toBe("10.1.9.0-24");
    await s.kv.put(s.key("10.1.6.0-24"), value);
    const reserved = await (await s.open()).acquire(announcementOf(0), subnets({ v4: "10.1.9.0/24" }));
    expect(reserved.node.id).toBe("10.1.6.0-24");
    const { entries } = await s.kv.list(s.key(""));
    expect(entries.map(({ key }) => key)).toEqual([s.key("10.1.6.0-24")]);
  });

  test("draws no subnet in which a host has its address", async () => {
    await using s = flannelStore('{"Network":"192.0.0.0/20","SubnetLen":24,"SubnetMax":"192.0.3.0"}');
    await s.kv.put(
      s.key("192.0.1.0-24"),
      leaseValue({ ...announcementOf(3), publics: { v4: ip("192.0.3.9") } }),
    );
    const registry = await s.open({ draw: () => 0n });
    expect(await codeOf(registry.acquire(announcementOf(0), subnets({ v4: "192.0.3.0/24" })))).toBe(
      "ipam/exhausted",
    );
  });

  test("keeps a reservation for ever, without a lease, and does not take it back", async () => {
    await using s = flannelStore();
    await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(0, "00")));
    const registry = await s.open();
    const lease = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.77.0/24" }));
    expect([lease.node.id, "expires" in lease]).toEqual(["10.1.9.0-24", false]);
    await registry.release(lease);
    const entry = await s.kv.get(s.key("10.1.9.0-24"));
    expect([entry?.value, entry?.lease]).toEqual([leaseValue(announcementOf(0)), undefined]);
  });

  test("gives up a subnet of its own that no longer fits, but not a reservation", async () => {
    await using s = flannelStore();
    await s.kv.put(s.key("10.9.9.0-24"), leaseValue(announcementOf(0)), { lease: await s.kv.grant(60) });
    await s.kv.put(s.key("10.9.8.0-24"), leaseValue(announcementOf(1)));
    const registry = await s.open();
    expect((await registry.acquire(announcementOf(0), undefined)).node.id).toStartWith("10.1.");
    expect(await s.kv.get(s.key("10.9.9.0-24"))).toBeUndefined();
    expect(await codeOf(registry.acquire(announcementOf(1), undefined))).toBe("config/invalid");
    expect(await s.kv.get(s.key("10.9.8.0-24"))).toBeDefined();
  });

  test("is tried again when another host is quicker", async () => {
    await using s = flannelStore();
    const quick = await s.open({ draw: () => 4n });
    const slow = await s.open({
      draw: () => 4n,
      kv: interrupted(s.another(), () => quick.acquire(announcementOf(1), undefined)),
    });
    const { node } = await slow.acquire(announcementOf(0), undefined);
    expect(node.id).toBe("10.1.6.0-24");
    const { entries } = await s.kv.list(s.key(""));
    expect(entries.map(({ key }) => key)).toEqual([s.key("10.1.5.0-24"), s.key("10.1.6.0-24")]);
  });

  test("ends the earlier leases of the store once the key has a new one, and none that another key has", async () => {
    await using s = flannelStore();
    const shared = await s.kv.grant(60);
    await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(0)), { lease: shared });
    await s.kv.put("/of/somebody", "else", { lease: shared });
    const registry = await s.open();
    const leases: string[] = [];
    for (const mac of ["01", "02", "03"]) {
      await registry.acquire(announcementOf(0, mac), undefined);
      leases.push((await s.kv.get(s.key("10.1.9.0-24")))?.lease ?? "");
    }
    await (await s.open()).acquire(announcementOf(0, "04"), undefined);
    const last = (await s.kv.get(s.key("10.1.9.0-24")))?.lease ?? "";
    expect(await Promise.all(leases.map((lease) => s.kv.timeToLive(lease)))).toEqual(
      leases.map(() => undefined),
    );
    expect(await s.kv.timeToLive(last)).toBeDefined();
    expect((await s.kv.get("/of/somebody"))?.lease).toBe(shared);
  });

  test("of many hosts at once gives each its own", async () => {
    await using s = flannelStore();
    const acquire = async (host: number): Promise<string> => {
      const registry = await s.open({ draw: () => 4n });
      return (await registry.acquire(announcementOf(host), undefined)).node.id;
    };
    const ids = await Promise.all([0, 1, 2, 3, 4, 5].map(acquire));
    expect(ids.toSorted()).toEqual([5, 6, 7, 8, 9, 10].map((n) => `10.1.${n}.0-24`).toSorted());
  });

  test("whose answer was lost is found when it is asked for again", async () => {
    await using s = flannelStore();
    const registry = await s.open({ kv: deaf(s.another(), 1) });
    expect(await codeOf(registry.acquire(announcementOf(0), undefined))).toBe("store/unavailable");
    const { node } = await registry.acquire(announcementOf(0), undefined);
    expect((await s.kv.list(s.key(""))).entries.map(({ key }) => key)).toEqual([s.key(node.id)]);
  });

  test("says so when all subnets are taken", async () => {
    await using s = flannelStore('{"Network":"10.1.0.0/22","SubnetLen":24}');
    for (const host of [0, 1, 2, 3]) {
      const registry = await s.open();
      const outcome = await codeOf(registry.acquire(announcementOf(host), undefined));
      expect(outcome).toBe(host < 3 ? "done" : "ipam/exhausted");
    }
  });

  test("takes no subnet whose key can be read, whatever its value is", async () => {
    await using s = flannelStore('{"Network":"10.1.0.0/22","SubnetLen":24}');
    await s.kv.put(s.key("10.1.1.0-24"), "garbage");
    const registry = await s.open({ draw: () => 0n });
    const { node } = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.1.0/24" }));
    expect(node.id).toBe("10.1.2.0-24");
  });

  test("is not kept from it by a key that no host can have", async () => {
    await using s = flannelStore('{"Network":"10.1.0.0/22","SubnetLen":24}');
    const keys = ["0.0.0.0-1", "10.0.0.0-8", "10.1.0.0-22", "10.1.2.0-23", "0.0.0.0-0&::-1"];
    for (const name of keys) await s.kv.put(s.key(name), leaseValue(announcementOf(3)));
    const registry = await s.open({ draw: () => 0n });
    const { node } = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.3.0/24" }));
    expect(node.id).toBe("10.1.3.0-24");
    const other = await s.open({ draw: () => 0n });
    expect((await other.acquire(announcementOf(1), undefined)).node.id).toBe("10.1.1.0-24");
  });

  test("leaves out what hosts have by an earlier configuration, wider or narrower", async () => {
    await using s = flannelStore('{"Network":"10.1.0.0/20","SubnetLen":24}');
    await s.kv.put(s.key("10.1.0.0-22"), leaseValue(announcementOf(2)));
    await s.kv.put(s.key("10.1.4.128-25"), leaseValue(announcementOf(3)));
    const registry = await s.open({ draw: () => 0n });
    const { node } = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.2.0/24" }));
    expect(node.id).toBe("10.1.5.0-24");
  });

  test("gives a subnet of each family, and keeps of before what fits", async () => {
    const dual =
      '{"EnableIPv6":true,"Network":"10.1.0.0/16","IPv6Network":"fd00:1::/48","Backend":{"Type":"vxlan"}}';
    await using s = flannelStore(dual);
    const wanted = { ...announcementOf(0), publics: { v4: ip("192.0.2.1"), v6: ip("fd00::1") } };
    const { node } = await (
      await s.open()
    ).acquire(wanted, subnets({ v4: "10.1.7.0/24", v6: "fd00:2:0:1::/64" }));
    expect(node.id).toMatch(/^10\.1\.7\.0-24&fd00:1:0:[\da-f]+::-64$/);
    expect((await (await s.open()).acquire(wanted, undefined)).node.id).toBe(node.id);
  });

  test("of two hosts that chose one IPv6 subnet with different ones of IPv4 the second chooses again", async () => {
    const dual = '{"EnableIPv6":true,"Network":"10.1.0.0/16","IPv6Network":"fd00:1::/48"}';
    await using s = flannelStore(dual);
    const quick = await s.open();
    const first = subnets({ v4: "10.1.7.0/24", v6: "fd00:1:0:7::/64" });
    const slow = await s.open({
      kv: interrupted(s.another(), () => quick.acquire(announcementOf(0), first)),
    });
    const other = await slow.acquire(
      announcementOf(1),
      subnets({ v4: "10.1.8.0/24", v6: "fd00:1:0:7::/64" }),
    );
    expect(other.node.subnets.v4?.text).toBe("10.1.8.0/24");
    expect(other.node.subnets.v6?.text).not.toBe("fd00:1:0:7::/64");
    const { entries } = await s.kv.list(s.key(""));
    expect(entries.map(({ key }) => key)).toEqual([
      s.key("10.1.7.0-24&fd00:1:0:7::-64"),
      s.key(other.node.id),
    ]);
  });

  test("serves a network of IPv6 alone", async () => {
    await using s = flannelStore('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:1::/48"}');
    const wanted = { publics: { v6: ip("fd00::1") }, backend: { type: "vxlan", v6: { VNI: 1 } } };
    const { node } = await (await s.open()).acquire(wanted, undefined);
    expect(node.id).toMatch(/^0\.0\.0\.0-0&fd00:1:0:[\da-f]+::-64$/);
    expect((await (await s.open()).acquire(wanted, undefined)).node.id).toBe(node.id);
  });
});

describe("the nodes of a network", () => {
  test("are all told again when the store forgot what changed meanwhile", async () => {
    await using s = flannelStore();
    await s.kv.put(s.key("10.1.7.0-24"), leaseValue(announcementOf(0)));
    await s.kv.put(s.key("10.1.8.0-24"), leaseValue(announcementOf(1)));
    const kv = s.another();
    let watches = 0;
    const forgetful: Kv["watch"] = async function* (prefix, options) {
      if (watches++ > 0) return yield* kv.watch(prefix, options);
      await s.kv.delete(s.key("10.1.7.0-24"));
      await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(2)));
      throw new NetError("store/compacted", { store: "test", since: "1" });
    };
    const registry = await s.open({ kv: Object.assign(Object.create(kv) as Kv, { watch: forgetful }) });
    await using told = new Told((signal) => registry.nodes(signal));
    await told.first(() => nodesAfter(told.news).has("10.1.9.0-24"));
    expect([...nodesAfter(told.news).keys()]).toEqual(["10.1.8.0-24", "10.1.9.0-24"]);
    expect(told.news.map(({ kind }) => kind)).toEqual(["all", "all"]);
  });

  test("of an endless name are told as unreadable by a short one, and go with it", async () => {
    await using s = flannelStore();
    const endless = s.key("9".repeat(900));
    await s.kv.put(endless, leaseValue(announcementOf(0)));
    const registry = await s.open();
    await using told = new Told((signal) => registry.nodes(signal));
    await told.first(({ kind }) => kind === "all");
    const [id = ""] = nodesAfter(told.news).keys();
    expect(id.length).toBeLessThan(160);
    await s.kv.delete(endless);
    await told.first((news) => news.kind === "gone" && news.id === id);
  });

  test("of an endless value are told as unreadable", async () => {
    await using s = flannelStore();
    const { publics, backend } = announcementOf(0);
    const endless = { publics, backend: { ...backend, v4: "x".repeat(VALUE_LIMIT) } };
    await s.kv.put(s.key("10.1.7.0-24"), leaseValue(endless));
    const registry = await s.open();
    await using told = new Told((signal) => registry.nodes(signal));
    await told.first(({ kind }) => kind === "all");
    expect(nodesAfter(told.news).get("10.1.7.0-24")).toEqual({
      id: "10.1.7.0-24",
      why: "the value is longer than 32768 characters",
    });
  });

  test("that a store refuses to list are told as failing, and told when it does", async () => {
    await using s = flannelStore();
    await s.kv.put(s.key("10.1.7.0-24"), leaseValue(announcementOf(0)));
    const kv = s.another();
    let lists = 0;
    const list: Kv["list"] = async (prefix) => {
      if (lists++ < 3) throw new NetError("store/denied", { store: "test", why: "not below /subnets" });
      return kv.list(prefix);
    };
    const registry = await s.open({ kv: Object.assign(Object.create(kv) as Kv, { list }) });
    await using told = new Told((signal) => registry.nodes(signal));
    await told.first(({ kind }) => kind === "all");
    expect(told.news.map(({ kind }) => kind)).toEqual(["failing", "failing", "failing", "all"]);
    expect(told.news[0]).toMatchObject({ why: expect.stringContaining("not below /subnets") as string });
  });

  test("are listed again and again while the store does not tell what changes", async () => {
    await using s = flannelStore();
    const kv = s.another();
    let watches = 0;
    const deaf: Kv["watch"] = async function* (prefix, options) {
      if (watches++ > 1) {
        yield [];
        return yield* kv.watch(prefix, options);
      }
      await s.kv.put(s.key(`10.1.${watches}.0-24`), leaseValue(announcementOf(watches)));
      throw new NetError("store/unavailable", { store: "test", why: "a proxy cut the watch" });
    };
    const registry = await s.open({ kv: Object.assign(Object.create(kv) as Kv, { watch: deaf }) });
    await using told = new Told((signal) => registry.nodes(signal));
    await told.first(({ kind }) => kind === "back");
    expect([...nodesAfter(told.news).keys()]).toEqual(["10.1.1.0-24", "10.1.2.0-24"]);
    const why = expect.stringContaining("a proxy cut the watch") as string;
    expect(told.news).toMatchObject([
      { kind: "all" },
      { kind: "all", unwatched: why },
      { kind: "all", unwatched: why },
      { kind: "back" },
    ]);
    expect(told.news[0]).not.toHaveProperty("unwatched");
  });
});
