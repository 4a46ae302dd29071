/**
 * What a file of this folder exports: the kernel's name of an expression and its codec. `decode` leaves out what has
 * its default, because the kernel shows defaults that nobody sent; so equal expressions decode to equal values.
 * Undefined means that the bytes say more than the value can hold: the expression is then kept as opaque.
 */
export interface Expression<T> {
  readonly name: string;
  decode(b: Uint8Array): T | undefined;
  encode(value: T): Uint8Array;
}

/** The name that stands for a number in a table of numbers by name. */
export const nameOf = <N extends string>(table: Readonly<Record<N, number>>, value: number | undefined) =>
  (Object.keys(table) as N[]).find((name) => table[name] === value);
