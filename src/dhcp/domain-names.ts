/** Domain names as DNS writes them (RFC 1035, section 3.1), in DHCP options: with compression in IPv4's (RFC 3397). */
import { malformed } from "./malformed.ts";

/** A label that a resolver's configuration may hold: letters, digits, hyphen and underscore. */
const LABEL = /^[A-Za-z0-9_-]+$/;
/** The longest name in its text form (RFC 1035, section 2.3.4). */
const NAME_CHARACTERS = 253;
/** More names than any resolver looks at. */
const NAMES = 64;

/**
 * The names in `bytes`, one after the other.
 * @throws decode/malformed if a label goes beyond the end, a pointer does not lead backwards, or a name is not one
 */
export function decodeNames(bytes: Uint8Array, what: string, compressed: boolean): readonly string[] {
  const names: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const { name, end } = readName(bytes, at, what, compressed);
    if (name !== "") names.push(name);
    if (names.length > NAMES) malformed(what, `more than ${NAMES} names`);
    at = end;
  }
  return names;
}

/** The name at `start`, and where the next one begins. */
function readName(
  bytes: Uint8Array,
  start: number,
  what: string,
  compressed: boolean,
): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let characters = 0;
  let end: number | undefined;
  // Each pointer must lead before everything that was read so far: so the walk ends.
  let floor = start;
  for (let at = start; ;) {
    const length = bytes[at] ?? malformed(what, "a name goes beyond the end");
    if (length === 0) return { name: labels.join("."), end: end ?? at + 1 };
    if (length >= 0xc0) {
      if (!compressed) malformed(what, "a name is compressed");
      const low = bytes[at + 1] ?? malformed(what, "a pointer goes beyond the end");
      const target = ((length & 0x3f) << 8) | low;
      if (target >= floor) malformed(what, "a pointer does not lead backwards");
      end ??= at + 2;
      floor = target;
      at = target;
      continue;
    }
    if (length > 63) malformed(what, `a label of type ${length >> 6}`);
    const label = bytes.subarray(at + 1, at + 1 + length);
    if (label.length < length) malformed(what, "a label goes beyond the end");
    const text = String.fromCharCode(...label);
    if (!LABEL.test(text)) malformed(what, `"${text.replaceAll(/[^\x20-\x7e]/g, "?")}" is not a label`);
    characters += length + 1;
    if (characters > NAME_CHARACTERS + 1) malformed(what, "a name is too long");
    labels.push(text);
    at += 1 + length;
  }
}

/** The uncompressed form of a name, as a server would send it. */
export function encodeName(name: string): Uint8Array {
  const parts = name.split(".").map((label) => {
    const bytes = new TextEncoder().encode(label);
    return [bytes.length, ...bytes];
  });
  return Uint8Array.from([...parts.flat(), 0]);
}

/** True for text that may stand in a resolver's configuration as a name. */
export const isName = (text: string): boolean =>
  text.length > 0 &&
  text.length <= NAME_CHARACTERS &&
  text.split(".").every((label) => label.length <= 63 && LABEL.test(label));
