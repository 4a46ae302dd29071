/**
 * User data: what the kernel keeps for user space and never reads, as nft and libnftnl lay it out: a row of
 * (type, length, value) with one byte each for type and length. It carries comments, and for sets what nft needs to
 * print the elements.
 */
export type UdataEntry = readonly [type: number, value: Uint8Array];

export function encodeUdata(entries: readonly UdataEntry[]): Uint8Array {
  const out = new Uint8Array(entries.reduce((n, [, v]) => n + 2 + v.length, 0));
  let at = 0;
  for (const [type, value] of entries) {
    if (value.length > 255) throw new RangeError(`user data of ${value.length} bytes; at most 255 fit`);
    out[at] = type;
    out[at + 1] = value.length;
    out.set(value, at + 2);
    at += 2 + value.length;
  }
  return out;
}

/** Anything that is not in this layout belongs to another program and reads as no entries. */
export function decodeUdata(b: Uint8Array): UdataEntry[] {
  const entries: UdataEntry[] = [];
  for (let at = 0; at < b.length;) {
    const length = b[at + 1];
    if (length === undefined || at + 2 + length > b.length) return [];
    entries.push([b[at] ?? 0, b.subarray(at + 2, at + 2 + length)]);
    at += 2 + length;
  }
  return entries;
}

/** NFTNL_UDATA_TABLE_COMMENT, _CHAIN_COMMENT, _RULE_COMMENT and _SET_ELEM_COMMENT are all 0. */
const COMMENT = 0;
/** NFTNL_UDATA_COMMENT_MAXLEN: nft takes comments of at most 128 bytes. */
const COMMENT_BYTES = 128;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeComment(text: string): Uint8Array {
  const value = encoder.encode(`${text}\0`);
  if (value.length > COMMENT_BYTES + 1)
    throw new RangeError(`a comment has at most ${COMMENT_BYTES} bytes: ${text}`);
  return encodeUdata([[COMMENT, value]]);
}

export function decodeComment(b: Uint8Array | undefined): string | undefined {
  const entry = b && decodeUdata(b).find(([type]) => type === COMMENT);
  return entry && decoder.decode(entry[1].subarray(0, -1));
}
