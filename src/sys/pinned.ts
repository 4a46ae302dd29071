import { ptr } from "bun:ffi";

/**
 * Memory whose address the kernel gets inside of a structure. An address keeps nothing alive: once the engine has
 * compiled a loop that uses addresses alone, it collects what only a local name held, and the kernel writes into memory of
 * somebody else. So every block is in a list of this module until it is released.
 */
const owned = new Set<Pinned>();

/** A block of memory that stays where it is until it is released. Structures in it point at places of blocks. */
export class Pinned implements Disposable {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** Where it begins: below 2^53, as every address of a process on the machines that this runs on. */
  readonly address: number;
  readonly #low: number;
  readonly #high: number;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.address = ptr(bytes);
    this.#low = this.address | 0;
    this.#high = upperHalf(this.address);
    owned.add(this);
  }

  /** Writes at `at` the address of the place `offset` of this block. */
  point(at: number, offset: number): void {
    this.pointInto(this, at, offset);
  }

  /** Writes at `at` of this block the address of the place `offset` of `to`. */
  pointInto(to: Pinned, at: number, offset: number): void {
    this.view.setInt32(at, (to.#low + offset) | 0, true);
    this.view.setInt32(at + 4, to.#high, true);
  }

  /** The place in this block that the address at `at` of `from` points to; outside of 0 … length if it is elsewhere. */
  placeOf(from: Pinned, at: number): number {
    return from.view.getUint32(at + 4, true) * 2 ** 32 + from.view.getUint32(at, true) - this.address;
  }

  /** After this the kernel must not be given its address any more. */
  [Symbol.dispose](): void {
    owned.delete(this);
  }
}

const upperHalf = (address: number): number => Math.floor(address / 2 ** 32);

/** Makes a block of zeros, aligned to eight bytes, all of whose addresses have the same upper half. */
export function pin(size: number): Pinned {
  const length = Math.ceil(size / 8) * 8;
  const isWhole = (bytes: Uint8Array<ArrayBuffer>): boolean =>
    upperHalf(ptr(bytes)) === upperHalf(ptr(bytes) + length);
  const bytes = new Uint8Array(new ArrayBuffer(length));
  if (isWhole(bytes)) return new Pinned(bytes);
  // It crosses a border of 4 GiB; of a block twice as large one half does not.
  const twice = new ArrayBuffer(2 * length + 8);
  const first = new Uint8Array(twice, 0, length);
  return new Pinned(isWhole(first) ? first : new Uint8Array(twice, length, length));
}
