import { describe, expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { NetError } from "../../errors.ts";
import type { Subnets } from "../../fabric/model.ts";
import { openFileStore } from "../../fabric/store/file.ts";
import type { Kv } from "../../fabric/store/kv.ts";
import {
  address,
  announcementOf,
  nodesAfter,
  type RegistrySite,
  registryContract,
  Told,
} from "../../testing/registry-contract.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { type KvRegistryOptions, openKvRegistry } from "./kv-registry.ts";
import { leaseValue } from "./lease-codec.ts";
import type { LeaseNews, Registry } from "./registry.ts";
import { cidr } from "../../testing/address.ts";

const config = '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}';

/** A network in a directory, and what others would write there. */
function site(text = config) {
  const temp = tempDir("registry");
  const dir = temp.in("store");
  const kv = openFileStore({ dir });
  const ready = kv.put("/coreos.com/network/config", text);
  const registries: Registry[] = [];
  return {
    kv,
    another: (): Kv => openFileStore({ dir }),
    key: (name: string): string => `/coreos.com/network/subnets/${name}`,
    open: async (options: Partial<KvRegistryOptions> = {}): Promise<Registry> => {
      await ready;
      const registry = openKvRegistry({ kv: openFileStore({ dir }), checkSeconds: 0.2, ...options });
      registries.push(registry);
      return registry;
    },
    stop: (): void => renameSync(dir, temp.in("away")),
    start: (): void => renameSync(temp.in("away"), dir),
    [Symbol.asyncDispose]: async (): Promise<void> => {
      for (const registry of registries) registry.close();
      kv.close();
      temp[Symbol.dispose]();
    },
  };
}

async function contractSite(): Promise<RegistrySite> {
  const temp = tempDir("registry");
  const dir = temp.in("store");
  const writing = async (work: (kv: Kv) => Promise<unknown>): Promise<void> => {
    const kv = openFileStore({ dir });
    await work(kv);
    kv.close();
  };
  await writing((kv) => kv.put("/net/config", config));
  return {
    config,
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

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  const e: unknown = await work.then(
    () => "done",
    (error: unknown) => error,
  );
  return e instanceof NetError ? e.code : String(e);
};

/** The store as it is to somebody who, after his first list, is stopped while another does his work. */
function interrupted(kv: Kv, work: () => Promise<unknown>): Kv {
  let isFirst = true;
  const list: Kv["list"] = async (prefix) => {
    const listing = await kv.list(prefix);
    if (isFirst) await work();
    isFirst = false;
    return listing;
  };
  return Object.assign(Object.create(kv) as Kv, { list });
}

/** The store as it is to somebody who does not hear that his write of that number, from 1, was done. */
function deaf(kv: Kv, number: number): Kv {
  let writes = 0;
  const put: Kv["put"] = async (...args) => {
    const revision = await kv.put(...args);
    if (++writes === number) throw new NetError("store/unavailable", { store: "test", why: "no answer" });
    return revision;
  };
  return Object.assign(Object.create(kv) as Kv, { put });
}

const before = (v4?: string, v6?: string): Subnets => ({
  ...(v4 === undefined ? {} : { v4: cidr(v4) }),
  ...(v6 === undefined ? {} : { v6: cidr(v6) }),
});

describe("acquiring a subnet", () => {
  test("writes the key and value of flanneld with a lease of 24 hours", async () => {
    await using s = site();
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
    await using s = site("{");
    expect(await codeOf((await s.open({ prefix: "/other" })).acquire(announcementOf(0), undefined))).toBe(
      "config/not-found",
    );
    expect(await codeOf((await s.open()).acquire(announcementOf(0), undefined))).toMatch(
      /^(?:config\/invalid|decode\/malformed)$/,
    );
  });

  test("takes back the subnet of before if it is free and fits, and else another", async () => {
    await using s = site();
    const registry = await s.open();
    expect((await registry.acquire(announcementOf(0), before("10.1.77.0/24"))).node.id).toBe("10.1.77.0-24");
    for (const former of ["10.1.77.0/24", "10.1.78.0/25", "10.2.1.0/24", "10.1.0.0/24"]) {
      const other = await s.open();
      const { node } = await other.acquire(announcementOf(1), before(former));
      expect(node.subnets.v4?.text).not.toBe(former);
      await other.release({ node, expires: 0 });
    }
  });

  test("prefers what the store says over what was before", async () => {
    await using s = site();
    await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(0)), { lease: await s.kv.grant(60) });
    const { node } = await (await s.open()).acquire(announcementOf(0), before("10.1.77.0/24"));
    expect(node.id).toBe("10.1.9.0-24");
  });

  test("keeps a reservation for ever, without a lease, and does not take it back", async () => {
    await using s = site();
    await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(0, "00")));
    const registry = await s.open();
    const lease = await registry.acquire(announcementOf(0), before("10.1.77.0/24"));
    expect([lease.node.id, "expires" in lease]).toEqual(["10.1.9.0-24", false]);
    await registry.release(lease);
    const entry = await s.kv.get(s.key("10.1.9.0-24"));
    expect([entry?.value, entry?.lease]).toEqual([leaseValue(announcementOf(0)), undefined]);
  });

  test("gives up a subnet of its own that no longer fits, but not a reservation", async () => {
    await using s = site();
    await s.kv.put(s.key("10.9.9.0-24"), leaseValue(announcementOf(0)), { lease: await s.kv.grant(60) });
    await s.kv.put(s.key("10.9.8.0-24"), leaseValue(announcementOf(1)));
    const registry = await s.open();
    expect((await registry.acquire(announcementOf(0), undefined)).node.id).toStartWith("10.1.");
    expect(await s.kv.get(s.key("10.9.9.0-24"))).toBeUndefined();
    expect(await codeOf(registry.acquire(announcementOf(1), undefined))).toBe("config/invalid");
    expect(await s.kv.get(s.key("10.9.8.0-24"))).toBeDefined();
  });

  test("is tried again when another host is quicker", async () => {
    await using s = site();
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

  test("of many hosts at once gives each its own", async () => {
    await using s = site();
    const acquire = async (host: number): Promise<string> => {
      const registry = await s.open({ draw: () => 4n });
      return (await registry.acquire(announcementOf(host), undefined)).node.id;
    };
    const ids = await Promise.all([0, 1, 2, 3, 4, 5].map(acquire));
    expect(ids.toSorted()).toEqual([5, 6, 7, 8, 9, 10].map((n) => `10.1.${n}.0-24`).toSorted());
  });

  test("whose answer was lost is found when it is asked for again", async () => {
    await using s = site();
    const registry = await s.open({ kv: deaf(s.another(), 1) });
    expect(await codeOf(registry.acquire(announcementOf(0), undefined))).toBe("store/unavailable");
    const { node } = await registry.acquire(announcementOf(0), undefined);
    expect((await s.kv.list(s.key(""))).entries.map(({ key }) => key)).toEqual([s.key(node.id)]);
  });

  test("says so when all subnets are taken", async () => {
    await using s = site('{"Network":"10.1.0.0/22","SubnetLen":24}');
    for (const host of [0, 1, 2, 3]) {
      const registry = await s.open();
      const outcome = await codeOf(registry.acquire(announcementOf(host), undefined));
      expect(outcome).toBe(host < 3 ? "done" : "ipam/exhausted");
    }
  });

  test("takes no subnet whose key can be read, whatever its value is", async () => {
    await using s = site('{"Network":"10.1.0.0/22","SubnetLen":24}');
    await s.kv.put(s.key("10.1.1.0-24"), "garbage");
    const registry = await s.open({ draw: () => 0n });
    const { node } = await registry.acquire(announcementOf(0), before("10.1.1.0/24"));
    expect(node.id).toBe("10.1.2.0-24");
  });

  test("is not kept from it by a key that no host can have", async () => {
    await using s = site('{"Network":"10.1.0.0/22","SubnetLen":24}');
    const keys = ["0.0.0.0-1", "10.0.0.0-8", "10.1.0.0-22", "10.1.2.0-23", "0.0.0.0-0&::-1"];
    for (const name of keys) await s.kv.put(s.key(name), leaseValue(announcementOf(3)));
    const registry = await s.open({ draw: () => 0n });
    const { node } = await registry.acquire(announcementOf(0), before("10.1.3.0/24"));
    expect(node.id).toBe("10.1.3.0-24");
    const other = await s.open({ draw: () => 0n });
    expect((await other.acquire(announcementOf(1), undefined)).node.id).toBe("10.1.1.0-24");
  });

  test("leaves out what hosts have by an earlier configuration, wider or narrower", async () => {
    await using s = site('{"Network":"10.1.0.0/20","SubnetLen":24}');
    await s.kv.put(s.key("10.1.0.0-22"), leaseValue(announcementOf(2)));
    await s.kv.put(s.key("10.1.4.128-25"), leaseValue(announcementOf(3)));
    const registry = await s.open({ draw: () => 0n });
    const { node } = await registry.acquire(announcementOf(0), before("10.1.2.0/24"));
    expect(node.id).toBe("10.1.5.0-24");
  });

  test("gives a subnet of each family, and keeps of before what fits", async () => {
    const dual =
      '{"EnableIPv6":true,"Network":"10.1.0.0/16","IPv6Network":"fd00:1::/48","Backend":{"Type":"vxlan"}}';
    await using s = site(dual);
    const wanted = { ...announcementOf(0), publics: { v4: address("192.0.2.1"), v6: address("fd00::1") } };
    const { node } = await (await s.open()).acquire(wanted, before("10.1.7.0/24", "fd00:2:0:1::/64"));
    expect(node.id).toMatch(/^10\.1\.7\.0-24&fd00:1:0:[\da-f]+::-64$/);
    expect((await (await s.open()).acquire(wanted, undefined)).node.id).toBe(node.id);
  });

  test("of two hosts that chose one IPv6 subnet with different ones of IPv4 the second chooses again", async () => {
    const dual = '{"EnableIPv6":true,"Network":"10.1.0.0/16","IPv6Network":"fd00:1::/48"}';
    await using s = site(dual);
    const quick = await s.open();
    const first = before("10.1.7.0/24", "fd00:1:0:7::/64");
    const slow = await s.open({
      kv: interrupted(s.another(), () => quick.acquire(announcementOf(0), first)),
    });
    const other = await slow.acquire(announcementOf(1), before("10.1.8.0/24", "fd00:1:0:7::/64"));
    expect(other.node.subnets.v4?.text).toBe("10.1.8.0/24");
    expect(other.node.subnets.v6?.text).not.toBe("fd00:1:0:7::/64");
    const { entries } = await s.kv.list(s.key(""));
    expect(entries.map(({ key }) => key)).toEqual([
      s.key("10.1.7.0-24&fd00:1:0:7::-64"),
      s.key(other.node.id),
    ]);
  });

  test("serves a network of IPv6 alone", async () => {
    await using s = site('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:1::/48"}');
    const wanted = { publics: { v6: address("fd00::1") }, backend: { type: "vxlan", v6: { VNI: 1 } } };
    const { node } = await (await s.open()).acquire(wanted, undefined);
    expect(node.id).toMatch(/^0\.0\.0\.0-0&fd00:1:0:[\da-f]+::-64$/);
    expect((await (await s.open()).acquire(wanted, undefined)).node.id).toBe(node.id);
  });
});

describe("the nodes of a network", () => {
  test("are all told again when the store forgot what changed meanwhile", async () => {
    await using s = site();
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
});

describe("holding a lease", () => {
  const short = { leaseSeconds: 2, renewMarginSeconds: 1.5 };
  const held = async (s: ReturnType<typeof site>, options: Partial<KvRegistryOptions> = {}) => {
    const registry = await s.open(options);
    const lease = await registry.acquire(announcementOf(0), before("10.1.7.0/24"));
    return { registry, lease, told: new Told<LeaseNews>((signal) => registry.hold(lease, signal)) };
  };

  test("renews it before its end, with the same key, revision and lease of the store", async () => {
    await using s = site();
    const { lease, told } = await held(s, short);
    const entry = await s.kv.get(s.key(lease.node.id));
    const isLater = (news: LeaseNews): boolean =>
      news.kind === "renewed" && (news.lease.expires ?? 0) > (lease.expires ?? 0) + 1000;
    await told.first(isLater);
    expect(await s.kv.get(s.key(lease.node.id))).toEqual(entry);
    await told[Symbol.asyncDispose]();
  });

  test("makes it again when it ended while nobody could renew it", async () => {
    await using s = site();
    const { lease, told } = await held(s);
    const entry = await s.kv.get(s.key(lease.node.id));
    await s.kv.revoke(entry?.lease ?? "");
    await told.first(({ kind }) => kind === "renewed");
    const again = await s.kv.get(s.key(lease.node.id));
    expect([again?.value, again?.lease === entry?.lease]).toEqual([entry?.value, false]);
    await told[Symbol.asyncDispose]();
  });

  test("knows a key as its own that it made without hearing so", async () => {
    await using s = site();
    const { lease, told } = await held(s, { kv: deaf(s.another(), 2) });
    const first = (await s.kv.get(s.key(lease.node.id)))?.lease ?? "";
    await s.kv.revoke(first);
    const renewed = await told.first(({ kind }) => kind === "renewed");
    expect(told.news.map(({ kind }) => kind)).toEqual(["failing", "renewed"]);
    expect(renewed.kind === "renewed" && renewed.lease.expires).toBeGreaterThan(lease.expires ?? 0);
    const second = (await s.kv.get(s.key(lease.node.id)))?.lease ?? "";
    expect(second).not.toBe(first);
    await told[Symbol.asyncDispose]();
  });

  test("is over when somebody else has written the key, which is left alone", async () => {
    await using s = site();
    const { lease, told, registry } = await held(s);
    const foreign = leaseValue(announcementOf(3));
    await s.kv.put(s.key(lease.node.id), foreign, { lease: await s.kv.grant(60) });
    const lost = await told.first(({ kind }) => kind === "lost");
    expect(lost).toEqual({ kind: "lost", why: "10.1.7.0-24 is now held by 192.0.2.4" });
    await told.end();
    await registry.release(lease);
    expect((await s.kv.get(s.key(lease.node.id)))?.value).toBe(foreign);
    const next = await registry.acquire(announcementOf(0), before("10.1.7.0/24"));
    expect(next.node.id).not.toBe(lease.node.id);
  });

  test("is over when the key is gone and somebody has a part of the subnet", async () => {
    await using s = site();
    const { lease, told } = await held(s);
    s.stop();
    await told.first(({ kind }) => kind === "failing");
    s.start();
    await told.first(({ kind }) => kind === "renewed");
    const entry = await s.kv.get(s.key(lease.node.id));
    await s.kv.put(s.key("10.1.7.128-25"), leaseValue(announcementOf(3)));
    await s.kv.revoke(entry?.lease ?? "");
    const lost = await told.first(({ kind }) => kind === "lost");
    expect(lost.kind === "lost" && lost.why).toContain("another host has taken the subnet");
    expect(await s.kv.get(s.key(lease.node.id))).toBeUndefined();
  });

  test("goes on when this host announces something else meanwhile", async () => {
    await using s = site();
    const { registry, lease, told } = await held(s);
    const wanted = { ...announcementOf(0, "02:00:00:00:00:77"), publics: { v4: address("192.0.2.77") } };
    const changed = await registry.acquire(wanted, undefined);
    expect(changed.node.id).toBe(lease.node.id);
    await s.kv.revoke((await s.kv.get(s.key(lease.node.id)))?.lease ?? "");
    const renewed = await told.first(({ kind }) => kind === "renewed");
    expect(renewed.kind === "renewed" && renewed.lease.node).toEqual(changed.node);
    expect(told.news.map(({ kind }) => kind)).not.toContain("lost");
    await told[Symbol.asyncDispose]();
  });

  test("ends when the lease is given back, and does not make it again", async () => {
    await using s = site();
    const { registry, lease, told } = await held(s);
    await registry.release(lease);
    await told.end();
    expect(told.news).toEqual([]);
    expect((await s.kv.list(s.key(""))).entries).toEqual([]);
  });

  test("is given back by a second try when the store was away at the first", async () => {
    await using s = site();
    const { registry, lease, told } = await held(s);
    await told[Symbol.asyncDispose]();
    s.stop();
    const refused = await registry.release(lease).catch((e: unknown) => e);
    expect(refused).toBeInstanceOf(NetError);
    s.start();
    await registry.release(lease);
    expect((await s.kv.list(s.key(""))).entries).toEqual([]);
  });

  test("ends when the registry is closed", async () => {
    await using s = site();
    const { registry, told } = await held(s);
    registry.close();
    await told.end();
    expect(told.news).toEqual([]);
  });
});
