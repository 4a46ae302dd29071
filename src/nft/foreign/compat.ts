/**
 * Matches and targets of iptables inside of nftables: what iptables-nft writes for extensions that nft has no expression for
 * (NFTA_MATCH_*, NFTA_TARGET_*; linux/netfilter/nf_tables_compat.h). The data is that of the extension's own structure in the
 * kernel's headers, in the byte order of the machine; those that firewalls of hosts with containers use are read.
 */
import { attrs, bytes, cstr, fixedAttr } from "../../wire/attrs.ts";
import { be32, viewOf } from "../../wire/fixed.ts";

export type Compat = CompatMatch | CompatTarget;

export interface CompatMatch {
  readonly kind: "match";
  readonly name: string;
  /** `unknown` matches or does not, by what nobody here can tell. */
  readonly test: MatchTest;
}
export type MatchTest =
  | { readonly is: "always" | "unknown" }
  | PortsTest
  /** Bits of the state as connection tracking shows it; translated ones beside them. */
  | { readonly is: "state"; readonly bits: number; readonly invert: boolean }
  | {
      readonly is: "address type";
      readonly source: number;
      readonly destination: number;
      readonly invertSource: boolean;
      readonly invertDestination: boolean;
    }
  | { readonly is: "mark"; readonly value: number; readonly mask: number; readonly invert: boolean };

interface PortsTest {
  readonly is: "ports";
  readonly protocols: readonly number[];
  readonly source?: Ports;
  readonly destination?: Ports;
  /** Either of the two is among them. */
  readonly either?: Ports;
}
export interface Ports {
  readonly ranges: readonly (readonly [from: number, to: number])[];
  readonly invert: boolean;
}

export interface CompatTarget {
  readonly kind: "target";
  readonly name: string;
  readonly does: TargetAction;
}
type TargetAction =
  | { readonly is: "aside" | "unknown" | "reject" | "notrack" }
  /** `random`: the port is drawn anew. */
  | { readonly is: "masquerade"; readonly random: boolean }
  /** Marks are copied from and to the connection, by rules that are not read here. */
  | { readonly is: "blur marks" }
  | { readonly is: "mark"; readonly value: number; readonly mask: number }
  | {
      readonly is: "snat" | "dnat";
      /** Sixteen bytes, of which an IPv4 address is the first four. */
      readonly address?: Uint8Array;
      readonly port?: number;
      /** It chooses among several. */
      readonly range: boolean;
      readonly random: boolean;
    };

const table = attrs("NFTA_MATCH", { name: [1, cstr], revision: [2, fixedAttr(be32)], info: [3, bytes] });
const empty = new Uint8Array(0);

const TCP = 6;
const UDP = 17;
/** Everything. */
const ALL_PORTS = 0xffff;

export function decodeMatch(raw: Uint8Array): CompatMatch {
  const { name = "", revision = 0, info = empty } = table.decode(raw);
  return { kind: "match", name, test: testOf(name, revision, info) ?? { is: "unknown" } };
}

function testOf(name: string, revision: number, info: Uint8Array): MatchTest | undefined {
  const view = viewOf(info);
  switch (name) {
    case "comment":
      return { is: "always" };
    case "tcp":
      // struct xt_tcp: two ranges of ports, option, two bytes of flags, inverted ones; only the ports are read.
      if (info.length < 12 || view.getUint8(8) !== 0 || view.getUint8(9) !== 0) return undefined;
      return pairOf([TCP], view, view.getUint8(11));
    case "udp":
      return info.length < 9 ? undefined : pairOf([UDP], view, view.getUint8(8));
    case "multiport":
      return revision === 1 && info.length >= 47 ? multiport(view) : undefined;
    case "state":
      return info.length < 4 ? undefined : { is: "state", bits: view.getUint32(0, true), invert: false };
    case "conntrack":
      return conntrack(view, revision);
    case "mark":
      if (revision !== 1 || info.length < 9) return undefined;
      return {
        is: "mark",
        value: view.getUint32(0, true),
        mask: view.getUint32(4, true),
        invert: view.getUint8(8) !== 0,
      };
    case "addrtype":
      return revision === 1 && info.length >= 8 ? addressType(view) : undefined;
    default:
      return undefined;
  }
}

/** The first bytes of struct xt_tcp and xt_udp. XT_TCP_INV_SRCPT and _DSTPT are 1 and 2 in both. */
function pairOf(protocols: readonly number[], view: DataView, inverted: number): PortsTest | undefined {
  if ((inverted & ~3) !== 0) return undefined;
  const range = (at: number, bit: number): Ports | undefined => {
    const from = view.getUint16(at, true);
    const to = view.getUint16(at + 2, true);
    return from === 0 && to === ALL_PORTS && (inverted & bit) === 0
      ? undefined
      : { ranges: [[from, to]], invert: (inverted & bit) !== 0 };
  };
  const source = range(0, 1);
  const destination = range(4, 2);
  return { is: "ports", protocols, ...(source ? { source } : {}), ...(destination ? { destination } : {}) };
}

/** struct xt_multiport_v1: flags, count, fifteen ports, which of them begin a range, invert. */
function multiport(view: DataView): PortsTest {
  const count = Math.min(15, view.getUint8(1));
  const ranges: [number, number][] = [];
  for (let i = 0; i < count; i++) {
    const from = view.getUint16(2 + i * 2, true);
    const isRange = view.getUint8(32 + i) !== 0;
    ranges.push([from, isRange ? view.getUint16(2 + ++i * 2, true) : from]);
  }
  const ports = { ranges, invert: view.getUint8(47) !== 0 };
  const which = (["source", "destination", "either"] as const)[view.getUint8(0)] ?? "either";
  return { is: "ports", protocols: [TCP, UDP, 33, 132, 136], [which]: ports };
}

/** XT_CONNTRACK_STATE and the bits of a state that connection tracking itself has. */
const CONNTRACK_STATE = 1;
const STATE_SNAT = 1 << 6;
const STATE_DNAT = 1 << 7;
/** As xt_conntrack numbers it, and as everybody else does. */
const STATE_UNTRACKED = 1 << 8;
const UNTRACKED = 1 << 6;
/** Offset of `match_flags` in struct xt_conntrack_mtinfo2 and 3: behind eight addresses, two times, a protocol, four ports. */
const MATCH_FLAGS = 8 * 16 + 2 * 4 + 5 * 2;

/** Of revisions 2 and 3, tests for the state alone. */
function conntrack(view: DataView, revision: number): MatchTest | undefined {
  if (revision < 2 || view.byteLength < MATCH_FLAGS + 8) return undefined;
  const flags = view.getUint16(MATCH_FLAGS, true);
  const invert = view.getUint16(MATCH_FLAGS + 2, true);
  const bits = view.getUint16(MATCH_FLAGS + 4, true);
  if (flags !== CONNTRACK_STATE || (bits & (STATE_SNAT | STATE_DNAT)) !== 0) return undefined;
  const untracked = (bits & STATE_UNTRACKED) === 0 ? 0 : UNTRACKED;
  return { is: "state", bits: (bits & 0x3f) | untracked, invert: (invert & CONNTRACK_STATE) !== 0 };
}

/** struct xt_addrtype_info_v1; XT_ADDRTYPE_INVERT_SOURCE and _DEST, and what limits it to one interface. */
function addressType(view: DataView): MatchTest | undefined {
  const flags = view.getUint32(4, true);
  if ((flags & ~3) !== 0) return undefined;
  return {
    is: "address type",
    source: view.getUint16(0, true),
    destination: view.getUint16(2, true),
    invertSource: (flags & 1) !== 0,
    invertDestination: (flags & 2) !== 0,
  };
}

export function decodeTarget(raw: Uint8Array): CompatTarget {
  const { name = "", revision = 0, info = empty } = table.decode(raw);
  return { kind: "target", name, does: actionOf(name, revision, info) ?? { is: "unknown" } };
}

function actionOf(name: string, revision: number, info: Uint8Array): TargetAction | undefined {
  const view = viewOf(info);
  switch (name) {
    case "LOG":
    case "NFLOG":
    case "CHECKSUM":
    case "TCPMSS":
    case "TRACE":
    case "SET":
    case "CLASSIFY":
    case "AUDIT":
      return { is: "aside" };
    case "NOTRACK":
      return { is: "notrack" };
    case "CT":
      // XT_CT_NOTRACK, the first bit of struct xt_ct_target_info; with anything else it assigns helpers and zones.
      return info.length >= 2 && view.getUint16(0, true) === 1 ? { is: "notrack" } : undefined;
    case "CONNMARK":
      return { is: "blur marks" };
    case "REJECT":
      return { is: "reject" };
    case "MASQUERADE":
      return { is: "masquerade", random: isRandom(info) };
    case "MARK":
      return revision === 2 && info.length >= 8
        ? { is: "mark", value: view.getUint32(0, true), mask: view.getUint32(4, true) }
        : undefined;
    case "DNAT":
    case "SNAT":
      return translation(name === "DNAT" ? "dnat" : "snat", revision, info);
    default:
      return undefined;
  }
}

/** NF_NAT_RANGE_MAP_IPS and _PROTO_SPECIFIED; what else there is concerns which port is chosen. */
const MAP_IPS = 1;
const PROTO_SPECIFIED = 2;
const RANDOM = (1 << 2) | (1 << 4);

/** Of MASQUERADE: a range of either form, told apart by how long it is. */
const isRandom = (info: Uint8Array): boolean =>
  info.length >= 8 && (viewOf(info).getUint32(info.length < 40 ? 4 : 0, true) & RANDOM) !== 0;

function translation(is: "snat" | "dnat", revision: number, info: Uint8Array): TargetAction | undefined {
  const view = viewOf(info);
  // Revision 0 is struct nf_nat_ipv4_multi_range_compat, of one range; the later ones struct nf_nat_range and _range2.
  const old = revision === 0 && info.length < 40;
  if (info.length < (old ? 20 : 40) || (old && view.getUint32(0, true) !== 1)) return undefined;
  const flags = view.getUint32(old ? 4 : 0, true);
  const [low, high, ports] = old ? ([8, 12, 16] as const) : ([4, 20, 36] as const);
  const address = (at: number): Uint8Array => {
    const whole = new Uint8Array(16);
    whole.set(info.subarray(at, at + (old ? 4 : 16)));
    return whole;
  };
  const port = view.getUint16(ports, false);
  const hasAddress = (flags & MAP_IPS) !== 0;
  const hasPort = (flags & PROTO_SPECIFIED) !== 0;
  const range =
    (hasAddress && Buffer.compare(address(low), address(high)) !== 0) ||
    (hasPort && view.getUint16(ports + 2, false) !== port);
  return {
    is,
    ...(hasAddress ? { address: address(low) } : {}),
    ...(hasPort ? { port } : {}),
    range,
    random: (flags & RANDOM) !== 0,
  };
}
