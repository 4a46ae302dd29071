/** What every registry of a Flannel network keeps, wherever the network's hosts stand written. */
import { afterAll, describe, expect, test } from "bun:test";
import type { FabricNode, UnreadableNode } from "../fabric/model.ts";
import { contains, type IpPrefix } from "../net/ip.ts";
import type { Announcement, Lease, LeaseNews, NodeNews, Registry } from "../providers/flannel/registry.ts";
import { ip } from "./address.ts";
import { patience } from "./slowdown.ts";

/** A network under test, shared by all tests of a suite, with four hosts. A held lease is looked at several times a second. */
export interface RegistrySite extends AsyncDisposable {
  /** The network's configuration, as its text was written into the store. */
  readonly config: string;
  readonly network: IpPrefix;
  /** The registry as a host sees it, from 0 to 3. */
  open(host: number): Registry;
  /** Writes a node that cannot be read, and returns its id. */
  spoil(): Promise<string>;
  /** Takes the store away, and brings it back with what it had. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** What a host tells of itself. */
export const announcementOf = (host: number, mac = `02:00:00:00:00:0${host}`): Announcement => ({
  publics: { v4: ip(`192.0.2.${host + 1}`) },
  backend: { type: "vxlan", v4: { VNI: 1, VtepMAC: mac } },
});

/** What an iteration tells, in the background. */
export class Told<T> implements AsyncDisposable {
  readonly news: T[] = [];
  private readonly stop = new AbortController();
  private changed = Promise.withResolvers<void>();
  private readonly ended: Promise<void>;

  constructor(follow: (signal: AbortSignal) => AsyncIterable<T>) {
    this.ended = this.read(follow(this.stop.signal));
  }

  /** The first news that fits, of those told and those to come. */
  async first(fits: (news: T) => boolean): Promise<T> {
    for (;;) {
      const found = this.news.find(fits);
      if (found !== undefined) return found;
      const { promise } = this.changed;
      const isOver = await Promise.race([promise.then(() => false), this.ended.then(() => true)]);
      if (isOver && !this.news.some(fits)) throw new Error(`ended after ${JSON.stringify(this.news)}`);
    }
  }

  end(): Promise<void> {
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.ended;
  }

  private async read(all: AsyncIterable<T>): Promise<void> {
    for await (const one of all) {
      this.news.push(one);
      this.changed.resolve();
      this.changed = Promise.withResolvers();
    }
  }
}

/** The nodes as they stand after all that was told. */
export function nodesAfter(news: readonly NodeNews[]): ReadonlyMap<string, FabricNode | UnreadableNode> {
  const nodes = new Map<string, FabricNode | UnreadableNode>();
  for (const one of news) {
    if (one.kind === "all") nodes.clear();
    if (one.kind === "all") for (const node of one.nodes) nodes.set(node.id, node);
    if (one.kind === "put") nodes.set(one.node.id, one.node);
    if (one.kind === "gone") nodes.delete(one.id);
  }
  return nodes;
}

/** True once the news so far have this node, told like this. */
const has = (told: Told<NodeNews>, lease: Lease) => (): boolean => {
  const found = nodesAfter(told.news).get(lease.node.id);
  return found !== undefined && !("why" in found) && JSON.stringify(found) === JSON.stringify(lease.node);
};

export function registryContract(name: string, start: () => Promise<RegistrySite>): void {
  describe(`${name} keeps the contract of a registry:`, () => {
    let site: Promise<RegistrySite> | undefined;
    const opened = (): Promise<RegistrySite> => (site ??= start());
    const host = async (n: number): Promise<{ readonly registry: Registry } & Disposable> => {
      const registry = (await opened()).open(n);
      return { registry, [Symbol.dispose]: () => registry.close() };
    };

    test("the network's configuration is told as it stands", async () => {
      using h = await host(0);
      expect(await h.registry.networkConfig()).toBe((await opened()).config);
    });

    test("every host gets a subnet of its own inside the network", async () => {
      const { network } = await opened();
      const leases: Lease[] = [];
      for (const n of [0, 1, 2]) {
        using h = await host(n);
        leases.push(await h.registry.acquire(announcementOf(n), undefined));
      }
      const subnets = leases.map(({ node }) => node.subnets.v4);
      for (const subnet of subnets) expect(subnet && contains(network, subnet.ip)).toBe(true);
      expect(new Set(subnets.map((subnet) => subnet?.text)).size).toBe(3);
      expect(leases.map(({ node }) => node.publics.v4?.text)).toEqual([
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
      ]);
    });

    test("a host that comes again has the same subnet, with what it announces now", async () => {
      using first = await host(0);
      const before = await first.registry.acquire(announcementOf(0), undefined);
      using second = await host(0);
      const wanted = announcementOf(0, "02:00:00:00:00:aa");
      const { node } = await second.registry.acquire(wanted, undefined);
      expect([node.id, node.subnets]).toEqual([before.node.id, before.node.subnets]);
      expect(node.backend).toEqual(wanted.backend);
    });

    test("all nodes are told, then those that come, change and go", async () => {
      using h = await host(0);
      const own = await h.registry.acquire(announcementOf(0), undefined);
      await using told = new Told((signal) => h.registry.nodes(signal));
      await told.first(has(told, own));
      expect(told.news[0]?.kind).toBe("all");
      using other = await host(3);
      const lease = await other.registry.acquire(announcementOf(3), undefined);
      await told.first(has(told, lease));
      const changed = await other.registry.acquire(announcementOf(3, "02:00:00:00:00:bb"), undefined);
      await told.first(has(told, changed));
      await other.registry.release(changed);
      await told.first(() => !nodesAfter(told.news).has(lease.node.id));
    });

    test("a node that cannot be read is told as such, beside the others", async () => {
      using h = await host(0);
      const own = await h.registry.acquire(announcementOf(0), undefined);
      const id = await (await opened()).spoil();
      await using told = new Told((signal) => h.registry.nodes(signal));
      await told.first(has(told, own));
      const bad = nodesAfter(told.news).get(id);
      expect(bad && "why" in bad && bad.why.length > 0).toBe(true);
    });

    test("holding a lease says nothing while all is well, and ends with the signal", async () => {
      using h = await host(0);
      const lease = await h.registry.acquire(announcementOf(0), undefined);
      const told = new Told<LeaseNews>((signal) => h.registry.hold(lease, signal));
      await using nodes = new Told((signal) => h.registry.nodes(signal));
      await nodes.first(has(nodes, lease));
      await told[Symbol.asyncDispose]();
      expect(told.news).toEqual([]);
    });

    test(
      "a store that goes away is told, nothing is lost by it, and what changes later is told",
      async () => {
        using h = await host(0);
        const lease = await h.registry.acquire(announcementOf(0), undefined);
        await using held = new Told<LeaseNews>((signal) => h.registry.hold(lease, signal));
        await using nodes = new Told((signal) => h.registry.nodes(signal));
        await nodes.first(has(nodes, lease));
        await (await opened()).stop();
        const failing = await held.first(({ kind }) => kind === "failing");
        expect(failing.kind === "failing" && failing.why.length > 0 && failing.retryInSeconds > 0).toBe(true);
        await (await opened()).start();
        const renewed = await held.first(({ kind }) => kind === "renewed");
        expect(renewed.kind === "renewed" && renewed.lease.node.id).toBe(lease.node.id);
        using other = await host(1);
        const changed = await other.registry.acquire(announcementOf(1, "02:00:00:00:00:cc"), undefined);
        await nodes.first(has(nodes, changed));
        expect(held.news.some(({ kind }) => kind === "lost")).toBe(false);
      },
      patience(30_000),
    );

    // Tests come in any order, so that the end of the store is none of them.
    afterAll(async () => {
      await (await site)?.[Symbol.asyncDispose]();
    });
  });
}
