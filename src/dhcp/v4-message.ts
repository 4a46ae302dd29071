/**
 * DHCPv4 messages (RFC 2131, section 2): the fixed header, and options by number as bytes. What the options mean is in
 * `v4-options.ts`. Whatever comes from the network is refused unless every length is right.
 */
import { type Ip, ipFromBytes } from "../net/ip.ts";
import { type Mac, macFromBytes, macToBytes } from "../net/mac.ts";
import { be16, be32, octets, struct, u8, viewOf } from "../wire/fixed.ts";
import { malformed } from "./malformed.ts";

/** Options by number; one that came in several parts is put together (RFC 3396). */
export type Options4 = ReadonlyMap<number, Uint8Array>;

export interface Message4 {
  readonly from: "client" | "server";
  /** Chosen by the client; the server repeats it. */
  readonly xid: number;
  /** Since the client began, 0 to 65535. */
  readonly seconds: number;
  /** The client asks for answers to all, since it cannot yet receive those to an address. */
  readonly broadcast: boolean;
  /** The client's address, if it has one and answers ARP for it. */
  readonly ciaddr: Ip;
  /** The address that the server gives. */
  readonly yiaddr: Ip;
  /** The relay that the client's broadcast came through. */
  readonly giaddr: Ip;
  readonly mac: Mac;
  readonly options: Options4;
}

const header = struct("dhcp header", 236, {
  op: u8,
  htype: u8,
  hlen: u8,
  hops: u8,
  xid: be32,
  seconds: be16,
  flags: be16,
  ciaddr: octets(4),
  yiaddr: octets(4),
  siaddr: octets(4),
  giaddr: octets(4),
  chaddr: octets(16),
  sname: octets(64),
  file: octets(128),
});
const COOKIE = 0x63825363;
const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const ETHERNET = 1;
const BROADCAST = 0x8000;
const PAD = 0;
const OVERLOAD = 52;
const END = 255;
/** BOOTP relays and servers may drop what is shorter (RFC 1542, section 2.1). */
const LEAST_BYTES = 300;
/** The longest value that one option has room for; a longer one is sent in parts. */
const PART = 255;

/**
 * Reads a message.
 * @throws decode/malformed
 */
export function decode4(bytes: Uint8Array): Message4 {
  const what = "DHCP message";
  if (bytes.length < header.size + 4) malformed(what, `${bytes.length} bytes are too few`);
  const view = viewOf(bytes);
  const head = header.get(view, 0);
  if (view.getUint32(header.size) !== COOKIE) malformed(what, "has no options: the cookie is missing");
  if (head.op !== BOOTREQUEST && head.op !== BOOTREPLY) malformed(what, `op ${head.op}`);
  if (head.htype !== ETHERNET || head.hlen !== 6)
    malformed(what, `hardware type ${head.htype}, length ${head.hlen}`);
  const mac = macFromBytes(head.chaddr.subarray(0, 6));
  return {
    from: head.op === BOOTREQUEST ? "client" : "server",
    xid: head.xid,
    seconds: head.seconds,
    broadcast: (head.flags & BROADCAST) !== 0,
    ciaddr: ipFromBytes(head.ciaddr),
    yiaddr: ipFromBytes(head.yiaddr),
    giaddr: ipFromBytes(head.giaddr),
    mac: mac ?? malformed(what, "no hardware address"),
    options: decodeOptions(bytes.subarray(header.size + 4), head.file, head.sname),
  };
}

/** The options' field, and then those that went into `file` and `sname` for want of room (RFC 3396, section 5). */
function decodeOptions(field: Uint8Array, file: Uint8Array, sname: Uint8Array): Options4 {
  const parts = new Map<number, Uint8Array[]>();
  readField(field, "options", parts);
  const overload = parts.get(OVERLOAD);
  parts.delete(OVERLOAD);
  if (overload !== undefined) {
    const [value = new Uint8Array(0)] = overload;
    const where = value[0] ?? 0;
    if (overload.length !== 1 || value.length !== 1 || where < 1 || where > 3)
      malformed("DHCP option 52", "is not 1, 2 or 3");
    if ((where & 1) !== 0) readField(file, "file", parts);
    if ((where & 2) !== 0) readField(sname, "sname", parts);
  }
  return new Map([...parts].map(([code, values]) => [code, joined(values)]));
}

function readField(bytes: Uint8Array, field: string, into: Map<number, Uint8Array[]>): void {
  for (let at = 0; at < bytes.length;) {
    const code = bytes[at++] ?? END;
    if (code === PAD) continue;
    if (code === END) return;
    const length = bytes[at++];
    if (length === undefined || at + length > bytes.length)
      malformed(`DHCP option ${code}`, `goes beyond the end of ${field}`);
    // Options in `file` and `sname` that say where options are would lead in a circle.
    if (code === OVERLOAD && field !== "options") malformed("DHCP option 52", `stands in ${field}`);
    const value = bytes.slice(at, at + length);
    const values = into.get(code);
    if (values === undefined) into.set(code, [value]);
    else values.push(value);
    at += length;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : new Uint8Array(Buffer.concat(parts));
}

/** The bytes of a message, filled up to the length that old relays want. */
export function encode4(m: Message4): Uint8Array {
  const options = encodeOptions(m.options);
  const out = new Uint8Array(Math.max(LEAST_BYTES, header.size + 4 + options.length));
  const view = viewOf(out);
  const none = new Uint8Array(0);
  header.set(view, 0, {
    op: m.from === "client" ? BOOTREQUEST : BOOTREPLY,
    htype: ETHERNET,
    hlen: 6,
    hops: 0,
    xid: m.xid,
    seconds: m.seconds,
    flags: m.broadcast ? BROADCAST : 0,
    ciaddr: m.ciaddr.bytes,
    yiaddr: m.yiaddr.bytes,
    siaddr: none,
    giaddr: m.giaddr.bytes,
    chaddr: macToBytes(m.mac),
    sname: none,
    file: none,
  });
  view.setUint32(header.size, COOKIE);
  out.set(options, header.size + 4);
  return out;
}

function encodeOptions(options: Options4): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [code, value] of options) {
    for (let at = 0; at === 0 || at < value.length; at += PART) {
      const part = value.subarray(at, at + PART);
      parts.push(Uint8Array.of(code, part.length), part);
    }
  }
  parts.push(Uint8Array.of(END));
  return Buffer.concat(parts);
}
