/** Numbers about numbers: medians, quartiles, and an order of runs that a seed repeats. */

export interface Summary {
  readonly runs: number;
  readonly lower: number;
  readonly median: number;
  readonly upper: number;
}

/** Median and quartiles, between neighbours where they do not fall on a value. Throws for no values at all. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError("nothing was measured");
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number): number => {
    const place = part * (sorted.length - 1);
    const below = sorted[Math.floor(place)] ?? 0;
    const above = sorted[Math.ceil(place)] ?? 0;
    return below + (above - below) * (place - Math.floor(place));
  };
  return { runs: sorted.length, lower: at(0.25), median: at(0.5), upper: at(0.75) };
}

/** Numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The same things in another order; every order is equally likely. */
export function shuffled<T>(things: readonly T[], random: () => number): T[] {
  const out = [...things];
  for (let last = out.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [out[last], out[other]] = [out[other] as T, out[last] as T];
  }
  return out;
}
