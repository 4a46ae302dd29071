/**
 * Values with a fixed size on the wire. Byte order is in the name of the primitive and never a setting: netlink
 * itself speaks the host's order (little endian on every machine this program runs on), nftables and addresses
 * speak the network's.
 */
export interface Fixed<T> {
  readonly size: number;
  get(view: DataView, at: number): T;
  set(view: DataView, at: number, value: T): void;
}
export type Value<C> = C extends { get(view: DataView, at: number): infer T } ? T : never;

export const u8: Fixed<number> = {
  size: 1,
  get: (v, at) => v.getUint8(at),
  set: (v, at, x) => v.setUint8(at, x),
};
export const u16: Fixed<number> = {
  size: 2,
  get: (v, at) => v.getUint16(at, true),
  set: (v, at, x) => v.setUint16(at, x, true),
};
export const u32: Fixed<number> = {
  size: 4,
  get: (v, at) => v.getUint32(at, true),
  set: (v, at, x) => v.setUint32(at, x, true),
};
export const u64: Fixed<bigint> = {
  size: 8,
  get: (v, at) => v.getBigUint64(at, true),
  set: (v, at, x) => v.setBigUint64(at, x, true),
};
export const i16: Fixed<number> = {
  size: 2,
  get: (v, at) => v.getInt16(at, true),
  set: (v, at, x) => v.setInt16(at, x, true),
};
export const i32: Fixed<number> = {
  size: 4,
  get: (v, at) => v.getInt32(at, true),
  set: (v, at, x) => v.setInt32(at, x, true),
};
export const be16: Fixed<number> = {
  size: 2,
  get: (v, at) => v.getUint16(at),
  set: (v, at, x) => v.setUint16(at, x),
};

export const be32: Fixed<number> = {
  size: 4,
  get: (v, at) => v.getUint32(at),
  set: (v, at, x) => v.setUint32(at, x),
};
export const be64: Fixed<bigint> = {
  size: 8,
  get: (v, at) => v.getBigUint64(at),
  set: (v, at, x) => v.setBigUint64(at, x),
};

/** Bytes of a fixed number; reading copies them, writing a shorter value fills up with zeros. */
export const octets = (size: number): Fixed<Uint8Array> => ({
  size,
  get: (v, at) => new Uint8Array(v.buffer, v.byteOffset + at, size).slice(),
  set: (v, at, x) => {
    const room = new Uint8Array(v.buffer, v.byteOffset + at, size);
    room.fill(0).set(x.subarray(0, size));
  },
});

/** Reserved bytes: written as zero, never shown to callers. Name the field with a leading underscore. */
export const pad = (size: number): Fixed<undefined> => ({
  size,
  get: () => undefined,
  set: (v, at) => {
    for (let i = 0; i < size; i++) v.setUint8(at + i, 0);
  },
});

// The field types are gathered by inference, so that the bound has to admit every one of them.
// oxlint-disable-next-line no-explicit-any
type Fields = Readonly<Record<string, Fixed<any>>>;
type StructOf<F extends Fields> = {
  -readonly [K in keyof F as K extends `_${string}` ? never : K]: Value<F[K]>;
};

/** Describes a C struct. `size` is what the kernel header says; a wrong sum fails when the module loads. */
export function struct<const F extends Fields>(name: string, size: number, fields: F): Fixed<StructOf<F>> {
  let end = 0;
  const layout = Object.entries(fields).map(([key, codec]) => {
    const at = end;
    end += codec.size;
    return { key, codec: codec as Fixed<unknown>, at };
  });
  if (end !== size)
    throw new RangeError(`struct ${name}: fields add up to ${end} bytes, the kernel says ${size}`);
  return {
    size,
    get(view, base) {
      const out: Record<string, unknown> = {};
      for (const f of layout) if (!f.key.startsWith("_")) out[f.key] = f.codec.get(view, base + f.at);
      return out as StructOf<F>;
    },
    set(view, base, value) {
      for (const f of layout) f.codec.set(view, base + f.at, (value as Record<string, unknown>)[f.key]);
    },
  };
}

/** A view of exactly these bytes, whatever buffer they lie in. */
export const viewOf = (b: Uint8Array): DataView => new DataView(b.buffer, b.byteOffset, b.byteLength);

/** The bytes of one value. */
export function encodeFixed<T>(codec: Fixed<T>, value: T): Uint8Array {
  const b = new Uint8Array(codec.size);
  codec.set(viewOf(b), 0, value);
  return b;
}
