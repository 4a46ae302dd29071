/**
 * The registry of a Flannel network in a store of keys, as flanneld keeps it in etcd, so that both kinds of hosts share
 * one network. A key that is not this host's is never written over: what was read is compared at each write.
 */
import { NetError } from "../../errors.ts";
import type { FabricNode, Subnets } from "../../fabric/model.ts";
import type { Entry, Kv, Listing, Revision } from "../../fabric/store/kv.ts";
import { hostPrefix, type IpPrefix } from "../../net/ip.ts";
import { type AddressPlan, type NetworkConfig, parseNetworkConfig } from "./config.ts";
import { type Draw, fitsPlan, freeSubnet, isFree, takesPlaces } from "./free-subnet.ts";
import { giveBack, type Held, holdLease, isOurs, leaseOf, twinOf, writeLeased } from "./kv-hold.ts";
import { followNodes, nodeOf } from "./kv-nodes.ts";
import { leaseName, leaseValue, parseLeaseName } from "./lease-codec.ts";
import type { Announcement, Lease, LeaseNews, NodeNews, Registry } from "./registry.ts";

export interface KvRegistryOptions {
  readonly kv: Kv;
  /** Below which the network's keys stand; flanneld's `--etcd-prefix`. `/coreos.com/network` unless told. */
  readonly prefix?: string;
  /** How long a lease lasts; flanneld's 24 hours unless told. */
  readonly leaseSeconds?: number;
  /** How long before its end it is renewed; flanneld's `--subnet-lease-renew-margin`. 3,600 unless told. */
  readonly renewMarginSeconds?: number;
  /** How often a held lease is looked at besides being watched; 30 unless told. */
  readonly checkSeconds?: number;
  /** How a person puts a value under a key of this store, for who has forgotten the network's configuration. */
  readonly howToPut?: (key: string) => string;
  /** For tests. */
  readonly draw?: Draw;
}

/** One host's: what it acquires again is the lease that it has, also when its public address has changed. */
export const openKvRegistry = (options: KvRegistryOptions): Registry => new KvRegistry(options);

/** How often a subnet is chosen anew because somebody was quicker. */
const TRIES = 10;

class KvRegistry implements Registry {
  private readonly kv: Kv;
  private readonly configKey: string;
  /** With the slash at its end. */
  private readonly subnets: string;
  private readonly leaseSeconds: number;
  private readonly renewMarginSeconds: number;
  private readonly checkSeconds: number;
  private readonly howToPut: KvRegistryOptions["howToPut"];
  private readonly draw: Draw | undefined;
  /** What was acquired here, by the name of its key. */
  private readonly held = new Map<string, Held>();
  /** The store's leases that were made for a key and may have it, by its name; known also if it was not heard that it was written. */
  private readonly leases = new Map<string, Set<string>>();
  /** Whether what is acquired now, or was last, is had in the end. */
  private taking: Promise<boolean> | undefined;
  private readonly closing = new AbortController();
  /** As it was read last. */
  private config: NetworkConfig | undefined;

  constructor(options: KvRegistryOptions) {
    const root = `/${(options.prefix ?? "/coreos.com/network").replaceAll(/^\/+|\/+$/g, "")}`;
    this.kv = options.kv;
    this.configKey = `${root}/config`;
    this.subnets = `${root}/subnets/`;
    this.leaseSeconds = options.leaseSeconds ?? 86_400;
    this.renewMarginSeconds = options.renewMarginSeconds ?? 3600;
    this.checkSeconds = options.checkSeconds ?? 30;
    this.howToPut = options.howToPut;
    this.draw = options.draw;
  }

  async networkConfig(): Promise<string> {
    const entry = await this.kv.get(this.configKey);
    if (entry !== undefined) return entry.value;
    const what = "network configuration of Flannel";
    const next = this.howToPut?.(this.configKey);
    const where = `${this.configKey} of ${this.kv.name}`;
    throw new NetError("config/not-found", { what, where, ...(next === undefined ? {} : { next }) });
  }

  async acquire(wanted: Announcement, before: Subnets | undefined): Promise<Lease> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.taking = promise;
    let lease: Lease | undefined;
    try {
      lease = await this.take(wanted, before);
      return lease;
    } finally {
      for (const [id, held] of this.held)
        if (held.givenUp !== undefined && lease !== undefined) this.forget(id);
        else held.givenUp = undefined;
      resolve(lease !== undefined);
    }
  }

  private async take(wanted: Announcement, before: Subnets | undefined): Promise<Lease> {
    const config = parseNetworkConfig(await this.networkConfig());
    this.config = config;
    for (let tries = 0; tries < TRIES; tries++) {
      const listing = await this.kv.list(this.subnets);
      const lease =
        (await this.takeOwn(config, listing, wanted, before)) ??
        (await this.takeFree(config, listing, wanted, before));
      if (lease !== "again") return lease;
    }
    throw new NetError("try-again", { why: `${TRIES} times another host was quicker to take a subnet` });
  }

  hold(lease: Lease, signal: AbortSignal): AsyncIterable<LeaseNews> {
    const held = this.held.get(lease.node.id);
    if (held === undefined) throw new TypeError(`the lease of ${lease.node.id} was not acquired here`);
    return holdLease(held, {
      kv: this.kv,
      signal: this.until(signal),
      leaseSeconds: this.leaseSeconds,
      renewMarginSeconds: this.renewMarginSeconds,
      checkSeconds: this.checkSeconds,
      isFree: async () => {
        const { entries } = await this.kv.list(this.subnets);
        return isFreeIn(this.taken(entries), held.node.subnets);
      },
    });
  }

  nodes(signal: AbortSignal): AsyncIterable<NodeNews> {
    return followNodes(this.kv, this.subnets, this.until(signal));
  }

  async release({ node, expires }: Lease): Promise<void> {
    const held = this.held.get(node.id);
    // A reservation is whoever made it's to take back.
    if (held === undefined || expires === undefined) return;
    // Who is writing it meanwhile gives it back himself.
    held.isReleased = true;
    await giveBack(held, this.kv);
    // Until then it has to be tried again.
    this.forget(node.id);
  }

  close(): void {
    this.closing.abort();
    this.kv.close();
  }

  private forget(id: string): void {
    this.held.delete(id);
    this.leases.delete(id);
  }

  private until(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.closing.signal]);
  }

  /** The subnets in the names of keys, also of those whose values cannot be read. */
  private taken(entries: readonly Entry[]): readonly IpPrefix[] {
    const { config } = this;
    const takes = (plan: AddressPlan | undefined, subnet: IpPrefix | undefined): readonly IpPrefix[] =>
      plan !== undefined && subnet !== undefined && takesPlaces(plan, subnet) ? [subnet] : [];
    return entries.flatMap(({ key }) => {
      const name = parseLeaseName(key.slice(this.subnets.length));
      return name.ok ? [...takes(config?.v4, name.value.v4), ...takes(config?.v6, name.value.v6)] : [];
    });
  }

  /** The hosts' own addresses: in a network that holds them too, no subnet may. */
  private hostsOf(entries: readonly Entry[], { publics }: Announcement): readonly IpPrefix[] {
    const others = entries.flatMap((entry) => {
      const node = nodeOf(this.subnets, entry);
      return "why" in node ? [] : [node.publics];
    });
    return [publics, ...others].flatMap(({ v4, v6 }) =>
      [v4, v6].flatMap((ip) => (ip ? [hostPrefix(ip)] : [])),
    );
  }

  /** The subnet that the store says is ours, if there is one and it is still one of the network. */
  private async takeOwn(
    config: NetworkConfig,
    { entries }: Listing,
    wanted: Announcement,
    before: Subnets | undefined,
  ): Promise<Lease | "again" | undefined> {
    const own = this.ownOf(entries, wanted);
    const named = before === undefined ? undefined : leaseName(before);
    const rank = ({ entry, node }: (typeof own)[number]): number =>
      entry.lease === undefined ? 0 : node.id === named ? 1 : 2;
    const [best] = own.toSorted((a, b) => rank(a) - rank(b));
    if (best === undefined) return undefined;
    const { entry, node } = best;
    this.requireNoTwin(best);
    // Hosts that see two of the same address leave out one of them.
    for (const other of own) if (other !== best && other.entry.lease !== undefined) await this.giveUp(other);
    const when = { revision: entry.revision };
    if (fitsConfig(config, node.subnets)) {
      // An earlier process made it for this key, as a rule: then nobody has it when the key has another one.
      if (entry.lease !== undefined) this.leasesOf(node.id).add(entry.lease);
      return this.write(node.subnets, wanted, when, entry.lease !== undefined);
    }
    if (entry.lease === undefined)
      throw new NetError("config/invalid", {
        field: entry.key,
        why: "this subnet is reserved for the host, and the network's configuration does not give such ones",
      });
    // While there is none to be had instead, the others better reach this one.
    const others = entries.filter((other) => other !== entry);
    this.choose(config, others, wanted, before);
    await this.giveUp(best);
    return "again";
  }

  /** Takes a key away. Who holds it here, and does not know, would make it again. */
  private async giveUp({ entry: { key, revision, lease }, node: { id } }: Own): Promise<void> {
    const held = this.held.get(id);
    if (held !== undefined) held.givenUp = this.taking;
    const isGone = await this.kv.delete(key, { revision });
    if (isGone && lease !== undefined) await this.kv.revokeUnused(lease);
  }

  /** What was acquired here, and what has this host's public address. */
  private ownOf(entries: readonly Entry[], { publics }: Announcement): readonly Own[] {
    const { v4, v6 } = publics;
    const isOwn = ({ entry, node }: Own): boolean =>
      this.held.get(node.id)?.revision === entry.revision ||
      (v4 === undefined
        ? v6 !== undefined && node.publics.v6?.text === v6.text
        : node.publics.v4?.text === v4.text);
    return entries
      .flatMap((entry): readonly Own[] => {
        const node = nodeOf(this.subnets, entry);
        return "why" in node ? [] : [{ entry, node }];
      })
      .filter(isOwn);
  }

  /**
   * An entry with this host's address is this host's, from before; but not if this process has held it and somebody else wrote
   * it since. If both took it back from one another there would be no end, and neither could be reached.
   */
  private requireNoTwin({ entry, node }: Own): void {
    const held = this.held.get(node.id);
    if (held === undefined || entry.lease === undefined || isOurs(held, entry)) return;
    const address = (node.publics.v4 ?? node.publics.v6)?.text ?? "";
    throw new NetError("try-again", { why: `${entry.key} is held by ${twinOf(address)}` });
  }

  private async takeFree(
    config: NetworkConfig,
    { entries }: Listing,
    wanted: Announcement,
    before: Subnets | undefined,
  ): Promise<Lease | "again"> {
    const subnets = this.choose(config, entries, wanted, before);
    const lease = await this.write(subnets, wanted, { absent: true }, true);
    if (lease === "again" || (await this.isFirst(lease))) return lease;
    await this.release(lease);
    return "again";
  }

  /** @throws ipam/exhausted */
  private choose(
    config: NetworkConfig,
    entries: readonly Entry[],
    wanted: Announcement,
    before: Subnets | undefined,
  ): Subnets {
    const taken = [...this.taken(entries), ...this.hostsOf(entries, wanted)];
    const pick = (plan: AddressPlan | undefined, former: IpPrefix | undefined): IpPrefix | undefined => {
      if (plan === undefined) return undefined;
      if (former !== undefined && fitsPlan(plan, former) && isFree(former, taken)) return former;
      const free = freeSubnet(plan, taken, this.draw);
      if (free !== undefined) return free;
      const pool = `subnets of ${plan.subnetLen} bits from ${plan.min.text} to ${plan.max.text}`;
      throw new NetError("ipam/exhausted", { pool });
    };
    const [v4, v6] = [pick(config.v4, before?.v4), pick(config.v6, before?.v6)];
    return { ...(v4 && { v4 }), ...(v6 && { v6 }) };
  }

  /** Keys of two hosts may differ and share a subnet of one family, if they were made at one moment: the first stays. */
  private async isFirst({ node }: Lease): Promise<boolean> {
    const { entries } = await this.kv.list(this.subnets);
    const own = this.held.get(node.id)?.revision ?? 0;
    const earlier = entries.filter(({ revision }) => revision < own);
    return isFreeIn(this.taken(earlier), node.subnets);
  }

  /** Writes the key, unless it is not as expected. */
  private async write(
    subnets: Subnets,
    { publics, backend }: Announcement,
    when: { readonly absent: true } | { readonly revision: Revision },
    isLeased: boolean,
  ): Promise<Lease | "again"> {
    const node: FabricNode = { id: leaseName(subnets), subnets, publics, backend };
    // Also those whose keys are gone: somebody may be making one of them again.
    for (const [id, held] of this.held) if (id !== node.id) held.givenUp = this.taking;
    const key = `${this.subnets}${node.id}`;
    const value = leaseValue(node);
    const leases = this.leasesOf(node.id);
    const written = isLeased
      ? await writeLeased({ key, value, leases }, { kv: this.kv, leaseSeconds: this.leaseSeconds }, when)
      : { revision: await this.kv.put(key, value, { when }), lease: undefined, term: undefined };
    if (written?.revision === undefined) return "again";
    const { revision, lease, term } = written;
    const now = { node, value, revision, lease, term, isReleased: false, givenUp: undefined };
    // Who holds it already goes on with what it is now.
    const held = Object.assign(this.held.get(node.id) ?? { key, leases }, now);
    this.held.set(node.id, held);
    return leaseOf(held);
  }

  private leasesOf(id: string): Set<string> {
    const leases = this.leases.get(id) ?? new Set();
    this.leases.set(id, leases);
    return leases;
  }
}

/** An entry of this host. */
interface Own {
  readonly entry: Entry;
  readonly node: FabricNode;
}

const isFreeIn = (taken: readonly IpPrefix[], { v4, v6 }: Subnets): boolean =>
  [v4, v6].every((subnet) => subnet === undefined || isFree(subnet, taken));

/** A family that is no longer enabled makes a subnet unfit, as one that is missing does. */
const fitsConfig = (config: NetworkConfig, subnets: Subnets): boolean =>
  (["v4", "v6"] as const).every((family) => {
    const [plan, subnet] = [config[family], subnets[family]];
    return plan === undefined ? subnet === undefined : subnet !== undefined && fitsPlan(plan, subnet);
  });
