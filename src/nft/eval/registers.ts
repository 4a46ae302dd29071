/** What an expression puts into a register: known, partly known, or nothing, which ends the rule. */
import type { Family } from "../../net/ip.ts";
import type { CtKey, Instruction, MetaKey } from "../foreign/instruction.ts";
import { big16, type Bits, byte, host32, known, slice, unknown } from "./bits.ts";
import { familyOf } from "./packet.ts";
import type { Environment, Interface, State, Tracked, Tuple } from "./state.ts";

/** `absent`: the packet has no such thing and the rule ends. `maybe`: if it has, its value is not known. */
export type Loaded = Bits | "absent" | "maybe";

type Of<K extends Instruction["kind"]> = Extract<Instruction, { kind: K }>;

const encoder = new TextEncoder();
const IFNAMSIZ = 16;

export function nameBits(name: string): Bits {
  const padded = new Uint8Array(IFNAMSIZ);
  padded.set(encoder.encode(name).subarray(0, IFNAMSIZ - 1));
  return known(padded);
}

export function loadPayload(e: Of<"payload">, { packet }: State): Loaded {
  const header = {
    link: packet.link,
    network: packet.network,
    transport: packet.transport,
    inner: undefined,
  }[e.base];
  if (e.base === "inner") return "maybe";
  if (header === undefined) return "absent";
  return slice(header, e.offsetBytes, e.lengthBytes);
}

const indexBits = (i: Interface | undefined): Bits => host32(i?.index ?? 0);

type MetaValue = (state: State, env: Environment) => Loaded;
/** What comes from elsewhere has no socket. */
const owner: MetaValue = (_, { hook }) => (hook === "prerouting" || hook === "forward" ? "absent" : "maybe");
const bridgeName = (name: string | undefined): Loaded => (name === undefined ? "absent" : nameBits(name));

/** What is known of a packet beside its bytes; of what is not here nothing is. */
const metas: { readonly [K in MetaKey]?: MetaValue } = {
  protocol: ({ packet }) => big16(packet.etherType),
  nfproto: (_, { nfproto }) => byte(nfproto),
  l4proto: ({ packet }) => (packet.protocol === undefined ? "absent" : byte(packet.protocol)),
  mark: ({ mark }) => mark,
  iif: (_, { iif }) => indexBits(iif),
  oif: (_, { oif }) => indexBits(oif),
  iifname: (_, { iif }) => nameBits(iif?.name ?? ""),
  oifname: (_, { oif }) => nameBits(oif?.name ?? ""),
  ibrname: (_, { bridge }) => bridgeName(bridge?.in),
  obrname: (_, { bridge }) => bridgeName(bridge?.out),
  pkttype: (_, { packetType }) => (packetType === undefined ? unknown(1) : byte(packetType)),
  ipsec: () => byte(0),
  skuid: owner,
  skgid: owner,
};
export const loadMeta = ({ key }: Of<"meta">, state: State, env: Environment): Loaded =>
  metas[key]?.(state, env) ?? "maybe";

/** What `ct state` is without a connection (nf_conntrack_common.h). */
const INVALID = 1;
const UNTRACKED = 1 << 6;

type CtValue = (ct: Tracked, tuple: Tuple, state: State) => Loaded;
const address =
  (which: "source" | "destination", wanted?: Family): CtValue =>
  (_, tuple, { packet }) =>
    wanted === undefined || wanted === familyOf(packet) ? tuple[which] : "absent";

/** What is known of a connection; of what is not here nothing is. */
const tracked: { readonly [K in CtKey]?: CtValue } = {
  state: (ct) => ct.state,
  status: (ct) => ct.status,
  mark: (_, __, { ctMark }) => ctMark,
  direction: ({ direction }) => byte(direction === "reply" ? 1 : 0),
  protocol: (_, __, { packet }) => (packet.protocol === undefined ? "maybe" : byte(packet.protocol)),
  l3proto: (_, __, { packet }) => byte(familyOf(packet) === 6 ? 10 : 2),
  saddr: address("source"),
  daddr: address("destination"),
  "ip saddr": address("source", 4),
  "ip daddr": address("destination", 4),
  "ip6 saddr": address("source", 6),
  "ip6 daddr": address("destination", 6),
  "proto-src": (_, tuple) => tuple.sourcePort ?? "maybe",
  "proto-dst": (_, tuple) => tuple.destinationPort ?? "maybe",
};

export function loadCt(e: Of<"ct">, state: State, env: Environment): Loaded {
  if (state.untracked === undefined || env.ct === "unknown") return "maybe";
  const ct = state.untracked ? undefined : env.ct;
  if (ct === undefined) return e.key === "state" ? host32(state.untracked ? UNTRACKED : INVALID) : "absent";
  return tracked[e.key]?.(ct, ct[e.direction ?? "original"], state) ?? "maybe";
}

export function loadFib(e: Of<"fib">, { packet }: State, env: Environment): Loaded {
  const answer = env.fib({ of: e.of, result: e.result, flags: e.flags ?? 0 }, packet);
  return answer ?? "maybe";
}
