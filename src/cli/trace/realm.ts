/**
 * The namespaces of this machine as a trace goes through them: each with its sockets, and what is read of it, once. The other
 * end of a pair shows its namespace by a number alone; whose that is is found among those that this machine shows.
 */
import { hasIpsecPolicies } from "../../diag/ipsec.ts";
import { isNetError } from "../../errors.ts";
import type { Family } from "../../net/ip.ts";
import { type NetlinkSocket, openNetlink } from "../../netlink/socket.ts";
import { OWN_NETNS } from "../../netstate/alive.ts";
import { openRuleSet } from "../../nft/available.ts";
import { readRuleSet } from "../../nft/eval/read.ts";
import type { RuleSet } from "../../nft/eval/rule-set.ts";
import { type Address, listAddresses } from "../../rtnl/address.ts";
import { findLinkDetails, type LinkDetails } from "../../rtnl/link-details.ts";
import { type Link, listLinks } from "../../rtnl/link.ts";
import { namespaceNumber } from "../../rtnl/nsid.ts";
import { decodeRoutes, type Route, routeDump, RT_TABLE_LOCAL } from "../../rtnl/route.ts";
import { listDir, readLink, readText, unlessErrno } from "../../sys/files.ts";
import { inNetns, type Netns, tryOpenNetns } from "../../sys/netns.ts";
import { readSysctl } from "../../sys/sysctl.ts";

export interface Space {
  /** Device and inode. */
  readonly id: string;
  readonly name: string;
  readonly netns: Netns;
  readonly route: NetlinkSocket;
  /** Runs with this thread inside. */
  within<T>(work: () => T): T;
  readonly links: () => readonly Link[];
  readonly addresses: () => readonly Address[];
  /** Undefined: this kernel has no nftables. */
  readonly rules: () => RuleSet | undefined;
  readonly details: (index: number) => LinkDetails | undefined;
  /** Routes of the table of the host's own addresses. */
  readonly local: (family: Family) => readonly Route[];
  /** Whether there are policies of IPsec; undefined: it is not to be seen. */
  readonly ipsec: () => boolean | undefined;
  /** Whether the kernel balances services here (IPVS). */
  readonly services: () => boolean;
  readonly sysctl: (key: string) => string | undefined;
}

/** A link and its namespace. */
export interface Place {
  readonly space: Space;
  readonly link: Link;
}

export interface Realm extends Disposable {
  readonly host: Space;
  /** The namespace at a path. */
  at(path: string, name: string): Space | undefined;
  /** The namespace that `from` has this number for; undefined: it is not to be seen. */
  numbered(from: Space, nsid: number): Space | undefined;
  /** Links of every namespace that stand on this one: macvlans, VLANs and their like. */
  above(space: Space, link: Link): readonly Place[];
}

/** @param names what people call namespaces, by path */
export function openRealm(names: ReadonlyMap<string, string>): Realm {
  const owned = new DisposableStack();
  const spaces = new Map<string, Space>();
  /** The one at the path, if it is the one that is meant. */
  const enter = (path: string, name: string, isIt: (netns: Netns) => boolean): Space | undefined => {
    const netns = openUnlessGone(path);
    if (netns === undefined) return undefined;
    const id = `${netns.dev}:${netns.ino}`;
    const before = spaces.get(id);
    if (before !== undefined || !isIt(netns)) {
      const wanted = before !== undefined && isIt(netns);
      netns[Symbol.dispose]();
      return wanted ? before : undefined;
    }
    const space = openSpace(owned.use(netns), id, name, owned);
    spaces.set(id, space);
    return space;
  };
  const any = (): boolean => true;
  try {
    const host = enter(OWN_NETNS, "host", any);
    if (host === undefined) throw new TypeError("this process has no network namespace");
    let candidates: readonly Candidate[] | undefined;
    const all = once(() =>
      (candidates ??= listNamespaces(names)).flatMap(([path, name]) => enter(path, name, any) ?? []),
    );
    const everywhere = once(() => [...new Set(all())].flatMap((space) => standing(space)));
    return {
      host,
      at: (path, name) => enter(path, name, any),
      numbered(from, nsid) {
        const isIt = (netns: Netns): boolean => namespaceNumber(from.route, netns.fd) === nsid;
        candidates ??= listNamespaces(names);
        for (const [path, name] of candidates) {
          const space = enter(path, name, isIt);
          if (space !== undefined) return space;
        }
        return undefined;
      },
      above: (space, link) =>
        everywhere().filter(
          (p) =>
            p.link.peerIndex === link.index &&
            (p.link.peerNetnsId === undefined
              ? p.space === space
              : namespaceNumber(p.space.route, space.netns.fd) === p.link.peerNetnsId),
        ),
      [Symbol.dispose]: () => owned.dispose(),
    };
  } catch (e) {
    owned.dispose();
    throw e;
  }
}

/** Kinds of links that take frames from the link below. */
const STANDING: readonly string[] = ["macvlan", "macvtap", "ipvlan", "ipvtap", "vlan"];
const standing = (space: Space): readonly Place[] =>
  space
    .links()
    .filter((l) => l.kind !== undefined && STANDING.includes(l.kind))
    .map((link) => ({ space, link }));

type Candidate = readonly [path: string, name: string];

function openUnlessGone(path: string): Netns | undefined {
  try {
    return tryOpenNetns(path);
  } catch (e) {
    // A process that ended, or one of somebody else.
    if (isNetError(e, "netns/invalid")) return undefined;
    throw e;
  }
}

const DIRECTORY = "/run/netns";

/** This process's own, those that have a name, and those of processes, each once. */
function listNamespaces(names: ReadonlyMap<string, string>): readonly Candidate[] {
  const named = listOf(DIRECTORY).map((n): Candidate => [`${DIRECTORY}/${n}`, `namespace ${n}`]);
  const seen = new Set<string>();
  const ofProcesses = listOf("/proc").flatMap((pid): readonly Candidate[] => {
    const path = `/proc/${pid}/ns/net`;
    const netns = /^[0-9]+$/.test(pid) ? tryReadLink(path) : undefined;
    if (netns === undefined || seen.has(netns)) return [];
    seen.add(netns);
    return [[path, `namespace of process ${pid}`]];
  });
  return [[OWN_NETNS, "host"], ...names, ...named, ...ofProcesses];
}

const listOf = (directory: string): readonly string[] =>
  unlessErrno(["ENOENT", "EACCES"], () => listDir(directory).map(({ name }) => name)) ?? [];
const tryReadLink = (path: string): string | undefined =>
  unlessErrno(["ENOENT", "EACCES", "ESRCH"], () => readLink(path));

function openSpace(netns: Netns, id: string, name: string, owned: DisposableStack): Space {
  const isOwn = netns.path === OWN_NETNS;
  const within = <T>(work: () => T): T => (isOwn ? work() : inNetns(netns, work));
  const route = owned.use(within(() => openNetlink("route")));
  const details = new Map<number, LinkDetails | undefined>();
  return {
    id,
    name,
    netns,
    route,
    within,
    links: once(() => listLinks(route)),
    addresses: once(() => listAddresses(route)),
    rules: once(() => {
      const socket = within(openRuleSet);
      return socket && readRuleSet(owned.use(socket));
    }),
    details: (index) => remembered(details, index, () => findLinkDetails(route, index)),
    local: (family) => localRoutes(route, family),
    ipsec: once(() => within(hasIpsecPolicies)),
    services: once(() => within(hasServices)),
    sysctl: (key) => within(() => readSysctl(key)),
  };
}

/** Three lines stand above the services. */
const hasServices = (): boolean =>
  /^(?:TCP|UDP|SCTP|FWM) /m.test(unlessErrno(["ENOENT", "EACCES"], () => readText("/proc/net/ip_vs")) ?? "");

const localRoutes = (socket: NetlinkSocket, family: Family): readonly Route[] =>
  routeDump(socket, family)
    .flatMap(decodeRoutes)
    .filter((r) => r.table === RT_TABLE_LOCAL);

function once<T>(read: () => T): () => T {
  let found: { readonly value: T } | undefined;
  return () => (found ??= { value: read() }).value;
}

function remembered<K, V>(known: Map<K, V>, key: K, read: () => V): V {
  if (!known.has(key)) known.set(key, read());
  return known.get(key) as V;
}
