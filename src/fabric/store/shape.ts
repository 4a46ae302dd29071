/** Looking at parsed JSON that a store wrote: the value if it has the form, else nothing. Never throws. */

export type Members = Readonly<Record<string, unknown>>;

export const members = (value: unknown): Members | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : undefined;

/** A whole number that can be counted with, not below zero. */
export const count = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;

export const words = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

/** A list of which every item has the form. */
export function listOf<T>(value: unknown, item: (value: unknown) => T | undefined): readonly T[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const out: T[] = [];
  for (const one of value as readonly unknown[]) {
    const read = item(one);
    if (read === undefined) return undefined;
    out.push(read);
  }
  return out;
}

/** An object of which every value has the form. */
export function recordOf<T>(
  value: unknown,
  item: (value: unknown) => T | undefined,
): Readonly<Record<string, T>> | undefined {
  const all = members(value);
  if (all === undefined) return undefined;
  const values = listOf(Object.values(all), item);
  return (
    values &&
    Object.fromEntries(
      Object.keys(all).flatMap((key, i) => {
        const one = values[i];
        return one === undefined ? [] : [[key, one]];
      }),
    )
  );
}
