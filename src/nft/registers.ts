import { fixedAttr } from "../wire/attrs.ts";
import { be32 } from "../wire/fixed.ts";

/**
 * Registers of a rule: sixteen words of four bytes (linux/netfilter/nf_tables.h, `enum nft_registers`). Above this
 * file a register is the number of its first word, 0 to 15; on the wire the first word of each group of four goes by
 * an older number, and the kernel answers with that one.
 */
const WORDS = 16;
const REG32_00 = 8;

/** Number of the word on the wire: 0, 4, 8, 12 are 1 to 4; the others count from 8. */
export function registerNumber(word: number): number {
  if (!Number.isInteger(word) || word < 0 || word >= WORDS) throw new RangeError(`no register word ${word}`);
  return word % 4 === 0 ? 1 + word / 4 : REG32_00 + word;
}

export const registerWord = (number: number): number =>
  number >= REG32_00 ? number - REG32_00 : (number - 1) * 4;

const wire = fixedAttr(be32);

/** A register attribute. */
export const register = {
  decode: (b: Uint8Array): number => registerWord(wire.decode(b)),
  encode: (word: number): Uint8Array => wire.encode(registerNumber(word)),
};

/** Words that a value of so many bytes fills. */
export const wordsOf = (bytes: number): number => Math.ceil(bytes / 4);
