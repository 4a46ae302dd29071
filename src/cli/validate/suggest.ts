/** The word that somebody meant, for messages about one that is not known. */

/**
 * How many characters must be added, left out, changed or swapped with their neighbour to make one word of the other
 * (optimal string alignment).
 */
export function editDistance(a: string, b: string): number {
  let before: readonly number[] = [];
  let row: readonly number[] = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const best = Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next.push(swapped ? Math.min(best, (before[j - 2] ?? 0) + 1) : best);
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}

/** Longer words are cut off: nobody meant a key of that length, and the work grows with its square. */
const LONGEST = 64;

/** `; did you mean "…"?` with the nearest of the words, or nothing if none is near. Case does not count. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const wanted = word.toLowerCase().slice(0, LONGEST);
  let best: { readonly name: string; readonly distance: number } | undefined;
  for (const name of known) {
    const distance = editDistance(wanted, name.toLowerCase());
    // A third of the word may be wrong, and one character of a short one.
    if (distance <= Math.max(1, Math.floor(name.length / 3)) && distance < (best?.distance ?? Infinity))
      best = { name, distance };
  }
  return best === undefined ? "" : `; did you mean "${best.name}"?`;
}
