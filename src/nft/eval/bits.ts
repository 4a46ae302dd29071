/**
 * Bytes of which each bit is known or not, and questions about them that have three answers: yes, no, and that it cannot be
 * told. An unknown bit stands for both of its values.
 */
export interface Bits {
  /** Unknown bits are zero here. */
  readonly bytes: Uint8Array;
  /** Of each byte the bits that are known. */
  readonly known: Uint8Array;
}

/** Undefined: it cannot be told. */
export type Truth = boolean | undefined;

const map = (length: number, byte: (i: number) => number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => byte(i) & 0xff);
const at = (b: Uint8Array, i: number): number => b[i] ?? 0;

export const known = (bytes: Uint8Array): Bits => ({ bytes, known: map(bytes.length, () => 0xff) });
export const unknown = (length: number): Bits => ({
  bytes: new Uint8Array(length),
  known: new Uint8Array(length),
});

export const isKnown = (b: Bits): boolean => b.known.every((k) => k === 0xff);

/** Numbers in the byte order of this machine, as marks and states are kept, and in that of the network. */
export const host32 = (n: number): Bits => known(new Uint8Array(Uint32Array.of(n).buffer));
export const big16 = (n: number): Bits => known(Uint8Array.of(n >>> 8, n & 0xff));
export const byte = (n: number): Bits => known(Uint8Array.of(n));

/** The number that 32 bits in the byte order of this machine are; undefined if one of them is not known. */
export const asHost32 = (b: Bits): number | undefined =>
  isKnown(b) && b.bytes.length === 4
    ? new DataView(b.bytes.buffer, b.bytes.byteOffset, 4).getUint32(0, true)
    : undefined;

/** A part; what lies beyond the end is not known. */
export function slice(b: Bits, offset: number, length: number): Bits {
  return {
    bytes: map(length, (i) => at(b.bytes, offset + i)),
    known: map(length, (i) => at(b.known, offset + i)),
  };
}

/** A copy with `part` at that offset. */
export function splice(b: Bits, offset: number, part: Bits): Bits {
  const inside = (i: number): boolean => i >= offset && i < offset + part.bytes.length;
  return {
    bytes: map(b.bytes.length, (i) => (inside(i) ? at(part.bytes, i - offset) : at(b.bytes, i))),
    known: map(b.bytes.length, (i) => (inside(i) ? at(part.known, i - offset) : at(b.known, i))),
  };
}

/** `(b & mask) ^ xor`: what the mask takes away is known to be zero. */
export function maskXor(b: Bits, mask: Uint8Array, xor: Uint8Array): Bits {
  const known = map(mask.length, (i) => at(b.known, i) | ~at(mask, i));
  return {
    bytes: map(mask.length, (i) => ((at(b.bytes, i) & at(mask, i)) ^ at(xor, i)) & at(known, i)),
    known,
  };
}

/** What is known of something that is one of the two. */
export function join(a: Bits, b: Bits): Bits {
  const length = Math.max(a.bytes.length, b.bytes.length);
  const known = map(length, (i) => at(a.known, i) & at(b.known, i) & ~(at(a.bytes, i) ^ at(b.bytes, i)));
  return { bytes: map(length, (i) => at(a.bytes, i) & at(known, i)), known };
}

export const same = (a: Bits, b: Bits): boolean =>
  Buffer.compare(a.bytes, b.bytes) === 0 && Buffer.compare(a.known, b.known) === 0;

/** Whether these are the bytes; a prefix of them is compared if `bytes` are fewer. */
export function equals(b: Bits, bytes: Uint8Array): Truth {
  let sure = true;
  for (let i = 0; i < bytes.length; i++) {
    const k = at(b.known, i);
    if ((at(b.bytes, i) & k) !== (at(bytes, i) & k)) return false;
    if (k !== 0xff) sure = false;
  }
  return sure ? true : undefined;
}

/** As `memcmp` orders them: the number in the network's byte order. */
function order(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < b.length; i++) if (at(a, i) !== at(b, i)) return at(a, i) - at(b, i);
  return 0;
}
const least = (b: Bits): Uint8Array => b.bytes;
const greatest = (b: Bits): Uint8Array => map(b.bytes.length, (i) => at(b.bytes, i) | ~at(b.known, i));

export function isLess(b: Bits, bytes: Uint8Array): Truth {
  if (order(greatest(b), bytes) < 0) return true;
  return order(least(b), bytes) >= 0 ? false : undefined;
}
export function isGreater(b: Bits, bytes: Uint8Array): Truth {
  if (order(least(b), bytes) > 0) return true;
  return order(greatest(b), bytes) <= 0 ? false : undefined;
}

export const not = (t: Truth): Truth => (t === undefined ? undefined : !t);
/** True if all are, false if one is not. */
export function both(a: Truth, b: Truth): Truth {
  if (a === false || b === false) return false;
  return a === true && b === true ? true : undefined;
}

/** Whether it lies between the two, which are within. */
export const between = (b: Bits, low: Uint8Array, high: Uint8Array): Truth =>
  both(not(isLess(b, low)), not(isGreater(b, high)));
