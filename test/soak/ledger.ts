/** What a soak counts and what it holds against Heddle. The clock is given, so that tests need none. */
import {
  type Container,
  explains,
  type Operation,
  type Trouble,
  type TroubleName,
  wasAway,
} from "./model.ts";

/** Something that must not be, with what explains it to a person. */
export interface Violation {
  readonly atMs: number;
  readonly what: string;
  readonly detail: string;
  /** What was done before it: with the container that it names, or at all. */
  readonly before: readonly string[];
}

/** So much of what was done is told with a violation. */
const TOLD = 12;
const CONTAINER = /\bsoak-\w+-\d+\b/g;

/** Milliseconds of what succeeded, and how often it failed for a reason that is known. */
interface Tally {
  readonly ms: number[];
  explained: number;
}

export interface Ledger {
  readonly nowMs: () => number;
  /** By `start lists`, `ADD`, … */
  readonly tallies: ReadonlyMap<string, Tally>;
  readonly troubles: ReadonlyMap<TroubleName, number>;
  readonly violations: readonly Violation[];
  /** What was done, a line each, in its order. */
  readonly notes: readonly string[];
  /** How many operations have failed. */
  readonly failures: () => number;
  /** Requests that containers have answered as they should. */
  readonly answered: () => number;
  readonly addresses: AddressBook;
  note(text: string): void;
  violation(what: string, detail: string): void;
  took(what: string, ms: number): void;
  sawAnswer(): void;
  /** Counts the trouble; what it explains ends with `end`. */
  trouble(what: TroubleName, touched: Pick<Trouble, "runtimes" | "container">): { end(): void };
  begin(what: Operation["what"], of: Container): Operation;
  succeeded(operation: Operation): void;
  /** Whether a daemon of its runtime was away since the operation began. */
  wasAway(operation: Operation): boolean;
  /** Whether the failure is explained; one that is not is a violation. */
  failed(operation: Operation, words: string): boolean;
}

/** Who has which address now. */
export interface AddressBook {
  take(of: Container): void;
  giveBack(of: Container): void;
  /** How many were given, and how many different ones. */
  given(): { readonly times: number; readonly different: number };
}

const INSTANT_MS = 50;

export function ledger(nowMs: () => number): Ledger {
  const tallies = new Map<string, Tally>();
  const troubles: Trouble[] = [];
  const counts = new Map<TroubleName, number>();
  const violations: Violation[] = [];
  let [answered, failures] = [0, 0];
  const tally = (what: string): Tally => {
    const known = tallies.get(what) ?? { ms: [], explained: 0 };
    tallies.set(what, known);
    return known;
  };
  const notes: string[] = [];
  const note = (text: string): void => void notes.push(`${(nowMs() / 1e3).toFixed(3)} ${text}`);
  const violation = (what: string, detail: string): void => {
    const names: readonly string[] = `${what} ${detail}`.match(CONTAINER) ?? [];
    const about = (line: string): boolean =>
      names.length === 0 ||
      /^\S+ (?:daemon|rules|heddle)/.test(line) ||
      (line.match(CONTAINER) ?? []).some((name) => names.includes(name));
    violations.push({ atMs: nowMs(), what, detail, before: notes.filter(about).slice(-TOLD) });
    note(`VIOLATION ${what}`);
  };
  return {
    nowMs,
    tallies,
    troubles: counts,
    violations,
    notes,
    note,
    answered: () => answered,
    addresses: addressBook(violation),
    violation,
    took: (what, ms) => void tally(what).ms.push(ms),
    sawAnswer: () => void answered++,
    trouble: (what, touched) => {
      const one: Trouble = { what, ...touched, fromMs: nowMs(), toMs: undefined };
      troubles.push(one);
      note(`${what}: ${touched.container ?? touched.runtimes.join(", ")}`);
      counts.set(what, (counts.get(what) ?? 0) + 1);
      const end = (): void => {
        one.toMs = nowMs();
        if (one.toMs > one.fromMs + INSTANT_MS) note(`${what}: over`);
      };
      return { end };
    },
    begin: (what, { runtime, name, port }) => {
      note(`${what} ${name}${port === undefined ? "" : ` with port ${port}`}`);
      return { what, runtime, container: name, fromMs: nowMs() };
    },
    succeeded: ({ what, runtime, container, fromMs }) => {
      tally(`${what} ${runtime}`).ms.push(nowMs() - fromMs);
      note(`${what} ${container}: done`);
    },
    wasAway: (operation) => troubles.some((t) => wasAway(t, operation)),
    failures: () => failures,
    failed: (operation, words) => {
      failures++;
      const now = nowMs();
      if (troubles.some((t) => explains(t, operation, now, words))) {
        tally(`${operation.what} ${operation.runtime}`).explained++;
        note(`${operation.what} ${operation.container} failed: ${words.trim()}`);
        return true;
      }
      violation(`${operation.what} of ${operation.container} failed and nothing explains it`, words);
      return false;
    },
  };
}

function addressBook(violation: Ledger["violation"]): AddressBook {
  const holders = new Map<string, Container>();
  const ever = new Set<string>();
  let times = 0;
  return {
    take: (of) => {
      for (const address of of.started?.addresses ?? []) {
        const other = holders.get(address);
        if (other !== undefined)
          violation("an address was given twice", `${address} to ${other.name} and to ${of.name}`);
        holders.set(address, of);
        ever.add(address);
        times++;
      }
    },
    giveBack: (of) => {
      for (const [address, holder] of holders) if (holder === of) holders.delete(address);
    },
    given: () => ({ times, different: ever.size }),
  };
}
