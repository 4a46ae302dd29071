import { NetError } from "../errors.ts";
import type { Family, Ip } from "../net/ip.ts";
import type { Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { commit, deleteChain, deleteRules } from "../nft/batch.ts";
import type { Expr } from "../nft/expr.ts";
import { findChain, findTable, generation, listRules } from "../nft/list.ts";
import type { RuleInfo, TableRef } from "../nft/model.ts";
import { referenceForwardText } from "./iptables-forward.ts";
import { forward, masqueradeChain, portMapChain } from "./iptables-names.ts";
import { markOf, natOf, removalText } from "./iptables-plan.ts";
import { legacyLoaded, nftFamily } from "./iptables-probe.ts";
import { type Run, runProgram, save, settle, variant } from "./iptables-run.ts";
import { parseSave } from "./iptables-save.ts";
import { macCheckChain, macCheckTable, masqueradeInstance, type ReferenceOwner } from "./reference-find.ts";

/**
 * Removes what the reference plugins made for a container, so that a node can change to this program while
 * containers run. Both of their backends are looked for; what is in nftables, iptables over nftables included, is
 * found and removed by netlink, and a program is run only where the legacy tables are in use. Chains of ours have the
 * same names: they are told by their mark and left alone. Without a socket, on a kernel without nftables, only the
 * legacy tables are looked at.
 */
export interface ReferenceOptions {
  /** Runs `iptables-legacy-save` and `iptables-legacy-restore`. */
  readonly run?: Run;
  /** Whether the family has the legacy table `nat`. */
  readonly legacyNat?: (family: Family) => boolean;
}

const FAMILIES: readonly Family[] = [4, 6];
const TRIES = 10;

/** Removes the masquerade of one interface (nftables), or of the container in this network (iptables). */
export function removeReferenceMasquerade(
  socket: NetlinkSocket | undefined,
  owner: ReferenceOwner,
  options: ReferenceOptions = {},
): void {
  const instance = masqueradeInstance(owner);
  removeRules(socket, { family: "inet", table: "cni_plugins_masquerade" }, (c) => c.startsWith(instance));
  removeChains(socket, masqueradeChain(owner.network, owner.containerId), options);
}

/** Removes the check of the MAC addresses that come from one interface; the table and its base chain stay. */
export function removeReferenceMacCheck(socket: NetlinkSocket | undefined, owner: ReferenceOwner): void {
  const chain = macCheckChain(owner);
  if (socket === undefined || findChain(socket, macCheckTable, chain) === undefined) return;
  const own = [chain, `${chain}-mac`];
  transact(socket, () => [
    ...listRules(socket, macCheckTable)
      .filter((r) => !own.includes(r.chain) && r.expressions.some((e) => leadsTo(e, chain)))
      .map((r) => deleteRules(macCheckTable, r.chain, r.handle)),
    ...own.map((name) => deleteRules(macCheckTable, name)),
    ...own.map((name) => deleteChain(macCheckTable, name)),
  ]);
}

/** Whose mappings: those that lead to these addresses; absent, to any of the container's. */
type ReferenceMappings = Pick<ReferenceOwner, "network" | "containerId"> & {
  readonly addresses?: readonly Ip[];
};

/**
 * Removes the port mappings. In nftables the reference notes the container alone: its networks and interfaces are told by
 * the addresses that a rule leads to.
 */
export function removeReferencePortmap(
  socket: NetlinkSocket | undefined,
  { network, containerId, addresses }: ReferenceMappings,
  options: ReferenceOptions = {},
): void {
  const isOwn = ({ expressions }: RuleInfo): boolean =>
    addresses === undefined || addresses.some((a) => expressions.some((e) => hasAddress(e, a)));
  for (const family of FAMILIES)
    removeRules(
      socket,
      { family: nftFamily[family], table: "cni_hostport" },
      (comment, rule) => comment === containerId && isOwn(rule),
    );
  removeChains(socket, portMapChain(network, containerId), options);
}

/** Compares with the address (`ip daddr`), or loads it (`dnat to`): the value is the last that such an expression says. */
function hasAddress(e: Expr, { bytes }: Ip): boolean {
  if (e.kind === "cmp") return Buffer.compare(e.bytes, bytes) === 0;
  return (
    e.kind === "opaque" &&
    e.name === "immediate" &&
    Buffer.compare(e.bytes.subarray(-bytes.length), bytes) === 0
  );
}

/** Reads, decides and commits until nobody else changes the rule set between. */
function transact(socket: NetlinkSocket, changes: () => readonly Request[]): void {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const genid = generation(socket);
    try {
      commit(socket, changes(), genid);
      return;
    } catch (e) {
      if (!(e instanceof NetError && e.is("netlink/refused") && e.detail.errno === "ERESTART")) throw e;
    }
  }
  throw new NetError("try-again", { why: `the rule set changed ${TRIES} times in a row` });
}

function removeRules(
  socket: NetlinkSocket | undefined,
  table: TableRef,
  wanted: (comment: string, rule: RuleInfo) => boolean,
): void {
  if (socket === undefined || findTable(socket, table) === undefined) return;
  transact(socket, () =>
    listRules(socket, table)
      .filter((rule) => rule.comment !== undefined && wanted(rule.comment, rule))
      .map((rule) => deleteRules(table, rule.chain, rule.handle)),
  );
}

function removeChains(socket: NetlinkSocket | undefined, chain: string, options: ReferenceOptions): void {
  const legacyNat = options.legacyNat ?? ((family: Family) => legacyLoaded(family, "nat"));
  for (const family of FAMILIES) {
    const table: TableRef = { family: nftFamily[family], table: "nat" };
    if (socket !== undefined && findChain(socket, table, chain) !== undefined)
      transact(socket, () => chainRemoval(table, chain, listRules(socket, table)));
    if (legacyNat(family)) removeLegacy(variant(options.run ?? runProgram, "legacy"), family, chain);
  }
}

function chainRemoval(table: TableRef, chain: string, rules: readonly RuleInfo[]): Request[] {
  const first = rules.find((r) => r.chain === chain);
  // A first rule that decides nothing is the mark of a chain of ours.
  if (first !== undefined && !first.expressions.some(decides)) return [];
  return [
    ...rules
      .filter((r) => r.chain !== chain && r.expressions.some((e) => leadsTo(e, chain)))
      .map((r) => deleteRules(table, r.chain, r.handle)),
    deleteRules(table, chain),
    deleteChain(table, chain),
  ];
}

const leadsTo = (e: Expr, chain: string): boolean =>
  e.kind === "immediate" &&
  typeof e.verdict === "object" &&
  ("jump" in e.verdict ? e.verdict.jump : e.verdict.goto) === chain;

/** A verdict, or a target: iptables over nftables keeps most of its targets as one expression of that name. */
const decides = (e: Expr): boolean =>
  e.kind === "immediate" ||
  e.kind === "masq" ||
  e.kind === "nat" ||
  (e.kind === "opaque" && e.name === "target");

/** What the reference's `firewall` was told by the result before it. */
export interface ReferenceForward {
  readonly addresses: readonly Ip[];
  /** The bridge, if nobody is left on it: the reference never removes the rules of a policy. */
  readonly bridge?: string;
}

/** Removes what the reference's `firewall` made in table `filter` for these addresses, and for the bridge. */
export function removeReferenceForward(
  socket: NetlinkSocket | undefined,
  { addresses, bridge }: ReferenceForward,
  options: ReferenceOptions = {},
): void {
  const run = options.run ?? runProgram;
  for (const family of FAMILIES) {
    const own = addresses.filter((a) => a.family === family);
    if (own.length === 0 && bridge === undefined) continue;
    const table: TableRef = { family: nftFamily[family], table: "filter" };
    const inNft = [forward.accept, forward.stage1].some(
      (chain) => socket !== undefined && findChain(socket, table, chain) !== undefined,
    );
    const programs = [
      ...(inNft ? [variant(run, "nft")] : []),
      ...(legacyLoaded(family, "filter") ? [variant(run, "legacy")] : []),
    ];
    for (const program of programs)
      settle(program, family, () => {
        const saved = parseSave(save(program, family, "filter") ?? "").get("filter");
        return saved === undefined ? "" : referenceForwardText(saved, own, bridge);
      });
  }
}

function removeLegacy(run: Run, family: Family, chain: string): void {
  settle(run, family, () => {
    const text = save(run, family, "nat");
    const saved = parseSave(text ?? "");
    const rules = natOf(saved).get(chain);
    return rules === undefined || markOf(rules) !== undefined ? "" : removalText(saved, new Set([chain]));
  });
}
