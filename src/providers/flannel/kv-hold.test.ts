/** Holding a lease of a store: renewed, made again, lost, given back. */
import { describe, expect, setSystemTime, test } from "bun:test";
import { NetError } from "../../errors.ts";
import type { Kv } from "../../fabric/store/kv.ts";
import { ip } from "../../testing/address.ts";
import { codeOf, failureOf } from "../../testing/failure.ts";
import { deaf, type FlannelStore, flannelStore, slowOnce } from "../../testing/flannel-store.ts";
import { subnets } from "../../testing/fabric.ts";
import { announcementOf, Told } from "../../testing/registry-contract.ts";
import type { KvRegistryOptions } from "./kv-registry.ts";
import { leaseValue } from "./lease-codec.ts";
import type { LeaseNews } from "./registry.ts";

describe("holding a lease", () => {
  const short = { leaseSeconds: 2, renewMarginSeconds: 1.5 };
  const held = async (s: FlannelStore, options: Partial<KvRegistryOptions> = {}) => {
    const registry = await s.open(options);
    const lease = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.7.0/24" }));
    return { registry, lease, told: new Told<LeaseNews>((signal) => registry.hold(lease, signal)) };
  };

  test("renews it before its end, with the same key, revision and lease of the store", async () => {
    await using s = flannelStore();
    const { lease, told } = await held(s, short);
    const entry = await s.kv.get(s.key(lease.node.id));
    const isLater = (news: LeaseNews): boolean =>
      news.kind === "renewed" && (news.lease.expires ?? 0) > (lease.expires ?? 0) + 1000;
    await told.first(isLater);
    expect(await s.kv.get(s.key(lease.node.id))).toEqual(entry);
    await told[Symbol.asyncDispose]();
  });

  test("renews it in time though the clock of the host was put back", async () => {
    await using s = flannelStore();
    const store = s.another(() => Math.round(performance.timeOrigin + performance.now()));
    const { lease, told } = await held(s, { ...short, kv: store });
    const entry = await s.kv.get(s.key(lease.node.id));
    try {
      setSystemTime(Date.now() - 3_600_000);
      await told.first(({ kind }) => kind === "renewed");
      expect((await store.get(s.key(lease.node.id)))?.revision).toBe(entry?.revision ?? 0);
    } finally {
      setSystemTime();
    }
    await told[Symbol.asyncDispose]();
  });

  test("renews it in time after a sleep, in which the store counted on and the host did not", async () => {
    await using s = flannelStore();
    const { lease, told } = await held(s, { leaseSeconds: 1000, renewMarginSeconds: 100 });
    const entry = await s.kv.get(s.key(lease.node.id));
    try {
      setSystemTime(Date.now() + 950_000);
      const renewed = await told.first(({ kind }) => kind === "renewed");
      expect(renewed.kind === "renewed" && (renewed.lease.expires ?? 0) - Date.now()).toBeGreaterThan(
        990_000,
      );
      expect(await s.kv.get(s.key(lease.node.id))).toEqual(entry);
    } finally {
      setSystemTime();
    }
    await told[Symbol.asyncDispose]();
  });

  test("makes it again when it ended while nobody could renew it", async () => {
    await using s = flannelStore();
    const { lease, told } = await held(s);
    const entry = await s.kv.get(s.key(lease.node.id));
    await s.kv.revoke(entry?.lease ?? "");
    await told.first(({ kind }) => kind === "renewed");
    const again = await s.kv.get(s.key(lease.node.id));
    expect([again?.value, again?.lease === entry?.lease]).toEqual([entry?.value, false]);
    await told[Symbol.asyncDispose]();
  });

  test("knows a key as its own that it made without hearing so", async () => {
    await using s = flannelStore();
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
    await using s = flannelStore();
    const { lease, told, registry } = await held(s);
    const foreign = leaseValue(announcementOf(3));
    await s.kv.put(s.key(lease.node.id), foreign, { lease: await s.kv.grant(60) });
    const lost = await told.first(({ kind }) => kind === "lost");
    expect(lost).toEqual({ kind: "lost", why: "10.1.7.0-24 is now held by 192.0.2.4" });
    await told.end();
    await registry.release(lease);
    expect((await s.kv.get(s.key(lease.node.id)))?.value).toBe(foreign);
    const next = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.7.0/24" }));
    expect(next.node.id).not.toBe(lease.node.id);
  });

  test("is over when another host with the same address takes it, which is told and not fought over", async () => {
    await using s = flannelStore();
    const { lease, told, registry } = await held(s);
    const other = await s.open();
    const taken = await other.acquire(announcementOf(0, "aa"), undefined);
    expect(taken.node.id).toBe(lease.node.id);
    const lost = await told.first(({ kind }) => kind === "lost");
    expect(lost.kind === "lost" && lost.why).toContain("somebody else with this host's address, 192.0.2.1");
    const refused = await failureOf(registry.acquire(announcementOf(0), subnets({ v4: "10.1.7.0/24" })));
    expect(refused.message).toContain("another host has it too, or another daemon runs on this one");
    expect((await s.kv.get(s.key(lease.node.id)))?.value).toBe(leaseValue(announcementOf(0, "aa")));
    await other.release(taken);
    const again = await registry.acquire(announcementOf(0), subnets({ v4: "10.1.7.0/24" }));
    expect(again.node.id).toBe(lease.node.id);
  });

  test("is over when the key is gone and somebody has a part of the subnet", async () => {
    await using s = flannelStore();
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
    await using s = flannelStore();
    const { registry, lease, told } = await held(s);
    const wanted = { ...announcementOf(0, "02:00:00:00:00:77"), publics: { v4: ip("192.0.2.77") } };
    const changed = await registry.acquire(wanted, undefined);
    expect(changed.node.id).toBe(lease.node.id);
    await s.kv.revoke((await s.kv.get(s.key(lease.node.id)))?.lease ?? "");
    const renewed = await told.first(({ kind }) => kind === "renewed");
    expect(renewed.kind === "renewed" && renewed.lease.node).toEqual(changed.node);
    expect(told.news.map(({ kind }) => kind)).not.toContain("lost");
    await told[Symbol.asyncDispose]();
  });

  test("ends when the lease is given back, and does not make it again", async () => {
    await using s = flannelStore();
    const { registry, lease, told } = await held(s);
    await registry.release(lease);
    await told.end();
    expect(told.news).toEqual([]);
    expect((await s.kv.list(s.key(""))).entries).toEqual([]);
  });

  test("that was just being made again is given back, too", async () => {
    await using s = flannelStore();
    const store = s.another();
    const asked = Promise.withResolvers<void>();
    const may = Promise.withResolvers<void>();
    let grants = 0;
    const grant: Kv["grant"] = async (seconds) => {
      if (++grants === 2) {
        asked.resolve();
        await may.promise;
      }
      return store.grant(seconds);
    };
    const { registry, lease, told } = await held(s, {
      kv: Object.assign(Object.create(store) as Kv, { grant }),
    });
    await s.kv.revoke((await s.kv.get(s.key(lease.node.id)))?.lease ?? "");
    await asked.promise;
    await registry.release(lease);
    may.resolve();
    await told.end();
    expect((await s.kv.list(s.key(""))).entries).toEqual([]);
  });

  test("is given back by a second try when the store was away at the first", async () => {
    await using s = flannelStore();
    const { registry, lease, told } = await held(s);
    await told[Symbol.asyncDispose]();
    s.stop();
    await failureOf(registry.release(lease));
    s.start();
    await registry.release(lease);
    expect((await s.kv.list(s.key(""))).entries).toEqual([]);
  });

  const narrower = (s: FlannelStore) =>
    s.kv.put("/coreos.com/network/config", '{"Network":"10.1.0.0/16","SubnetLen":26}');
  const keys = async (s: FlannelStore): Promise<readonly string[]> =>
    (await s.kv.list(s.key(""))).entries.map(({ key }) => key);

  test("ends without a word when the subnet no longer fits the network and another is taken", async () => {
    await using s = flannelStore();
    const { registry, lease, told } = await held(s);
    const former = (await s.kv.get(s.key(lease.node.id)))?.lease ?? "";
    await narrower(s);
    const { node } = await registry.acquire(announcementOf(0), lease.node.subnets);
    await told.end();
    expect(told.news).toEqual([]);
    expect(await keys(s)).toEqual([s.key(node.id)]);
    expect([node.subnets.v4?.bits, await s.kv.timeToLive(former)]).toEqual([26, undefined]);
  });

  test.each(["list", "grant", "put"] as const)(
    "ends so, too, while it makes the key again and waits for its %s",
    async (call) => {
      await using s = flannelStore();
      const slow = slowOnce(s.another(), call);
      const { registry, lease, told } = await held(s, { kv: slow.kv });
      slow.arm();
      await s.kv.revoke((await s.kv.get(s.key(lease.node.id)))?.lease ?? "");
      await slow.asked;
      await narrower(s);
      const { node } = await registry.acquire(announcementOf(0), lease.node.subnets);
      slow.go();
      await told.end();
      expect(told.news).toEqual([]);
      expect(await keys(s)).toEqual([s.key(node.id)]);
    },
  );

  test("ends without a word when another key has the host's address and is taken", async () => {
    await using s = flannelStore();
    const { registry, told } = await held(s);
    await s.kv.put(s.key("10.1.9.0-24"), leaseValue(announcementOf(0)));
    const { node } = await registry.acquire(announcementOf(0), undefined);
    expect(node.id).toBe("10.1.9.0-24");
    await told.end();
    expect(told.news).toEqual([]);
    expect(await keys(s)).toEqual([s.key("10.1.9.0-24")]);
  });

  test("goes on when the subnet no longer fits and no other can be had", async () => {
    await using s = flannelStore();
    const { registry, lease, told } = await held(s);
    const full = '{"Network":"10.2.0.0/22","SubnetLen":24,"SubnetMin":"10.2.1.0","SubnetMax":"10.2.1.0"}';
    await s.kv.put("/coreos.com/network/config", full);
    await s.kv.put(s.key("10.2.1.0-24"), leaseValue(announcementOf(3)));
    const entry = await s.kv.get(s.key(lease.node.id));
    expect(await codeOf(registry.acquire(announcementOf(0), undefined))).toBe("ipam/exhausted");
    expect(await s.kv.get(s.key(lease.node.id))).toEqual(entry);
    await s.kv.revoke(entry?.lease ?? "");
    await told.first(({ kind }) => kind === "renewed");
    expect(await keys(s)).toContain(s.key(lease.node.id));
  });

  test("makes again what was given up for another subnet that was not had", async () => {
    await using s = flannelStore();
    const kv = s.another();
    let isAway = false;
    // The store goes away between the two, for who acquires.
    const put: Kv["put"] = async (key, ...more) => {
      if (isAway && key.endsWith("-26"))
        throw new NetError("store/unavailable", { store: "test", why: "away" });
      return kv.put(key, ...more);
    };
    const { registry, lease, told } = await held(s, { kv: Object.assign(Object.create(kv) as Kv, { put }) });
    isAway = true;
    await narrower(s);
    expect(await codeOf(registry.acquire(announcementOf(0), undefined))).toBe("store/unavailable");
    await told.first(({ kind }) => kind === "renewed");
    expect(await keys(s)).toEqual([s.key(lease.node.id)]);
    isAway = false;
    const { node } = await registry.acquire(announcementOf(0), undefined);
    await told.end();
    expect(told.news.map(({ kind }) => kind)).not.toContain("lost");
    expect(await keys(s)).toEqual([s.key(node.id)]);
  });

  test("ends when the registry is closed", async () => {
    await using s = flannelStore();
    const { registry, told } = await held(s);
    registry.close();
    await told.end();
    expect(told.news).toEqual([]);
  });
});
