/**
 * Reads captures of real kernel messages: text files with the command that was typed, the kernel, what the bytes mean,
 * and the bytes as hexadecimal words. `#` begins a comment; `# key: value` is a fact about the capture.
 *
 *     # command: ip -4 neigh show
 *     # kernel: 6.18
 *     # expect: {"family":2,"ifindex":3}
 *     0200 0000 0300 0000 0200 0001      # ndmsg
 *
 * A new `# command:` line begins the next capture of the same file.
 */
import { readFileSync } from "node:fs";

export interface Capture {
  /** The command that produced the message. */
  readonly command: string;
  /** Every `# key: value` of the capture, the command included. */
  readonly facts: Readonly<Record<string, string>>;
  /** The JSON value after `# expect:`; undefined if there is none. */
  readonly expect: unknown;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Reads a capture file. `path` is a path or a file URL (`new URL("golden/x.txt", import.meta.url)`). */
export const readGolden = (path: string | URL): readonly Capture[] =>
  parseGolden(readFileSync(path, "utf8"), String(path));

/** As `readGolden`, from text. `where` names it in errors. */
export function parseGolden(text: string, where: string): readonly Capture[] {
  const captures: { facts: Record<string, string>; hex: string }[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const fact = /^#\s*([a-z][a-z-]*):\s*(.*?)\s*$/.exec(line);
    if (fact?.[1] === "command") captures.push({ facts: {}, hex: "" });
    const current = captures.at(-1);
    const hex = line.replace(/#.*$/, "").replaceAll(/\s/g, "");
    if (current === undefined) {
      if (hex !== "") throw new Error(`${where}:${index + 1}: bytes before the first "# command:"`);
      continue;
    }
    if (fact?.[1] !== undefined && fact[2] !== undefined) current.facts[fact[1]] = fact[2];
    if (!/^(?:[0-9a-f]{2})*$/i.test(hex)) throw new Error(`${where}:${index + 1}: not pairs of hex digits`);
    current.hex += hex;
  }
  if (captures.length === 0) throw new Error(`${where}: no capture`);
  return captures.map(({ facts, hex }) => ({
    command: facts["command"] ?? "",
    facts,
    expect: facts["expect"] === undefined ? undefined : (JSON.parse(facts["expect"]) as unknown),
    bytes: Uint8Array.fromHex(hex),
  }));
}
