/** How a kind of link writes and reads the part of a link message that is its own (`IFLA_INFO_DATA`). */
export interface LinkKind<T> {
  encode(type: T): Uint8Array;
  /** Undefined for what this release does not know, such as a mode of a later kernel. */
  decode(data: Uint8Array): T | undefined;
}

/** The name whose number this is. */
export const nameOf = <K extends string>(
  table: Readonly<Record<K, number>>,
  n: number | undefined,
): K | undefined => (Object.keys(table) as K[]).find((name) => table[name] === n);
