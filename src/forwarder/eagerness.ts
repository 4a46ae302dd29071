/**
 * Whether to look for a moment longer before a worker goes to sleep. To wake takes longer than a packet that comes a moment later;
 * but to look costs a processor, which on a busy host somebody else would use, perhaps for that very packet. So each look that
 * has found nothing is followed by more rounds without one, and only what is nearly always found is looked for: the answer of a
 * host nearby, on a host that has a processor to spare.
 */

/** How long a look takes at most, in milliseconds. */
export const LOOK_MS = 0.05;
/** Rounds without a look after one that has found nothing; twice as many each time in a row, up to the most. */
const FEWEST = 16;
const MOST = 4096;

/** Kinds of rounds: something was received, something was sent; one bit each. */
const KINDS = 4;

export class Eagerness {
  /** Of each kind: rounds that are still to pass without a look, and how many are to pass after the next failure. */
  readonly #rest = new Int32Array(KINDS);
  readonly #next = new Int32Array(KINDS).fill(FEWEST);
  readonly #mayLook: boolean;

  /** Where there is one processor alone, who looks keeps it from who would send. */
  constructor(processors: number) {
    this.#mayLook = processors > 1;
  }

  /** True if it is worth looking after this round; `learn` is to hear then what came of it. */
  looks(kind: number): boolean {
    const rest = this.#rest[kind] ?? 0;
    if (rest > 0) this.#rest[kind] = rest - 1;
    return this.#mayLook && rest === 0;
  }

  learn(kind: number, isFound: boolean): void {
    const next = this.#next[kind] ?? FEWEST;
    if (!isFound) this.#rest[kind] = next;
    this.#next[kind] = isFound ? Math.max(FEWEST, next >> 1) : Math.min(MOST, next * 2);
  }
}
