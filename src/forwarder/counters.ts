/**
 * What each worker counts, in memory that the main thread reads while they run. Each number has one writer at a time; the
 * reader sees one a moment old.
 */

/** Packets are those of containers; datagrams are what goes over the underlay; calls are what the kernel was asked for. */
export const COUNTERS = [
  "packets",
  "bytes",
  "calls",
  /** Packets that went as part of a larger one, towards the device or from it. */
  "segments",
  "dropMalformed",
  "dropUnknown",
  "dropMulticast",
  "dropTooBig",
  "dropExpired",
  "dropCongested",
  "dropRefused",
] as const;
export type Counter = (typeof COUNTERS)[number];

export const COUNTER_BYTES: number = COUNTERS.length * Float64Array.BYTES_PER_ELEMENT;

const places = Object.fromEntries(COUNTERS.map((name, i) => [name, i])) as Readonly<Record<Counter, number>>;

/** The counters of one worker. */
export class Counters {
  readonly #numbers: Float64Array;
  constructor(memory: SharedArrayBuffer | ArrayBuffer, byteOffset = 0) {
    this.#numbers = new Float64Array(memory, byteOffset, COUNTERS.length);
  }
  add(counter: Counter, n: number): void {
    const place = places[counter];
    this.#numbers[place] = (this.#numbers[place] ?? 0) + n;
  }
  get(counter: Counter): number {
    return this.#numbers[places[counter]] ?? 0;
  }
  read(): Readonly<Record<Counter, number>> {
    return Object.fromEntries(COUNTERS.map((name, i) => [name, this.#numbers[i] ?? 0])) as Record<
      Counter,
      number
    >;
  }
}
