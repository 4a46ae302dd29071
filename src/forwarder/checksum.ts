/**
 * The checksum of the Internet protocols (RFC 1071): the sum of 16-bit words in one's complement. Words are in network
 * order; sums are kept below 2^32 and folded at the end.
 */

/** Folds a sum below 2^32 into 16 bits; zero only if all words were zero. */
export function fold32(sum: number): number {
  let rest = (sum & 0xffff) + (sum >>> 16);
  rest = (rest & 0xffff) + (rest >>> 16);
  return (rest & 0xffff) + (rest >>> 16);
}

/** Words that are summed before the sum is folded: the sum of so many stays below 2^31. */
const RUN_BYTES = 0x1_0000;

/**
 * The folded sum of `length` bytes from `at`; an odd one at the end is the upper half of a word. The words begin at `at`,
 * whatever its alignment.
 */
export function sumOf(view: DataView, at: number, length: number): number {
  let sum = 0;
  let from = at;
  let rest = length;
  while (rest > RUN_BYTES) {
    sum = fold32(sum + sumRun(view, from, RUN_BYTES));
    from += RUN_BYTES;
    rest -= RUN_BYTES;
  }
  return fold32(sum + sumRun(view, from, rest));
}

/** As `sumOf`, for at most `RUN_BYTES`. The halves of 32-bit words are summed apart, which no carry joins. */
function sumRun(view: DataView, at: number, length: number): number {
  let high = 0;
  let low = 0;
  const end = at + length;
  let from = at;
  for (const last = end - 16; from <= last; from += 16) {
    const a = view.getInt32(from);
    const b = view.getInt32(from + 4);
    const c = view.getInt32(from + 8);
    const d = view.getInt32(from + 12);
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
    low = (low + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0;
  }
  for (; from + 1 < end; from += 2) low = (low + view.getUint16(from)) | 0;
  if (from < end) low = (low + (view.getUint8(from) << 8)) | 0;
  return fold32(fold32(high) + fold32(low));
}

/** The sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1) of a packet whose addresses begin at `addresses`. */
export function pseudoSum(
  view: DataView,
  addresses: number,
  addressBytes: number,
  protocol: number,
  length: number,
): number {
  return fold32(sumRun(view, addresses, 2 * addressBytes) + protocol + length);
}
