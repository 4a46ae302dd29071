/**
 * Brings the kernel to what a fabric wants of it. It keeps an image of what the kernel has: an event of the kernel, or one
 * more peer, is compared key by key, and everything is listed at the first time, after lost events, when a link changed,
 * and when it is asked for. Whatever the kernel refuses is told, and the rest goes on.
 */
import type { Message } from "../../netlink/message.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { type FabricRoute, type HostState, nothing } from "../host-state.ts";
import { type Attempts, makeAttempts } from "./attempts.ts";
import { forwardingKind } from "./forwarding.ts";
import { linkEvent, type Standing } from "./link-event.ts";
import { mendAddresses, mendLinks, mendSysctls, raiseLinks, removeLinks } from "./links.ts";
import { neighbourKind } from "./neighbours.ts";
import { peerKind } from "./peers.ts";
import { here, type KnownLinks, type Owner, type Place } from "./place.ts";
import { LIST, type ObjectKind, type Report } from "./report.ts";
import { type Batch, makeRound, nameOf, type Round } from "./round.ts";
import { routeKind } from "./routes.ts";
import { makeTable, type Table } from "./table.ts";
import { type KnownTunnels, mendTunnels, noTunnels } from "./tunnels.ts";

export interface Reconciler extends Disposable {
  /**
   * Brings the kernel to `desired`, as far as it is not, in the order links, tunnels, kernel parameters, addresses, neighbours,
   * forwarding entries, peers, routes; what nobody wants is removed after that, in the other order. Two calls with the same
   * objects in their lists cost what differs. Nothing that the kernel refuses is thrown. `keep`: what nobody wants stays for
   * now; the next call without it removes it.
   */
  reconcile(desired: HostState, how?: { readonly keep: boolean }): Report;
  /** Takes note of what the kernel tells; true if `reconcile` has something to do now. */
  touch(messages: readonly Message[]): boolean;
  /** Events were lost, or somebody wants to be sure: the next call of `reconcile` lists everything. */
  relist(): void;
}

export interface ReconcilerOptions {
  /** The kernel to work on; absent: the namespace that the process is in. It is closed with the reconciler. */
  readonly place?: Place;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
  /** Milliseconds since the epoch, by the clock that the kernel has. */
  readonly today?: () => number;
}

const few: readonly ObjectKind[] = ["link", "tunnel", "sysctl", "address"];
const many = ["neighbours", "forwarding", "peers", "routes"] as const;

/** Names of what is looked at only when everything is. */
function isFew(name: string): boolean {
  return name.endsWith(` ${LIST}`) || few.some((object) => name.startsWith(`${object} `));
}

function makeTables({ routeProtocol }: Owner, tunnels: () => KnownTunnels, today: () => number) {
  const routes: Table<FabricRoute> = makeTable(routeKind(routeProtocol, (dst) => routes.wants(dst)));
  return {
    neighbours: makeTable(neighbourKind),
    forwarding: makeTable(forwardingKind),
    peers: makeTable(peerKind(tunnels, today)),
    routes,
  };
}

/** All that a reconciler has and remembers. */
interface Self {
  readonly owner: Owner;
  readonly place: Place;
  readonly attempts: Attempts;
  readonly tables: ReturnType<typeof makeTables>;
  /** Names of links, parameters and addresses that were as they should be. */
  readonly settled: Set<string>;
  /** Opened with the first tunnel. */
  generic: NetlinkSocket | undefined;
  desired: HostState;
  links: KnownLinks;
  tunnels: KnownTunnels;
  /** Links that routes lead over. */
  carriers: Set<string>;
  /** Everything has to be listed. */
  stale: boolean;
  /** The last call left what nobody wants. */
  isKeeping: boolean;
}

export function openReconciler(owner: Owner, options: ReconcilerOptions = {}): Reconciler {
  const self: Self = {
    owner,
    place: options.place ?? here(),
    attempts: makeAttempts(options.now ?? (() => performance.now())),
    tables: makeTables(owner, () => self.tunnels, options.today ?? Date.now),
    settled: new Set(),
    generic: undefined,
    desired: nothing,
    links: { byName: new Map(), ours: new Map() },
    tunnels: noTunnels,
    carriers: new Set(),
    stale: true,
    isKeeping: false,
  };
  return {
    reconcile: (desired, { keep } = { keep: false }) => {
      want(self, desired);
      return reconcile(self, keep);
    },
    touch: (messages) => touch(self, messages),
    relist: () => void (self.stale = true),
    [Symbol.dispose]: () => {
      self.place.socket[Symbol.dispose]();
      self.generic?.[Symbol.dispose]();
    },
  };
}

const genericOf = (self: Self): NetlinkSocket => (self.generic ??= self.place.openGeneric());

/** How requests about objects of one kind are sent. */
const batchOf =
  (self: Self, kind: (typeof many)[number]): Batch =>
  (requests) =>
    requests.length === 0
      ? new Map()
      : (kind === "peers" ? genericOf(self) : self.place.socket).batch(requests);

function want(self: Self, next: HostState): void {
  const { attempts, desired: before, settled } = self;
  const changed = new Set<string>();
  const update = <W extends object>(table: Table<W>, old: readonly W[], list: readonly W[]): readonly W[] =>
    table.want(old, list, (key) => {
      if (!attempts.isClear) changed.add(nameOf({ object: table.object, key }));
    });
  update(self.tables.neighbours, before.neighbours, next.neighbours);
  update(self.tables.forwarding, before.forwarding, next.forwarding);
  update(self.tables.peers, before.peers, next.peers);
  const routes = update(self.tables.routes, before.routes, next.routes);
  for (const { link } of routes) if (link !== undefined) self.carriers.add(link);
  if (changed.size > 0) attempts.forget((name) => changed.has(name));
  self.desired = next;
  const isSame = (kind: "links" | "tunnels" | "sysctls" | "addresses"): boolean =>
    Bun.deepEquals(before[kind], next[kind]);
  if (isSame("links") && isSame("tunnels") && isSame("sysctls") && isSame("addresses")) return;
  self.stale = true;
  settled.clear();
  attempts.forget(isFew);
}

function reconcile(self: Self, keep: boolean): Report {
  const { place, attempts, tables } = self;
  const round = makeRound(attempts, self.settled);
  const full = attempts.takeDue(isFew) || self.stale || (self.isKeeping && !keep);
  self.isKeeping = keep;
  if (full) {
    self.stale = false;
    self.carriers = new Set(self.desired.routes.flatMap(({ link }) => link ?? []));
    self.links = mendFew(self, round, keep) ?? self.links;
    self.tunnels = mendTunnels(() => genericOf(self), self.tunnels, self.links, self.desired.tunnels, round);
    for (const kind of many)
      round.attempt({ object: tables[kind].object, key: LIST }, () => tables[kind].relist(place, self.links));
  }
  const plans = many.map((kind) => {
    const table = tables[kind];
    const may = (key: string): boolean =>
      attempts.isClear || attempts.may(nameOf({ object: table.object, key }));
    return { table, plan: table.plan(self.links, may), batch: batchOf(self, kind) };
  });
  for (const { batch, table, plan } of plans) if (round.put(batch, table, plan)) self.stale = true;
  if (keep) return round.report(full);
  for (const { batch, table, plan } of plans.toReversed()) round.remove(batch, table, plan);
  if (full) removeLinks(place, self.links, self.desired.links, round);
  return round.report(full);
}

/** Mends links, parameters and addresses. Returns the links that there are then; undefined if they were not told. */
function mendFew({ place, owner, desired }: Self, round: Round, keep: boolean): KnownLinks | undefined {
  const links = round.attempt({ object: "link", key: LIST }, () =>
    mendLinks(place, owner, desired.links, round),
  );
  mendSysctls(place, desired.sysctls, round);
  if (links !== undefined) {
    raiseLinks(place, links, desired.addresses, round);
    round.attempt({ object: "address", key: LIST }, () =>
      mendAddresses(place, links, desired.addresses, round, keep),
    );
  }
  return links;
}

function touch(self: Self, messages: readonly Message[]): boolean {
  const { attempts, desired } = self;
  const standing: Standing = {
    wanted: desired.links,
    carries: (link) => self.carriers.has(link),
    hasAddress: (link, text) =>
      desired.addresses.some(({ link: on, address }) => on === link && address.text === text),
  };
  let work = false;
  for (const message of messages) {
    const about = linkEvent(message, self.links, standing);
    if (about === "stale" || (about === "retry" && attempts.again(isFew))) self.stale = true;
    if (about === "stale" || about === "retry") work = attempts.again() || work;
    if (about !== "other") continue;
    for (const kind of many) work = self.tables[kind].touch(message, self.links) || work;
  }
  return work || self.stale;
}
