/**
 * What is new and what is gone between two lists, by identity. Transports give the same objects for what did not change, so
 * that of thousands only the middle, between what both lists begin and end with, has to be looked at.
 */
export function delta<T extends object>(
  before: readonly T[],
  after: readonly T[],
): { readonly removed: ReadonlySet<T>; readonly added: readonly T[] } {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let end = 0;
  while (end < shorter - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const removed = new Set(before.slice(start, before.length - end));
  const rest = after.slice(start, after.length - end);
  return { removed, added: removed.size === 0 ? rest : rest.filter((one) => !removed.delete(one)) };
}
