import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { NetError } from "../errors.ts";
import type { Family } from "../net/ip.ts";
import { lockFile } from "../sys/flock.ts";
import {
  applyText,
  chainsOf,
  freshText,
  furtherNames,
  hasWords,
  isThere,
  markOf,
  natOf,
  refuseHeld,
  removalText,
  sameWords,
  type Saved,
  undoText,
} from "./iptables-plan.ts";
import {
  type FamilyRules,
  guardRules,
  type OwnedChain,
  ownedChains,
  rulesOf,
  sharedNat,
  unwritable,
  wantsGuard,
} from "./iptables-rules.ts";
import {
  applyForward,
  forwardFamilies,
  type Probe,
  removeForward,
  sweepForward,
  verifyForward,
} from "./iptables-filter.ts";
import { mayHaveChains } from "./iptables-probe.ts";
import { missing, restore, type Run, runProgram, savedTables, settle } from "./iptables-run.ts";
import type { SavedTable } from "./iptables-save.ts";
import type { Alive, FirewallBackend, FirewallState, Mark } from "./model.ts";

/**
 * The iptables backend, for hosts whose people look at `iptables-save`: chains named and shaped as the reference
 * plugins make them, each with one more rule in front, a comment that names the owner.
 *
 * A masquerade is made and removed by one process a family, a port mapping is made by two (what holds the port has
 * to be read) and removed by one. When the short way is refused, the tables are read and the same is done from what
 * is really there.
 */
export interface IptablesBackendOptions {
  /** Runs the programs; the host's own by default. */
  readonly run?: Run;
  /** Between reading the tables and changing them nobody else of ours may do so. */
  readonly lockPath?: string;
  /** Whether a family may have chains of containers, or these; false saves the process that would find none. */
  readonly probe?: Probe;
}

const FAMILIES: readonly Family[] = [4, 6];

interface LockedPrograms {
  /** Runs a program; within `locked` it holds the lock as well. */
  readonly run: Run;
  locked(work: () => void): void;
}
function lockedPrograms(options: IptablesBackendOptions): LockedPrograms {
  const program = options.run ?? runProgram;
  const lockPath = options.lockPath ?? "/run/heddle/iptables.lock";
  let held: number | undefined;
  return {
    run: (name, args, stdin) => program(name, args, stdin, held),
    locked: (work) =>
      underLock(lockPath, (fd) => {
        held = fd;
        try {
          work();
        } finally {
          held = undefined;
        }
      }),
  };
}

/** The tables of one host, read and changed by the programs. */
interface Tables {
  readonly run: Run;
  readonly probe: Probe;
}

export function openIptables(options: IptablesBackendOptions = {}): FirewallBackend {
  const { run, locked } = lockedPrograms(options);
  const tables: Tables = { run, probe: options.probe ?? mayHaveChains };
  return {
    apply(state, mark, alive) {
      const wanted = wantedFamilies(state);
      const field = unwritable(state.iptables);
      if (field !== undefined) throw new NetError("config/invalid", { field, why: "contains a line break" });
      locked(() => {
        const applied: Family[] = [];
        try {
          for (const one of wanted) {
            applyNat(tables, state, one, mark, alive);
            applied.push(one.family);
          }
          for (const one of forwardFamilies(state)) {
            applyForward(run, state, one, mark);
            applied.push(one.family);
          }
        } catch (e) {
          for (const family of applied) sweep(tables, family, (m) => m === mark);
          throw e;
        }
      });
      // Every attachment has its own chain, and the first that fits is taken.
      return [];
    },

    refuseTaken(state, mark, alive) {
      for (const { family, rules } of wantedFamilies(state)) {
        if (rules.mappings.length === 0 || !tables.probe(family)) continue;
        const saved = savedTables(run, family, "nat");
        if (saved !== undefined) refuseHeld(saved, state, rules.mappings, mark, alive);
      }
    },

    verify(state, mark) {
      for (const { family, rules } of wantedFamilies(state)) {
        const saved = savedTables(run, family, wantsGuard(rules) ? undefined : "nat");
        if (saved === undefined) throw missing(family);
        verifyFamily(saved, state, family, rules, mark);
      }
      verifyForward(run, state);
    },

    remove(mark, state) {
      const steps: readonly (() => void)[] =
        state === undefined
          ? FAMILIES.map((family) => () => sweep(tables, family, (m) => m === mark))
          : [
              ...wantedFamilies(state).map((one) => () => removeNat(tables, state, one, mark)),
              ...forwardFamilies(state).map((one) => () => removeForward(run, one, mark)),
            ];
      locked(() => eachOf(steps, (step) => step()));
    },

    prune(prefix, valid) {
      const stale = (m: Mark): boolean => m.startsWith(prefix) && !valid.has(m);
      locked(() => eachOf(FAMILIES, (family) => sweep(tables, family, stale)));
    },
  };
}

/** Removes the chains and rules of such marks from every table. */
function sweep({ run, probe }: Tables, family: Family, wanted: (mark: Mark) => boolean): void {
  sweepForward(run, family, probe, wanted);
  if (!probe(family)) return;
  settle(run, family, () => {
    const saved = savedTables(run, family, "nat");
    return saved === undefined ? "" : removalText(saved, chainsOf(natOf(saved), wanted));
  });
}

interface Wanted {
  readonly family: Family;
  readonly rules: FamilyRules;
}

function applyNat(
  { run, probe }: Tables,
  state: FirewallState,
  { family, rules }: Wanted,
  mark: Mark,
  alive: Alive,
): void {
  const further = probe(family, furtherNames(state, family, rules, mark));
  const fresh = further ? undefined : freshText(state, family, rules, mark);
  if (fresh !== undefined && restore(run, family, fresh) === undefined) return;
  settle(run, family, () => {
    const saved = savedTables(run, family, wantsGuard(rules) ? undefined : "nat");
    if (saved === undefined) throw missing(family);
    return applyText(saved, state, family, rules, mark, alive);
  });
}

function removeNat(tables: Tables, state: FirewallState, { family, rules }: Wanted, mark: Mark): void {
  // A configuration that became unusable after ADD must not keep what ADD made.
  const usable = unwritable(state.iptables) === undefined;
  const undo = usable && undoText(state, family, rules, mark);
  if (undo && restore(tables.run, family, undo) === undefined) return;
  sweep(tables, family, (m) => m === mark);
}

function underLock(path: string, work: (fd: number) => void): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  using lock = lockFile(path, "exclusive");
  work(lock.fd);
}

function wantedFamilies(state: FirewallState): Wanted[] {
  return FAMILIES.flatMap((family) => {
    const rules = rulesOf(state, family);
    return rules === undefined ? [] : [{ family, rules }];
  });
}

/** Does all of them and then throws what failed: removal does not stop in the middle. */
function eachOf<T>(items: readonly T[], work: (item: T) => void): void {
  const failed: unknown[] = [];
  for (const item of items) {
    try {
      work(item);
    } catch (e) {
      failed.push(e);
    }
  }
  if (failed.length === 1) throw failed[0];
  if (failed.length > 1) throw new AggregateError(failed, "removing rules of iptables failed");
}

const differs = (what: string, wanted: string, found: string): NetError<"check/differs"> =>
  new NetError("check/differs", { what, wanted, found });

function verifyFamily(
  saved: Saved,
  state: FirewallState,
  family: Family,
  rules: FamilyRules,
  mark: Mark,
): void {
  const nat = natOf(saved);
  const mine = chainsOf(nat, (m) => m === mark);
  // Conditions are the operator's own words, which iptables prints in its own way: what we made is compared.
  const { conditionsV4: _v4, conditionsV6: _v6, ...plain } = state.iptables ?? {};
  for (const chain of ownedChains({ ...state, iptables: plain }, family, rules))
    verifyChain(nat, mine, chain);
  const base = sharedNat(rules, plain);
  for (const rule of base.rules)
    if (!isThere(nat, rule)) throw differs(`iptables nat ${rule.chain}`, rule.words.join(" "), "nothing");
  if (!wantsGuard(rules)) return;
  const raw = saved.get("raw") ?? new Map();
  for (const rule of guardRules)
    if (!isThere(raw, rule)) throw differs(`iptables raw ${rule.chain}`, rule.words.join(" "), "nothing");
}

function verifyChain(nat: SavedTable, mine: ReadonlySet<string>, chain: OwnedChain): void {
  const isPortMap = (name: string): boolean => name.startsWith("CNI-DN-");
  const name = [...mine].find((n) => isPortMap(n) === (chain.kind === "port-map"));
  if (name === undefined) {
    const owner = markOf(nat.get(chain.name) ?? []);
    throw differs(`iptables nat chain ${chain.name}`, "there", owner ? `owned by ${owner}` : "missing");
  }
  const found = (nat.get(name) ?? []).slice(1);
  chain.rules.forEach((words, i) => {
    if (!sameWords(found[i]?.words ?? [], words))
      throw differs(`iptables nat ${name} rule ${i + 2}`, words.join(" "), found[i]?.text ?? "nothing");
  });
  const extra = found[chain.rules.length];
  if (extra !== undefined) throw differs(`iptables nat ${name}`, "no more rules", extra.text);
  for (const jump of chain.jumps) {
    const words = [...jump.words.slice(0, -1), name];
    if (!(nat.get(jump.chain) ?? []).some((rule) => hasWords(rule.words, words)))
      throw differs(`iptables nat ${jump.chain}`, words.join(" "), "nothing");
  }
}
