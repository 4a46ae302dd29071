import { type IpPrefix, network, width } from "../net/ip.ts";
import { dataTypes, type TypeName } from "./data-types.ts";
import type { NftFamily } from "./attrs.ts";
import type { Expr } from "./expr.ts";
import type { Rule } from "./model.ts";
import { wordsOf } from "./registers.ts";
import type { Verdict } from "./verdict.ts";

/**
 * Rules as a person writes them (`ip saddr 10.0.0.0/8 drop`), compiled to expressions exactly as nft 1.0 does it: the
 * same registers, the same tests that a field depends on. So `nft list` prints what we load as it would be typed.
 */
type Protocol = "ip" | "ip6" | "ether";
interface FieldSpec {
  readonly type: TypeName;
  readonly bytes: number;
  /** The protocol that has this field: in a family of several network protocols, nft tests for it first. */
  readonly needs?: Protocol;
  load(into: number): Expr;
}

const header = (
  type: TypeName,
  base: "link" | "network" | "transport",
  offsetBytes: number,
  needs?: Protocol,
): FieldSpec => ({
  type,
  bytes: dataTypes[type].bytes,
  ...(needs === undefined ? {} : { needs }),
  load: (into) => ({ kind: "payload", base, offsetBytes, lengthBytes: dataTypes[type].bytes, into }),
});

/** A further field is one line here; offsets are those of the headers (RFC 791, RFC 8200, IEEE 802.3). */
const fields = {
  "ip saddr": header("ipv4_addr", "network", 12, "ip"),
  "ip daddr": header("ipv4_addr", "network", 16, "ip"),
  "ip6 saddr": header("ipv6_addr", "network", 8, "ip6"),
  "ip6 daddr": header("ipv6_addr", "network", 24, "ip6"),
  "ether saddr": header("ether_addr", "link", 6, "ether"),
  "th dport": header("inet_service", "transport", 2),
  iifname: { type: "ifname", bytes: 16, load: (into) => ({ kind: "meta", key: "iifname", into }) },
  oifname: { type: "ifname", bytes: 16, load: (into) => ({ kind: "meta", key: "oifname", into }) },
  "meta l4proto": { type: "inet_proto", bytes: 1, load: (into) => ({ kind: "meta", key: "l4proto", into }) },
} as const satisfies Record<string, FieldSpec>;
export type Field = keyof typeof fields;

/** IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h) as `ct status dnat` tests it. */
const IPS_DST_NAT = 0x20;
/** RTN_LOCAL (linux/rtnetlink.h): an address of this host. */
const RTN_LOCAL = 2;
/** NFPROTO_IPV4 and _IPV6. */
const protocols = { ip: 2, ip6: 10 } as const;
/** The first register that nft gives out. */
const FIRST = 0;

export type Statement =
  | {
      readonly prefix: "ip saddr" | "ip daddr" | "ip6 saddr" | "ip6 daddr";
      readonly op: Op;
      readonly in: IpPrefix;
    }
  | { readonly ifname: "iifname" | "oifname"; readonly op: Op; readonly is: string }
  /** `meta nfproto ipv4`, in the family `inet`. */
  | { readonly nfproto: "ip" | "ip6" }
  /** `ct status dnat`: the connection's destination was translated. */
  | { readonly ctStatus: "dnat" }
  /** `fib daddr type local`: the destination is an address of this host. */
  | { readonly fibType: "local" }
  /** `a . b @set`, or with `not` `a . b != @set`. */
  | { readonly member: readonly Field[]; readonly of: string; readonly not?: true }
  | { readonly vmap: readonly Field[]; readonly map: string }
  /** `dnat ip to a . b map @name`: the data of the map is an address, with `port` an address and a port. */
  | {
      readonly nat: "dnat" | "snat";
      readonly family: "ip" | "ip6";
      readonly by: readonly Field[];
      readonly map: string;
      readonly port?: true;
    }
  | { readonly verdict: Verdict }
  /** `meta mark & mask == mark`: the packet's mark has these bits. */
  | { readonly mark: number; readonly mask: number }
  | { readonly do: "masquerade"; readonly random?: "fully" }
  | { readonly do: "counter" };
type Op = "==" | "!=";

interface Scope {
  readonly family: NftFamily;
  /** Set by the first test in a rule; nft does not repeat it. */
  protocol: "ip" | "ip6" | undefined;
  readonly out: Expr[];
}

const u32 = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);

function need(scope: Scope, protocol: Protocol | undefined): void {
  if (protocol === undefined || scope.protocol === protocol || scope.family === protocol) return;
  if (protocol === "ether" && scope.family === "bridge") return;
  if (protocol === "ether" || scope.family !== "inet" || scope.protocol !== undefined)
    throw new TypeError(`${protocol} fields do not fit into this rule of family ${scope.family}`);
  scope.protocol = protocol;
  scope.out.push(
    { kind: "meta", key: "nfproto", into: FIRST },
    { kind: "cmp", from: FIRST, op: "==", bytes: Uint8Array.of(protocols[protocol]) },
  );
}

/** Loads the fields behind one another, each at a register of its own, as the key of a set. */
function loadKey(scope: Scope, names: readonly Field[]): void {
  for (const name of names) need(scope, (fields[name] as FieldSpec).needs);
  let word = FIRST;
  for (const name of names) {
    scope.out.push(fields[name].load(word));
    word += wordsOf(fields[name].bytes);
  }
}

function comparePrefix(scope: Scope, field: keyof typeof fields, op: Op, p: IpPrefix): void {
  const { needs, load } = fields[field] as FieldSpec;
  need(scope, needs);
  const { bytes } = network(p).ip;
  if (needs !== (p.ip.family === 4 ? "ip" : "ip6")) throw new TypeError(`${field} is never ${p.text}`);
  const whole = p.bits > 0 && p.bits % 8 === 0;
  const loaded = load(FIRST);
  if (whole && loaded.kind === "payload") {
    // Whole bytes are compared without a mask: fewer are loaded.
    const lengthBytes = p.bits / 8;
    scope.out.push({ ...loaded, lengthBytes });
    scope.out.push({ kind: "cmp", from: FIRST, op, bytes: bytes.slice(0, lengthBytes) });
    return;
  }
  const mask = Uint8Array.from({ length: width(p.ip) / 8 }, (_, i) => {
    const rest = Math.min(8, Math.max(0, p.bits - i * 8));
    return (0xff << (8 - rest)) & 0xff;
  });
  scope.out.push(loaded, { kind: "bitwise", from: FIRST, into: FIRST, mask });
  scope.out.push({ kind: "cmp", from: FIRST, op, bytes });
}

function compile(scope: Scope, s: Statement): void {
  const { out } = scope;
  if ("prefix" in s) comparePrefix(scope, s.prefix, s.op, s.in);
  else if ("nfproto" in s) need(scope, s.nfproto);
  else if ("ifname" in s)
    out.push(fields[s.ifname].load(FIRST), {
      kind: "cmp",
      from: FIRST,
      op: s.op,
      bytes: dataTypes.ifname.encode(s.is),
    });
  else if ("ctStatus" in s)
    out.push(
      { kind: "ct", key: "status", into: FIRST },
      { kind: "bitwise", from: FIRST, into: FIRST, mask: u32(IPS_DST_NAT) },
      { kind: "cmp", from: FIRST, op: "!=", bytes: u32(0) },
    );
  else if ("fibType" in s)
    out.push(
      { kind: "fib", of: "daddr", result: "type", into: FIRST },
      { kind: "cmp", from: FIRST, op: "==", bytes: u32(RTN_LOCAL) },
    );
  else if ("member" in s) {
    loadKey(scope, s.member);
    out.push({ kind: "lookup", set: s.of, from: FIRST, ...(s.not ? { not: true } : {}) });
  } else if ("vmap" in s) {
    loadKey(scope, s.vmap);
    out.push({ kind: "lookup", set: s.map, from: FIRST, into: "verdict" });
  } else if ("nat" in s) {
    loadKey(scope, s.by);
    const port = FIRST + wordsOf(dataTypes[s.family === "ip" ? "ipv4_addr" : "ipv6_addr"].bytes);
    out.push(
      { kind: "lookup", set: s.map, from: FIRST, into: FIRST },
      { kind: "nat", type: s.nat, family: s.family, address: FIRST, ...(s.port ? { port } : {}) },
    );
  } else if ("verdict" in s) out.push({ kind: "immediate", verdict: s.verdict });
  else if ("mark" in s)
    out.push(
      { kind: "meta", key: "mark", into: FIRST },
      { kind: "bitwise", from: FIRST, into: FIRST, mask: u32(s.mask) },
      { kind: "cmp", from: FIRST, op: "==", bytes: u32(s.mark) },
    );
  else if (s.do === "masquerade")
    out.push({ kind: "masq", ...(s.random === undefined ? {} : { random: s.random }) });
  else out.push({ kind: "counter", packets: 0n, bytes: 0n });
}

/** Compiles one rule for a table of that family. Throws TypeError for fields that cannot stand together. */
export function rule(family: NftFamily, statements: readonly Statement[], comment?: string): Rule {
  const scope: Scope = { family, protocol: undefined, out: [] };
  for (const s of statements) compile(scope, s);
  return { expressions: scope.out, ...(comment === undefined ? {} : { comment }) };
}
