/**
 * One entry for the system's journal by its own protocol (systemd, "Native Journal Protocol"): a datagram of fields to a
 * socket. Nothing waits for it; where there is no journal, nothing happens.
 */
import { Fd } from "./fd.ts";
import { tryCall } from "./libc.ts";

export const JOURNAL_SOCKET = "/run/systemd/journal/socket";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Longer values are cut: a datagram has to fit into the socket's buffer. */
const LONGEST = 16 * 1024;

/** Names are capital letters, digits and `_`, and begin with a letter. A field that is undefined is left out. */
export type JournalFields = Readonly<Record<string, string | number | undefined>>;

/** The datagram. A value with a line's end goes with its length before it. */
export function encodeJournal(fields: JournalFields): Uint8Array {
  const text = new TextEncoder();
  const parts = Object.entries(fields).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const bytes = text.encode(String(value)).subarray(0, LONGEST);
    if (!bytes.includes(0x0a)) return [text.encode(`${name}=`), bytes, text.encode("\n")];
    const length = new BigUint64Array([BigInt(bytes.length)]);
    return [text.encode(`${name}\n`), new Uint8Array(length.buffer), bytes, text.encode("\n")];
  });
  return Buffer.concat(parts);
}

/** Sends the entry; false if there is no journal, or it cannot take it now. */
export function sendToJournal(fields: JournalFields, path = JOURNAL_SOCKET): boolean {
  const made = tryCall((libc) => libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (typeof made === "string") return false;
  using fd = new Fd(made);
  const name = new TextEncoder().encode(`${path}\0`);
  const address = new Uint8Array(new ArrayBuffer(2 + name.length));
  address[0] = AF_UNIX;
  address.set(name, 2);
  const datagram = Uint8Array.from(encodeJournal(fields));
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  const sent = tryCall((libc) => Number(libc.sendto(fd.raw, datagram, datagram, flags, address, address)));
  return typeof sent === "number";
}
