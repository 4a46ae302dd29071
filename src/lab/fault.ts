/**
 * What is broken on purpose. The list of faults in the state file is the truth; `apply` makes the router so: cables pulled or
 * plugged in, delays, losses, and rules that drop what crosses a partition. Hosts know nothing of it.
 */
import { NetError } from "../errors.ts";
import { hostPrefix, type Ip } from "../net/ip.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { addChain, addRule, addTable, commit, deleteTable } from "../nft/batch.ts";
import type { TableRef } from "../nft/model.ts";
import { rule, type Statement } from "../nft/statement.ts";
import type { Request } from "../netlink/message.ts";
import { listAddresses, removeAddress } from "../rtnl/address.ts";
import { findLink, getLink, setLink } from "../rtnl/link.ts";
import { removeNetem, setNetem } from "../rtnl/netem.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import type { Fault, LabState } from "./model.ts";
import { labPaths } from "./paths.ts";
import { requireHost, writeState } from "./state.ts";
import { type HostPlan, nextNumber, planUnderlay, ROUTER, type Underlay, UPLINK } from "./underlay.ts";
import { giveAddresses, waitUntilPassing } from "./wire.ts";

const namesOf = (underlay: Underlay): readonly string[] => underlay.hosts.map(({ name }) => name);

/** The hosts that a fault is about. */
const hostsOf = (fault: Fault): readonly string[] =>
  fault.kind === "partition" ? [...fault.one, ...fault.other] : [fault.host];

/** One fault of a kind for each host; partitions add up. */
const isReplacedBy = (old: Fault, by: Fault): boolean =>
  old.kind === by.kind && old.kind !== "partition" && by.kind !== "partition" && old.host === by.host;

/** Adds a fault and returns the new state. @throws usage/invalid, feature/missing */
export function addFault(state: LabState, fault: Fault): LabState {
  const names = namesOf(planUnderlay(state));
  for (const host of hostsOf(fault)) requireHost(state, host, names);
  if (fault.kind === "partition") {
    const both = fault.one.find((host) => fault.other.includes(host));
    if (both !== undefined || fault.one.length === 0 || fault.other.length === 0)
      throw new NetError("usage/invalid", {
        why: both === undefined ? "a partition has hosts on both sides" : `"${both}" cannot be on both sides`,
      });
  }
  const faults = [...state.faults.filter((old) => !isReplacedBy(old, fault)), fault];
  return changeTo(state, { ...state, faults });
}

/** Mends everything, or what one host is part of. */
export function heal(state: LabState, host?: string): LabState {
  if (host !== undefined) requireHost(state, host, namesOf(planUnderlay(state)));
  const faults = host === undefined ? [] : state.faults.filter((fault) => !hostsOf(fault).includes(host));
  return changeTo(state, { ...state, faults });
}

/** What cannot be done is not kept: the state file says what is so. */
function changeTo(before: LabState, after: LabState): LabState {
  writeState(after);
  try {
    apply(after);
  } catch (e) {
    writeState(before);
    apply(before);
    throw e;
  }
  return after;
}

/** Gives a host other addresses, as a new lease of DHCP would; returns the new state. */
export function moveAddress(state: LabState, host: string): LabState {
  const before = planUnderlay(state);
  requireHost(state, host, namesOf(before));
  const number = nextNumber(state.moved);
  if (number === undefined)
    throw new NetError("ipam/exhausted", { pool: "addresses that hosts can move to" });
  const after: LabState = { ...state, moved: { ...state.moved, [host]: number } };
  writeState(after);
  const underlay = planUnderlay(after);
  const plan = underlay.hosts.find(({ name }) => name === host) as HostPlan;
  using netns = openNetns(labPaths(state.spec.name).host(host).net);
  using socket = inNetns(netns, () => openNetlink("route"));
  const { index } = getLink(socket, { name: UPLINK });
  const old = listAddresses(socket, index).filter((a) => !a.linkLocal);
  // With the last address of a subnet its routes go, those to gateways in it too.
  for (const { prefix } of old) removeAddress(socket, index, prefix);
  giveAddresses(socket, plan, underlay.families);
  // Partitions go by addresses.
  apply(after);
  return after;
}

/** Makes the router as the list of faults wants it. Done twice, it changes nothing. */
export function apply(state: LabState): void {
  const underlay = planUnderlay(state);
  using netns = openNetns(labPaths(state.spec.name).host(ROUTER).net);
  using route = inNetns(netns, () => openNetlink("route"));
  for (const host of underlay.hosts) applyToPort(route, host, state.faults);
  using nft = inNetns(netns, () => openNetlink("netfilter"));
  const rules = planPartitions(underlay, state.faults);
  for (const [table, chain] of [
    [BRIDGE, rules.bridge],
    [INET, rules.inet],
  ] as const)
    commit(nft, replaceTable(table, chain));
}

function applyToPort(route: NetlinkSocket, { name, port }: HostPlan, faults: readonly Fault[]): void {
  const link = findLink(route, { name: port });
  // The host has removed its end of the cable, and so both.
  if (link === undefined) return;
  const own = faults.filter((fault) => fault.kind !== "partition" && fault.host === name);
  const up = !own.some(({ kind }) => kind === "cut");
  if (link.up !== up) setLink(route, { index: link.index }, { up });
  if (up && !link.up) waitUntilPassing(route, port);
  const delayMs = own.find((fault) => fault.kind === "delay")?.delayMs ?? 0;
  const lossPercent = own.find((fault) => fault.kind === "loss")?.percent ?? 0;
  if (delayMs > 0 || lossPercent > 0) setNetem(route, link.index, { delayMs, lossPercent });
  else removeNetem(route, link.index);
}

type Rules = readonly (readonly Statement[])[];

/**
 * The rules of all partitions. Hosts of one subnet meet on its bridge, where ports tell them apart; hosts of two meet where the
 * router forwards, and there addresses do.
 */
export function planPartitions(
  underlay: Underlay,
  faults: readonly Fault[],
): { readonly bridge: Rules; readonly inet: Rules } {
  const planOf = (host: string): HostPlan | undefined => underlay.hosts.find(({ name }) => name === host);
  type Pair = readonly [from: HostPlan, to: HostPlan];
  const pairs = faults.flatMap((fault): readonly Pair[] => {
    if (fault.kind !== "partition") return [];
    return fault.one.flatMap((a) =>
      fault.other.flatMap((b): readonly Pair[] => {
        const [one, other] = [planOf(a), planOf(b)];
        return one && other
          ? [
              [one, other],
              [other, one],
            ]
          : [];
      }),
    );
  });
  const same = ([from, to]: Pair): boolean => from.subnet === to.subnet;
  return {
    bridge: pairs
      .filter(same)
      .map(([from, to]) => [
        { ifname: "iifname", op: "==", is: from.port },
        { ifname: "oifname", op: "==", is: to.port },
        ...DROP,
      ]),
    inet: pairs
      .filter((pair) => !same(pair))
      .flatMap(([from, to]) => underlay.families.map((family) => between(from, to, family))),
  };
}

const DROP: readonly Statement[] = [{ do: "counter" }, { verdict: "drop" }];

function between(from: HostPlan, to: HostPlan, family: Ip["family"]): readonly Statement[] {
  const own = ({ addresses }: HostPlan): Ip => {
    const found = addresses.find((p) => p.ip.family === family);
    if (found === undefined) throw new TypeError(`a host without an address of IPv${family}`);
    return found.ip;
  };
  const protocol = family === 4 ? "ip" : "ip6";
  return [
    { prefix: `${protocol} saddr`, op: "==", in: hostPrefix(own(from)) },
    { prefix: `${protocol} daddr`, op: "==", in: hostPrefix(own(to)) },
    ...DROP,
  ];
}

const BRIDGE: TableRef = { family: "bridge", table: "lab" };
const INET: TableRef = { family: "inet", table: "lab" };
/**
 * NF_BR_PRI_FILTER_BRIDGED, before br_netfilter: it takes packets of IP out of the bridge's hooks, and chains of priority 0 are
 * skipped when it gives them back (seen with Linux 6.1, not with 6.18).
 */
const PRIORITY = -200;

/** In one transaction, so that nothing passes between the old rules and the new ones. */
const replaceTable = (table: TableRef, rules: Rules): readonly Request[] => [
  addTable(table),
  deleteTable(table),
  ...(rules.length === 0
    ? []
    : [
        addTable(table),
        addChain(table, {
          name: "forward",
          base: { type: "filter", hook: "forward", priority: PRIORITY, policy: "accept" },
        }),
        ...rules.map((statements) => addRule(table, "forward", rule(table.family, statements))),
      ]),
];
