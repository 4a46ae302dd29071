/**
 * Which of the two workers reads the device. While little moves, the one that receives does: the answer to what it has just
 * written waits at the device when the write returns, and goes without another thread that wakes for it. When more moves than one
 * thread should carry, the other one takes the device, and gives it back when little moves again. Whoever gives it away has sent
 * on all that it has read, so that packets keep their order.
 */
import type { Counters } from "./counters.ts";
import type { Direction } from "./worker-protocol.ts";

/** Shared by both workers: who reads, how often much was received, and the bucket of answers. */
export const DUTY_BYTES = 32;
const HOLDER = 0;
const RECEIVED_MUCH = 1;
const BUCKET_AT = 16;
const holders: readonly Direction[] = ["receive", "send"];

export class Duty {
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #wakeOther: () => void;

  /** `memory` is of `DUTY_BYTES` zeros at first. */
  constructor(memory: SharedArrayBuffer, own: Direction, wakeOther: () => void) {
    this.#words = new Int32Array(memory, 0, 2);
    this.#own = holders.indexOf(own);
    this.#wakeOther = wakeOther;
  }

  get isMine(): boolean {
    return Atomics.load(this.#words, HOLDER) === this.#own;
  }

  /** To the other one, which is woken for it. Only by who has it, with nothing left to send. */
  give(): void {
    Atomics.store(this.#words, HOLDER, 1 - this.#own);
    this.#wakeOther();
  }

  /** The receiver's, after a round in which much moved. */
  noteMuchReceived(): void {
    Atomics.add(this.#words, RECEIVED_MUCH, 1);
  }

  /** A number that is another one after the receiver had much. */
  get muchReceived(): number {
    return Atomics.load(this.#words, RECEIVED_MUCH);
  }
}

/** What a packet counts for in bytes, beside its own: the calls for it. */
const PACKET_BYTES = 2048;
/** More than this in one round is much: one large packet, or a handful. */
const MUCH_BYTES = 16_384;

/** What was read and is not among the packets: it was work all the same. */
const DROPPED_AT_ONCE = ["dropMalformed", "dropUnknown", "dropMulticast", "dropExpired"] as const;

/** What a round of a worker has moved. */
export type Moved = "nothing" | "little" | "much";

/** Tells it from what is counted. */
export class Meter {
  readonly #counters: Counters;
  #before = 0;

  constructor(counters: Counters) {
    this.#counters = counters;
    this.#before = this.#sum();
  }

  /** Since it was asked last. */
  moved(): Moved {
    const now = this.#sum();
    const bytes = now - this.#before;
    this.#before = now;
    return bytes === 0 ? "nothing" : bytes > MUCH_BYTES ? "much" : "little";
  }

  #sum(): number {
    let packets = this.#counters.get("packets");
    for (const dropped of DROPPED_AT_ONCE) packets += this.#counters.get(dropped);
    return this.#counters.get("bytes") + PACKET_BYTES * packets;
  }
}

/** A round with much counts for two that have little; so many more of them, and two should share the work. */
const SHARE_AT = 16;

/** When the receiver should give the device away: it hears of each round in which it does both. */
export class Pressure {
  #level = 0;

  /** True if two should share the work from now on. */
  note(isMuch: boolean): boolean {
    this.#level = isMuch ? this.#level + 2 : Math.max(0, this.#level - 1);
    if (this.#level < SHARE_AT) return false;
    this.#level = 0;
    return true;
  }
}

/** So many rounds in a row with little in both directions, and one does both again. */
const CALM_ROUNDS = 64;
/** What a round counts for that had nothing: nearly always the wait before it has ended by itself. */
const IDLE_ROUNDS = 16;

/** When the sender should give the device back: it hears of each round in which it has it. */
export class Calm {
  #rounds = 0;
  #received = -1;

  /** True if one should do both again. `received` is `muchReceived`. */
  note(moved: Moved, received: number): boolean {
    if (moved === "much" || received !== this.#received) this.#rounds = 0;
    else this.#rounds += moved === "nothing" ? IDLE_ROUNDS : 1;
    this.#received = received;
    if (this.#rounds < CALM_ROUNDS) return false;
    this.#rounds = 0;
    return true;
  }
}

/** Answers a second, and how many may come at once. */
const ANSWERS = 100;
const BURST = 50;
const START = performance.timeOrigin;

/**
 * A bucket of answers that fills with time, for whoever reads the device. `now` is in milliseconds, and the same for both
 * workers.
 */
export function answerLimit(
  memory: SharedArrayBuffer,
  now: () => number = () => START + performance.now(),
): () => boolean {
  // What was taken, so that zeros are a full bucket; and since when.
  const bucket = new Float64Array(memory, BUCKET_AT, 2);
  return () => {
    const time = now();
    const refilled = (Math.max(0, time - (bucket[1] ?? 0)) / 1000) * ANSWERS;
    const taken = Math.max(0, (bucket[0] ?? 0) - refilled);
    bucket[1] = time;
    const mayAnswer = taken + 1 <= BURST;
    bucket[0] = mayAnswer ? taken + 1 : taken;
    return mayAnswer;
  };
}
