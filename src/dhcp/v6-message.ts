/**
 * DHCPv6 for one non-temporary address (RFC 8415): messages, the options that count, and what an answer grants.
 * Every length is checked; an option inside an option stays inside it.
 */
import { type Ip, ipFromBytes, isLoopback, isUnspecified } from "../net/ip.ts";
import { viewOf } from "../wire/fixed.ts";
import { decodeNames } from "./domain-names.ts";
import { malformed } from "./malformed.ts";
import { FOREVER, type Terms6 } from "./model.ts";
import { renewalTimes } from "./v4-options.ts";

export const TYPE6 = {
  solicit: 1,
  advertise: 2,
  request: 3,
  renew: 5,
  rebind: 6,
  reply: 7,
  release: 8,
} as const;

export const OPTION6 = {
  clientId: 1,
  serverId: 2,
  iaNa: 3,
  iaAddress: 5,
  optionRequest: 6,
  preference: 7,
  elapsed: 8,
  statusCode: 13,
  userClass: 15,
  vendorClass: 16,
  nameservers: 23,
  domainSearch: 24,
  solMaxRt: 82,
} as const;

/** Asked for in every message. */
const REQUESTED = [OPTION6.nameservers, OPTION6.domainSearch, OPTION6.solMaxRt];

type Option6 = readonly [code: number, value: Uint8Array];

export interface Message6 {
  readonly type: number;
  /** 24 bits, chosen by the client. */
  readonly xid: number;
  readonly options: readonly Option6[];
}

/** Who asks: the client's DUID, and the number of its one identity association. */
export interface Identity6 {
  readonly duid: Uint8Array;
  readonly iaid: number;
}

/** @throws decode/malformed */
export function decode6(bytes: Uint8Array): Message6 {
  if (bytes.length < 4) malformed("DHCPv6 message", `${bytes.length} bytes are too few`);
  const head = viewOf(bytes).getUint32(0);
  return { type: head >>> 24, xid: head & 0xff_ffff, options: decodeOptions(bytes.subarray(4), "message") };
}

function decodeOptions(bytes: Uint8Array, inside: string): readonly Option6[] {
  const view = viewOf(bytes);
  const options: Option6[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + 4 > bytes.length) malformed("DHCPv6 option", `its head goes beyond the end of the ${inside}`);
    const [code, length] = [view.getUint16(at), view.getUint16(at + 2)];
    at += 4;
    if (at + length > bytes.length)
      malformed(`DHCPv6 option ${code}`, `goes beyond the end of the ${inside}`);
    options.push([code, bytes.slice(at, at + length)]);
    at += length;
  }
  return options;
}

export function encode6({ type, xid, options }: Message6): Uint8Array {
  const head = new Uint8Array(4);
  viewOf(head).setUint32(0, ((type << 24) | (xid & 0xff_ffff)) >>> 0);
  return Buffer.concat([head, ...options.map(encodeOption)]);
}

function encodeOption([code, value]: Option6): Uint8Array {
  const out = new Uint8Array(4 + value.length);
  viewOf(out).setUint16(0, code);
  viewOf(out).setUint16(2, value.length);
  out.set(value, 4);
  return out;
}

/** IA_NA (section 21.4), with the address that is asked for or given back. T1 and T2 are the server's affair. */
function iaNa(iaid: number, address: Ip | undefined): Option6 {
  // An IA address: 16 bytes, preferred and valid lifetime; zero is "as the server likes".
  const inner = address
    ? encodeOption([OPTION6.iaAddress, Buffer.concat([address.bytes, new Uint8Array(8)])])
    : [];
  const out = new Uint8Array(12 + inner.length);
  viewOf(out).setUint32(0, iaid);
  out.set(inner, 12);
  return [OPTION6.iaNa, out];
}

export interface Question6 {
  readonly type: number;
  readonly xid: number;
  readonly who: Identity6;
  readonly server?: Uint8Array;
  readonly address?: Ip;
  /** Since the first message of this exchange. */
  readonly elapsedMs: number;
  /** More options of the client, by number. */
  readonly more: readonly Option6[];
}

export function question6({ type, xid, who, server, address, elapsedMs, more }: Question6): Message6 {
  const hundredths = Math.min(0xffff, Math.max(0, Math.floor(elapsedMs / 10)));
  const requested = Uint8Array.from(REQUESTED.flatMap((code) => [code >> 8, code & 0xff]));
  return {
    type,
    xid,
    options: [
      [OPTION6.clientId, who.duid],
      ...(server ? [[OPTION6.serverId, server] as const] : []),
      iaNa(who.iaid, address),
      [OPTION6.elapsed, Uint8Array.of(hundredths >> 8, hundredths & 0xff)],
      ...(type === TYPE6.release ? [] : [[OPTION6.optionRequest, requested] as const, ...more]),
    ],
  };
}

const find = (options: readonly Option6[], code: number): Uint8Array | undefined =>
  options.find(([c]) => c === code)?.[1];

/** Names of the status codes (section 21.13). */
const STATUS: Readonly<Record<number, string>> = {
  1: "unspecified failure",
  2: "no addresses available",
  3: "the server has no binding for this client",
  4: "the address is not on this link",
  5: "the server wants to be asked by multicast",
};
const NO_BINDING = 3;

interface Status {
  readonly code: number;
  readonly why: string;
}
function statusOf(options: readonly Option6[]): Status | undefined {
  const value = find(options, OPTION6.statusCode);
  if (value === undefined) return undefined;
  if (value.length < 2) malformed("DHCPv6 option 13", "is too short");
  const code = viewOf(value).getUint16(0);
  const text = String.fromCharCode(...value.subarray(2, 202)).replaceAll(/[^\x20-\x7e]/g, "?");
  const name = STATUS[code] ?? `status ${code}`;
  return code === 0 ? undefined : { code, why: text === "" ? name : `${name} ("${text}")` };
}

/** True for a message from a server to this client with this number. */
export function isAnswer6(m: Message6, type: number, xid: number, who: Identity6): boolean {
  const client = find(m.options, OPTION6.clientId);
  return (
    m.type === type &&
    m.xid === xid &&
    client !== undefined &&
    client.toHex() === who.duid.toHex() &&
    (find(m.options, OPTION6.serverId)?.length ?? 0) > 0
  );
}

export type Answer6 =
  | { readonly kind: "granted"; readonly terms: Terms6; readonly preference: number }
  /** `forgotten`: the server does not know the lease, which is to be asked for anew. */
  | { readonly kind: "refused"; readonly why: string; readonly forgotten: boolean };

/**
 * What an ADVERTISE or a REPLY that `isAnswer6` grants. The first address of our association counts.
 * @throws decode/malformed
 */
export function answerOf(m: Message6, who: Identity6): Answer6 {
  const refused = (status: Status): Answer6 => ({
    kind: "refused",
    why: status.why,
    forgotten: status.code === NO_BINDING,
  });
  const whole = statusOf(m.options);
  if (whole) return refused(whole);
  const ia = m.options.find(
    ([code, v]) => code === OPTION6.iaNa && v.length >= 12 && viewOf(v).getUint32(0) === who.iaid,
  );
  if (ia === undefined)
    return { kind: "refused", why: "the answer has no address for this client", forgotten: false };
  const view = viewOf(ia[1]);
  const inner = decodeOptions(ia[1].subarray(12), "DHCPv6 option 3");
  const status = statusOf(inner);
  if (status) return refused(status);
  const held = inner
    .filter(([code]) => code === OPTION6.iaAddress)
    .map(([, v]) => iaAddress(v))
    .find((a) => a.validSeconds > 0);
  if (held === undefined) return { kind: "refused", why: "the answer gives no address", forgotten: false };
  // Zero leaves it to the client (section 21.4): parts of the preferred lifetime.
  const times = { t1: view.getUint32(4), t2: view.getUint32(8) };
  const preferred = held.preferredSeconds > 0 ? held.preferredSeconds : held.validSeconds;
  const usual = (part: number): number =>
    preferred === FOREVER ? part : (preferred / held.validSeconds) * part;
  const servers = find(m.options, OPTION6.nameservers);
  const names = find(m.options, OPTION6.domainSearch);
  return {
    kind: "granted",
    preference: find(m.options, OPTION6.preference)?.[0] ?? 0,
    terms: {
      family: 6,
      address: `${held.address.text}/128`,
      server: find(m.options, OPTION6.serverId)?.toHex() ?? "",
      nameservers: servers ? addresses(servers).map((a) => a.text) : [],
      search: names ? decodeNames(names, "DHCPv6 option 24", false) : [],
      leaseSeconds: held.validSeconds,
      ...renewalTimes(held.validSeconds, times.t1, times.t2, usual(0.5), usual(0.8)),
    },
  };
}

function iaAddress(v: Uint8Array): {
  readonly address: Ip;
  readonly preferredSeconds: number;
  readonly validSeconds: number;
} {
  if (v.length < 24) malformed("DHCPv6 option 5", `expected 24 bytes, got ${v.length}`);
  const view = viewOf(v);
  const address = ipFromBytes(v.subarray(0, 16));
  const first = v[0] ?? 0;
  const linkLocal = first === 0xfe && ((v[1] ?? 0) & 0xc0) === 0x80;
  const mapped = address.text.startsWith("::ffff:") && address.text.includes(".");
  if (first === 0xff || linkLocal || mapped || isUnspecified(address) || isLoopback(address))
    malformed("DHCPv6 option 5", `gives the address ${address.text}`);
  const [preferredSeconds, validSeconds] = [view.getUint32(16), view.getUint32(20)];
  if (preferredSeconds > validSeconds)
    malformed("DHCPv6 option 5", "is preferred for longer than it is valid");
  return { address, preferredSeconds, validSeconds };
}

function addresses(v: Uint8Array): readonly Ip[] {
  if (v.length === 0 || v.length % 16 !== 0) malformed("DHCPv6 option 23", `has ${v.length} bytes`);
  return Array.from({ length: v.length / 16 }, (_, i) => ipFromBytes(v.subarray(i * 16, i * 16 + 16)));
}

/** The server's identifier in a message that `isAnswer6`. */
export const serverOf6 = (m: Message6): Uint8Array => find(m.options, OPTION6.serverId) ?? new Uint8Array(0);

/**
 * The identity of a client: a DUID of type 4 (RFC 6355), whose UUID and association number are made of the client's
 * identifier. So the same attachment is the same client whenever it asks, and nothing has to be remembered.
 */
export function identityOf(clientIdHex: string): Identity6 {
  const digest = new Uint8Array(
    new Bun.CryptoHasher("sha256").update(Uint8Array.fromHex(clientIdHex)).digest(),
  );
  const uuid = digest.slice(0, 16);
  // Version 8 is for those who make a UUID by a rule of their own (RFC 9562, section 5.8).
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x80;
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  return { duid: Uint8Array.of(0, 4, ...uuid), iaid: viewOf(digest).getUint32(16) };
}
