/** Archives in memory, in the format of POSIX (ustar) that every runtime reads: files, directories and symbolic links. */

export type TarEntry =
  | { readonly path: string; readonly bytes: Uint8Array | string; readonly mode?: number }
  | { readonly path: string; readonly linkTo: string }
  | { readonly path: string; readonly directory: true };

const BLOCK = 512;
const text = new TextEncoder();

/** One archive; everything in it belongs to root and is as old as the epoch, so that the same content gives the same bytes. */
export function tar(entries: readonly TarEntry[]): Uint8Array<ArrayBuffer> {
  const blocks = entries.flatMap((entry) => {
    const bytes = "bytes" in entry ? contentOf(entry.bytes) : new Uint8Array();
    const padding = new Uint8Array((BLOCK - (bytes.length % BLOCK)) % BLOCK);
    return [header(entry, bytes.length), bytes, padding];
  });
  return new Uint8Array(Buffer.concat([...blocks, new Uint8Array(2 * BLOCK)]));
}

const contentOf = (content: Uint8Array | string): Uint8Array =>
  typeof content === "string" ? text.encode(content) : content;

function header(entry: TarEntry, size: number): Uint8Array {
  if (entry.path.length > 100) throw new Error(`${entry.path} is too long for the old format`);
  const [type, mode, link] =
    "directory" in entry
      ? ["5", 0o755, ""]
      : "linkTo" in entry
        ? ["2", 0o777, entry.linkTo]
        : ["0", entry.mode ?? 0o644, ""];
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, width: number): void =>
    void block.write(value.toString(8).padStart(width - 1, "0"), at);
  block.write(entry.path, 0);
  octal(mode, 100, 8);
  octal(0, 108, 8); // Owner.
  octal(0, 116, 8); // Group.
  octal(size, 124, 12);
  octal(0, 136, 12); // Time.
  block.fill(" ", 148, 156); // The sum is taken with blanks in its own place.
  block.write(type, 156);
  block.write(link, 157);
  block.write("ustar\u000000", 257);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
