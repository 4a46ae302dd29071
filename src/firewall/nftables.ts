import { isNetError, NetError } from "../errors.ts";
import type { Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { openRuleSet } from "../nft/available.ts";
import { addElements, commit, deleteChain, deleteElements, ELEMENTS_PER_MESSAGE } from "../nft/batch.ts";
import { findChain, findElement, generation, listChains, listElements, listRules } from "../nft/list.ts";
import type { Element, SetSpec, TableRef } from "../nft/model.ts";
import { makeDirs } from "../sys/files.ts";
import { lockFile } from "../sys/flock.ts";
import type { Alive, FirewallBackend, FirewallRule, FirewallState, Mark } from "./model.ts";
import { buildGroup, buildSubnetChain, isWhole, missingFeature, verifyChain } from "./nftables-groups.ts";
import { conditionalGroup, conditionalSetsOf, conditionChains } from "./nftables-conditional.ts";
import { leftWithout } from "./nftables-ingress.ts";
import { listMarked } from "./nftables-marked.ts";
import {
  isSubnetChain,
  keyOf,
  mostRulesOf,
  plan,
  setsOf,
  sets4,
  sets6,
  showData,
  showPort,
  type Wanted,
} from "./nftables-layout.ts";
import { inetTable, type Placed } from "./nftables-parts.ts";

/**
 * The firewall by nftables over netlink: puts the layout's elements in, compares them, and takes them out by their
 * mark. Every change is one transaction, decided on what was read; when somebody else was faster, it is decided anew.
 */
export interface NftablesOptions {
  /** Where the two locks are (`portmap`, `layout`); `/run/heddle/lock` if absent. */
  readonly lockDir?: string;
}

/** Who asks for rules. */
interface Claimant {
  readonly mark: Mark;
  readonly containerId: string;
  readonly alive: Alive;
}

/** Runs `work` while no other program holds the lock; `portmap` is taken before `layout`. */
type Alone = <T>(lock: "portmap" | "layout", work: () => T) => T;

/** More than two programs in each other's way is rare; this many in a row means that something else is wrong. */
const TRIES = 10;

/** Opens a socket in the namespace that this thread is in. */
export function openNftables(options: NftablesOptions = {}): FirewallBackend & Disposable {
  const socket = openRuleSet();
  if (socket === undefined) return absent;
  const lockDir = options.lockDir ?? "/run/heddle/lock";
  const alone: Alone = (lock, work) => {
    makeDirs(lockDir, 0o700);
    using _lock = lockFile(`${lockDir}/${lock}`, "exclusive");
    return work();
  };
  // Two ADDs must not both find a port free: the one with an address, the other with every address.
  const forPorts = <T>(state: FirewallState | undefined, work: () => T): T =>
    state && !hasMappings(state) ? work() : alone("portmap", work);
  return {
    apply(state, mark, alive) {
      const wanted = plan(state.rules, mark);
      const claimant = { mark, containerId: state.containerId, alive };
      return forPorts(state, () => apply(socket, alone, wanted, claimant));
    },
    refuseTaken(state, mark, alive) {
      const mappings = plan(state.rules, mark).elements.filter((p) => p.mapping !== undefined && !p.shared);
      const claimant = { mark, containerId: state.containerId, alive };
      rivals(socket, mappings, claimant);
      withWantedKeys(socket, mappings, claimant);
    },
    verify(state, mark, alive) {
      verify(socket, plan(state.rules, mark), { mark, containerId: state.containerId, alive });
    },
    remove(mark, state) {
      const marked = (): Placed[] => listMarked(socket, (m) => m === mark);
      const planned = state && planToRemove(state, mark);
      const find = (): Placed[] => (planned && ownOf(socket, planned, mark)) ?? marked();
      // Somebody may have taken over the ports of a dead attachment, and left its chains.
      const chains = state === undefined || state.rules.some(hasConditions) ? conditionChains(mark) : [];
      forPorts(state, () => removeAll(socket, alone, find, chains));
    },
    prune(prefix, valid) {
      const stale = (m: Mark): boolean => m.startsWith(prefix) && !valid.has(m);
      alone("portmap", () => {
        removeAll(socket, alone, () => listMarked(socket, stale));
        alone("layout", () => pruneShared(socket));
      });
    },
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

const refuse = (): never => {
  throw new NetError("feature/missing", { feature: "nftables", needs: "a kernel with nf_tables" });
};
/** The backend of a kernel that cannot have any rules. */
const absent: FirewallBackend & Disposable = {
  apply: refuse,
  refuseTaken: () => {},
  verify: refuse,
  remove: () => {},
  prune: () => {},
  [Symbol.dispose]: () => {},
};

const hasMappings = (state: FirewallState): boolean => state.rules.some((r) => r.kind === "port-mapping");

const hasConditions = (rule: FirewallRule): boolean =>
  rule.kind === "port-mapping" && rule.conditions !== undefined;

/** Repeats `work` while it says that the rule set changed under it. */
function retried(work: (attempt: number) => "done" | "again"): void {
  for (let attempt = 0; attempt < TRIES; attempt++) if (work(attempt) === "done") return;
  throw new NetError("try-again", { why: `nftables: the rule set changed under it ${TRIES} times in a row` });
}

/**
 * Commits; false if it did not fit to what is in the kernel, and has to be decided anew. `decidedOn` is the generation of the
 * rule set that new chains, sets and rules were decided on: what they lean on may have been taken away since, by
 * `nft flush ruleset` for example, which the kernel refuses in the same words as what it does not know.
 */
function fits(socket: NetlinkSocket, changes: readonly Request[], decidedOn?: number): boolean {
  try {
    commit(socket, changes);
    return true;
  } catch (e) {
    if (!isNetError(e, "netlink/refused")) throw e;
    const missing = missingFeature(e.detail);
    const asDecided = decidedOn === undefined || generation(socket) === decidedOn;
    if (missing && asDecided) throw new NetError("feature/missing", missing, { cause: e });
    if (!["ENOENT", "EEXIST", "EBUSY", "ERESTART"].includes(e.detail.errno)) throw e;
    return false;
  }
}

interface SetGroup {
  readonly table: TableRef;
  readonly set: SetSpec;
  readonly members: Placed[];
}

/** Elements of one set go into one message. */
function bySet(elements: readonly Placed[]): SetGroup[] {
  const out: SetGroup[] = [];
  for (const p of elements) {
    const open = out.find((g) => g.set === p.set && g.members.length < ELEMENTS_PER_MESSAGE);
    if (open) open.members.push(p);
    else out.push({ table: p.table, set: p.set, members: [p] });
  }
  return out;
}

const additions = (elements: readonly Placed[]): Request[] =>
  bySet(elements).map(({ table, set, members }) =>
    addElements(
      table,
      set,
      members.map((p) => p.element),
      { mustBeNew: members.every((p) => !p.shared) },
    ),
  );

const deletions = (elements: readonly Placed[]): Request[] =>
  bySet(elements).map(({ table, set, members }) =>
    deleteElements(
      table,
      set,
      members.map((p) => p.element),
    ),
  );

/**
 * The first attempt supposes that nothing is in the way: a look whether the groups are whole and the subnet's chain is
 * there, and one transaction. Only when that does not fit, chains and elements are compared one by one. The look, and the
 * lock around what is shared, are worth it: a transaction that fails waits for the kernel's grace period, 10 ms and more
 * (measured), and everybody else waits with it.
 */
function apply(socket: NetlinkSocket, alone: Alone, wanted: Wanted, claimant: Claimant): readonly Mark[] {
  let holders: ReadonlyMap<Placed, Mark> = new Map();
  retried((attempt) => {
    const shared = attempt > 0 || buildShared(socket, wanted, false).length > 0;
    const put = (): boolean => {
      const decidedOn = shared ? generation(socket) : undefined;
      const building = shared ? buildShared(socket, wanted, true) : [];
      const there = shared ? inTheWay(socket, wanted.elements, claimant) : nothingThere;
      const replaced = distinct([...rivals(socket, wanted.elements, claimant), ...there.replaced]);
      ({ holders } = there);
      const added = wanted.elements.filter((p) => !holders.has(p));
      return fits(socket, [...building, ...deletions(replaced), ...additions(added)], decidedOn);
    };
    return (shared ? alone("layout", put) : put()) ? "done" : "again";
  });
  return [...new Set(holders.values())];
}

/** What is there under keys that are wanted. */
interface There {
  /** Of ourselves or of dead attachments: to be removed. */
  readonly replaced: readonly Placed[];
  /** Wanted elements whose key another attachment of the same container has, which keeps it. */
  readonly holders: ReadonlyMap<Placed, Mark>;
}
const nothingThere: There = { replaced: [], holders: new Map() };

/** The changes that make the groups and subnet chains that are missing; with `compare`, those that differ as well. */
const buildShared = (socket: NetlinkSocket, wanted: Wanted, compare: boolean): Request[] => [
  ...wanted.groups.filter((g) => !isWhole(socket, g)).flatMap((g) => buildGroup(socket, g)),
  ...wanted.chains.flatMap((c) => buildSubnetChain(socket, inetTable, c, compare)),
];

/** The same element can be in the way twice, and be deleted once. */
const distinct = (elements: readonly Placed[]): Placed[] => [
  ...new Map(elements.map((p) => [keyOf(p), p])).values(),
];

/** As `withWantedKeys`. One of our own means that this is not the first time: then whatever carries our mark goes. */
function inTheWay(socket: NetlinkSocket, elements: readonly Placed[], claimant: Claimant): There {
  const there = withWantedKeys(socket, elements, claimant);
  const { mark } = claimant;
  const again = there.replaced.some((p) => p.element.comment === mark);
  return again
    ? { ...there, replaced: [...there.replaced, ...listMarked(socket, (m) => m === mark)] }
    : there;
}

/** Throws if a live attachment of another container has a key. */
function withWantedKeys(socket: NetlinkSocket, elements: readonly Placed[], claimant: Claimant): There {
  const replaced: Placed[] = [];
  const holders = new Map<Placed, Mark>();
  for (const p of elements) {
    const found = p.shared ? undefined : findElement(socket, p.table, p.set, p.element.key);
    if (found === undefined) continue;
    const holder = liveHolder(found.comment, p, claimant);
    if (holder === undefined) replaced.push({ ...p, element: found });
    else holders.set(p, holder);
  }
  return { replaced, holders };
}

/**
 * The mark of the live attachment of the same container to which a mapping belongs; undefined if it is our own or
 * nobody's. Throws for that of anybody else.
 */
function liveHolder(owner: Mark | undefined, wanted: Placed, claimant: Claimant): Mark | undefined {
  if (owner === claimant.mark) return undefined;
  const living = owner === undefined ? undefined : claimant.alive(owner);
  if (owner !== undefined && living === undefined) return undefined;
  if (wanted.mapping && living?.containerId === claimant.containerId) return owner;
  const name = living?.name ?? "an element without an owner";
  if (wanted.mapping) throw new NetError("port/taken", { port: showPort(wanted.mapping), owner: name });
  throw new NetError("resource/exists", {
    what: `an element of ${name} for the same address`,
    where: `nftables set ${wanted.table.family} ${wanted.table.table} ${wanted.set.name}`,
  });
}

/**
 * Mappings of the same port elsewhere: a wildcard against every address that has mappings, an address against the
 * wildcard, and each against those with conditions. Returns those of dead attachments, to be removed; throws
 * `port/taken` for a live one.
 */
function rivals(socket: NetlinkSocket, elements: readonly Placed[], claimant: Claimant): Placed[] {
  if (!elements.some((p) => p.mapping)) return [];
  const conditional = findChain(socket, inetTable, conditionalGroup.witness.chain) !== undefined;
  return elements.flatMap((p) => {
    if (!p.mapping) return [];
    const { family } = p.mapping.target;
    const kinds = [setsOf(family), ...(conditional ? [conditionalSetsOf(family)] : [])];
    const port = p.element.key.slice(-2);
    const isSpecific = p.element.key.length > port.length;
    const addresses = isSpecific
      ? [p.element.key.slice(0, 1)]
      : listElements(socket, p.table, setsOf(family).hostAddresses).map(({ key }) => key);
    const places = kinds.flatMap(({ specific, wildcard }) => [
      { set: wildcard, key: port },
      ...addresses.map((address) => ({ set: specific, key: [...address, ...port] })),
    ]);
    return places.flatMap(({ set, key }) => {
      // Its own place is looked at with the others that are wanted, if that is needed at all.
      if (set === p.set) return [];
      const element = findElement(socket, p.table, set, key);
      // Our own mapping under the other key is a wish of the same configuration, and the kernel asks for addresses first.
      if (element === undefined || element.comment === claimant.mark) return [];
      // The same container's wishes stand side by side, too.
      if (liveHolder(element.comment, p, claimant) !== undefined) return [];
      return [{ table: p.table, set, element }];
    });
  });
}

/** What a state put into the kernel; undefined for one that contradicts itself, which ADD has refused. */
function planToRemove(state: FirewallState, mark: Mark): readonly Placed[] | undefined {
  try {
    return plan(state.rules, mark).elements;
  } catch (e) {
    if (isNetError(e, "config/invalid")) return undefined;
    throw e;
  }
}

/** The elements, if all of them are in the kernel under this mark: else the configuration has changed, or they went. */
function ownOf(socket: NetlinkSocket, elements: readonly Placed[], mark: Mark): Placed[] | undefined {
  const own: Placed[] = [];
  for (const p of elements) {
    if (p.shared) continue;
    const element = findElement(socket, p.table, p.set, p.element.key);
    if (element?.comment !== mark) return undefined;
    own.push({ ...p, element });
  }
  return own;
}

/**
 * Removes what `find` finds, and with the last element of a subnet its chain, unless somebody uses it again; the same
 * holds for the chains that are named. Of several who go at once each may have seen the others: the one that was last in
 * truth finds that out afterwards.
 */
function removeAll(
  socket: NetlinkSocket,
  alone: Alone,
  find: () => Placed[],
  named: readonly string[] = [],
): void {
  let found: Placed[] = [];
  retried((attempt) => {
    found = find();
    const last = attempt === 0 && unusedWithout(socket, found, named).length > 0;
    const take = (): boolean => {
      const chains = last ? unusedWithout(socket, found, named) : [];
      return fits(socket, [...deletions(found), ...chainRemovals(socket, chains)]);
    };
    return (last ? alone("layout", take) : take()) ? "done" : "again";
  });
  const chains = [...new Set([...named, ...found.flatMap(({ element }) => chainLedTo(element))])];
  const unused = (): string[] => chains.filter((chain) => isUnused(socket, chain, 0));
  // Somebody who uses it again at this moment makes the removal fail, which is right.
  if (unused().length > 0) alone("layout", () => fits(socket, chainRemovals(socket, unused())));
}

const chainLedTo = ({ data }: Element): readonly string[] =>
  typeof data === "object" && "goto" in data ? [data.goto] : [];

/** Removes chains that nothing leads to, and the shared elements that stand for them. */
function chainRemovals(socket: NetlinkSocket, chains: readonly string[]): Request[] {
  const exists = (chain: string): boolean => findChain(socket, inetTable, chain) !== undefined;
  const left = leftWithout(chains, exists).filter((p) => findElement(socket, p.table, p.set, p.element.key));
  return [...deletions(left), ...chains.map((c) => deleteChain(inetTable, c))];
}

/** Chains, of these elements or named, that nothing leads to once the elements are gone. */
function unusedWithout(
  socket: NetlinkSocket,
  elements: readonly Placed[],
  named: readonly string[],
): string[] {
  const leading = new Map<string, number>(named.map((chain) => [chain, 0]));
  for (const chain of elements.flatMap(({ element }) => chainLedTo(element)))
    leading.set(chain, (leading.get(chain) ?? 0) + 1);
  return [...leading].filter(([chain, count]) => isUnused(socket, chain, count)).map(([chain]) => chain);
}

function isUnused(socket: NetlinkSocket, chain: string, leaving: number): boolean {
  const found = findChain(socket, inetTable, chain);
  if (found === undefined) return false;
  const uses = found.uses - leaving;
  return uses <= mostRulesOf(chain) && uses === listRules(socket, inetTable, chain).length;
}

/** Removes subnet chains that nothing leads to, and host addresses without mappings. */
function pruneShared(socket: NetlinkSocket): void {
  const chains = listChains(socket, "inet").filter((c) => c.table === inetTable.table);
  for (const { chain } of chains)
    // Somebody who uses it again at this moment makes the removal fail, which is right.
    if (isSubnetChain(chain) && isUnused(socket, chain, 0)) fits(socket, chainRemovals(socket, [chain]));
  for (const { specific, hostAddresses } of [sets4, sets6]) {
    const used = new Set(listElements(socket, inetTable, specific).map((e) => showData(e.key.slice(0, 1))));
    const unused = listElements(socket, inetTable, hostAddresses).filter((e) => !used.has(showData(e.key)));
    fits(socket, deletions(unused.map((element) => ({ table: inetTable, set: hostAddresses, element }))));
  }
}

function verify(socket: NetlinkSocket, wanted: Wanted, claimant: Claimant): void {
  for (const g of wanted.groups) for (const c of g.chains) verifyChain(socket, g.table, c);
  for (const c of wanted.chains) verifyChain(socket, inetTable, c);
  for (const p of wanted.elements) verifyElement(socket, p, claimant);
}

function verifyElement(socket: NetlinkSocket, p: Placed, { mark, containerId, alive }: Claimant): void {
  const found = findElement(socket, p.table, p.set, p.element.key);
  const own = (comment: string | undefined): string => (p.shared ? "" : ` of ${comment ?? "nobody"}`);
  const wanted = showData(p.element.data) + own(mark);
  const there = found ? showData(found.data) + own(found.comment) : "nothing";
  if (there === wanted) return;
  if (p.mapping && found?.comment !== undefined && alive(found.comment)?.containerId === containerId) return;
  const where = p.mapping ? `host port ${showPort(p.mapping)}` : `element ${showData(p.element.key)}`;
  throw new NetError("check/differs", {
    what: `${where} in nftables set ${p.table.family} ${p.table.table} ${p.set.name}`,
    wanted,
    found: there,
  });
}
