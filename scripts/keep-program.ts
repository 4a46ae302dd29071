/**
 * Makes an executable keep its program when it is stripped. Bun's compiler moves the section `.bun` behind everything else and
 * leaves in its old place, 8 bytes that no section covers any more, where the program begins. `strip` fills such
 * gaps with zeros, and what is left behaves as plain Bun; so the section before it is made to end behind them.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

/** A section header of ELF for 64 bits (elf(5)), and where in the file it stands. */
interface Section {
  readonly at: number;
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly address: bigint;
  readonly offset: number;
  readonly size: number;
}

const POINTER_BYTES = 8;
/** SHF_ALLOC: the section is in the memory of the program. */
const ALLOCATED = 2;
/** SHT_NOBITS: and has nothing in the file. */
const NOT_IN_FILE = 8;

/**
 * Writes into the file, whose size stays; files of other systems than Linux are left alone.
 * @throws if it is not laid out as Bun's compiler is known to do it: then there is something to learn first
 */
export function keepProgram(path: string): void {
  const file = readFileSync(path);
  if (!file.subarray(0, 4).equals(Buffer.from("\x7fELF", "latin1"))) return;
  const sections = sectionsOf(file);
  const program = sections.find(({ name }) => name === ".bun");
  const before = sections.find(
    ({ flags, type, offset, size }) =>
      (flags & ALLOCATED) !== 0 &&
      type !== NOT_IN_FILE &&
      program?.address === file.readBigUInt64LE(upTo8(offset + size)),
  );
  if (before === undefined) throw new Error(`${path}: no section has behind it where the program begins`);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(upTo8(before.offset + before.size) + POINTER_BYTES - before.offset));
  const fd = openSync(path, "r+");
  try {
    writeSync(fd, size, 0, size.length, before.at + 32);
  } finally {
    closeSync(fd);
  }
}

const upTo8 = (n: number): number => Math.ceil(n / 8) * 8;

function sectionsOf(file: Buffer): readonly Section[] {
  const long = (at: number): number => Number(file.readBigUInt64LE(at));
  const [table, entrySize, count] = [long(40), file.readUInt16LE(58), file.readUInt16LE(60)];
  const names = long(table + file.readUInt16LE(62) * entrySize + 24);
  return Array.from({ length: count }, (_, i) => {
    const at = table + i * entrySize;
    const name = names + file.readUInt32LE(at);
    return {
      at,
      name: file.toString("latin1", name, file.indexOf(0, name)),
      type: file.readUInt32LE(at + 4),
      flags: long(at + 8),
      address: file.readBigUInt64LE(at + 16),
      offset: long(at + 24),
      size: long(at + 32),
    };
  });
}
