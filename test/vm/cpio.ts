/**
 * Writes an archive in cpio's "newc" format, the one that the kernel unpacks as its first root file system.
 * See Documentation/driver-api/early-userspace/buffer-format.rst.
 */
export type Entry = { readonly path: string } & (
  | { readonly kind: "directory" }
  | { readonly kind: "file"; readonly bytes: Uint8Array; readonly executable?: boolean }
  | { readonly kind: "link"; readonly target: string }
);

/** File type and permissions as in `st_mode`. */
const MODE = { directory: 0o040755, file: 0o100644, executable: 0o100755, link: 0o120777 } as const;
const encoder = new TextEncoder();

/** The archive. Directories come before what is in them: the kernel makes none that is not listed. */
export function cpio(entries: readonly Entry[]): Uint8Array {
  const parts = entries.flatMap((entry, i) => member(entry.path, modeOf(entry), dataOf(entry), i + 1));
  return Buffer.concat([...parts, ...member("TRAILER!!!", 0, new Uint8Array(), 0)]);
}

function modeOf(entry: Entry): number {
  return entry.kind === "file" && entry.executable === true ? MODE.executable : MODE[entry.kind];
}

function dataOf(entry: Entry): Uint8Array {
  if (entry.kind === "directory") return new Uint8Array();
  return entry.kind === "link" ? encoder.encode(entry.target) : entry.bytes;
}

/** A header of 110 bytes, the name with its final zero, the data; name and data each filled up to four bytes. */
function member(path: string, mode: number, data: Uint8Array, inode: number): readonly Uint8Array[] {
  const name = encoder.encode(`${path}\0`);
  const [owner, group, links, modified, device, check] = [0, 0, 1, 0, 0, 0];
  const numbers = [inode, mode, owner, group, links, modified, data.length];
  const fields = [...numbers, device, device, device, device, name.length, check];
  const header = encoder.encode(`070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}`);
  return [header, name, filler(header.length + name.length), data, filler(data.length)];
}

const filler = (length: number): Uint8Array => new Uint8Array((4 - (length % 4)) % 4);
