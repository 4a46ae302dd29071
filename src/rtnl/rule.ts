import { type Family, type Ip, ipFromBytes, type IpPrefix, network, prefix } from "../net/ip.ts";
import { type Message, NLM_F, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, cstr, fixedAttr } from "../wire/attrs.ts";
import { pad, struct, u32, u8, viewOf } from "../wire/fixed.ts";

/**
 * Routing rules: which table a packet's route is looked up in (`struct fib_rule_hdr` and FRA_*, linux/fib_rules.h).
 * Only rules that lead to a table are made; every other one is listed with its action.
 */
const RTM = { NEWRULE: 32, DELRULE: 33, GETRULE: 34 } as const;
const header = struct("fib_rule_hdr", 12, {
  family: u8,
  dstBits: u8,
  srcBits: u8,
  tos: u8,
  table: u8,
  _reserved: pad(2),
  action: u8,
  flags: u32,
});
export const ruleAttrs = attrs("FRA", {
  dst: [1, bytes],
  src: [2, bytes],
  iif: [3, cstr],
  priority: [6, fixedAttr(u32)],
  mark: [10, fixedAttr(u32)],
  suppressPrefixBits: [14, fixedAttr(u32)],
  table: [15, fixedAttr(u32)],
  markMask: [16, fixedAttr(u32)],
  oif: [17, cstr],
  protocol: [21, fixedAttr(u8)],
});

/** FR_ACT_TO_TBL; the others block or leap. */
export const TO_TABLE = 1;
/** FIB_RULE_INVERT: the rule is for what does not match. */
const INVERT = 0x2;
/** AF_INET and AF_INET6 (linux/socket.h). */
const AF = { 4: 2, 6: 10 } as const;

export interface RoutingRule {
  readonly family: Family;
  /** Rules are tried from the lowest number up. The kernel's own are 0, 32766 and 32767. */
  readonly priority: number;
  readonly table: number;
  readonly src?: IpPrefix;
  readonly dst?: IpPrefix;
  /** Packet mark under `mask`; all 32 bits if there is no mask. */
  readonly mark?: { readonly value: number; readonly mask?: number };
  /** Names of the interfaces that the packet came in by and goes out by; they need not exist. */
  readonly iif?: string;
  readonly oif?: string;
  readonly invert?: true;
  /** Who made it (RTPROT_*, linux/rtnetlink.h). Zero is unknown, 2 the kernel, 3 a person. */
  readonly protocol?: number;
  /** FR_ACT_*, only on rules that were read; absent for those that lead to a table. */
  readonly action?: number;
}

const prefixOf = (address: Uint8Array | undefined, bits: number): IpPrefix | undefined =>
  address === undefined ? undefined : prefix(ipFromBytes(address), bits);

/** Reads one RTM_NEWRULE message. */
export function decodeRule(m: Pick<Message, "body">): RoutingRule {
  const head = header.get(viewOf(m.body), 0);
  const a = ruleAttrs.decode(m.body.subarray(header.size));
  const src = prefixOf(a.src, head.srcBits);
  const dst = prefixOf(a.dst, head.dstBits);
  const mask = a.markMask === 0xffffffff ? undefined : a.markMask;
  // The kernel leaves a mark of zero out and shows its mask alone.
  const mark = a.mark ?? (a.markMask ? 0 : undefined);
  return {
    family: head.family === AF[4] ? 4 : 6,
    priority: a.priority ?? 0,
    table: a.table ?? head.table,
    ...(src ? { src } : {}),
    ...(dst ? { dst } : {}),
    ...(mark === undefined ? {} : { mark: { value: mark, ...(mask === undefined ? {} : { mask }) } }),
    ...(a.iif === undefined ? {} : { iif: a.iif }),
    ...(a.oif === undefined ? {} : { oif: a.oif }),
    ...(head.flags & INVERT ? { invert: true as const } : {}),
    ...(a.protocol ? { protocol: a.protocol } : {}),
    ...(head.action === TO_TABLE ? {} : { action: head.action }),
  };
}

/** The whole message body of a rule that leads to a table. */
export function encodeRule(rule: RoutingRule): Uint8Array {
  const address = (p: IpPrefix | undefined): Ip | undefined => p && network(p).ip;
  const src = address(rule.src);
  const dst = address(rule.dst);
  const tail = ruleAttrs.encode({
    ...(dst ? { dst: dst.bytes } : {}),
    ...(src ? { src: src.bytes } : {}),
    ...(rule.iif === undefined ? {} : { iif: rule.iif }),
    priority: rule.priority,
    ...(rule.mark ? { mark: rule.mark.value, markMask: rule.mark.mask ?? 0xffffffff } : {}),
    table: rule.table,
    ...(rule.oif === undefined ? {} : { oif: rule.oif }),
    ...(rule.protocol === undefined ? {} : { protocol: rule.protocol }),
  });
  const out = new Uint8Array(header.size + tail.length);
  header.set(viewOf(out), 0, {
    family: AF[rule.family],
    dstBits: rule.dst?.bits ?? 0,
    srcBits: rule.src?.bits ?? 0,
    tos: 0,
    table: rule.table < 256 ? rule.table : 0,
    action: rule.action ?? TO_TABLE,
    flags: rule.invert ? INVERT : 0,
  });
  out.set(tail, header.size);
  return out;
}

const request = (verb: keyof typeof RTM, rule: RoutingRule, flags: number): Request => ({
  type: RTM[verb],
  flags,
  body: encodeRule(rule),
  what: `RTM_${verb} ${rule.priority} table ${rule.table}`,
});

/** Adds a rule. Returns false if there is the same one already (the kernel compares every field). */
export const addRule = (socket: NetlinkSocket, rule: RoutingRule): boolean =>
  socket.tryRequest(request("NEWRULE", rule, NLM_F.CREATE | NLM_F.EXCL), "EEXIST") !== "EEXIST";

/**
 * Removes the first rule that agrees with everything `rule` names; what it does not name is not compared, so give
 * the protocol, too. Returns false if there is none.
 */
export const removeRule = (socket: NetlinkSocket, rule: RoutingRule): boolean =>
  socket.tryRequest(request("DELRULE", rule, 0), "ENOENT") !== "ENOENT";

/** The kernel's own messages, for captures. */
export function ruleDump(socket: NetlinkSocket, family: Family): Message[] {
  const head = new Uint8Array(header.size);
  head[0] = AF[family];
  return socket.dump({ type: RTM.GETRULE, flags: 0, body: head, what: `RTM_GETRULE IPv${family}` });
}

/** Every rule of the family, in the order in which they are tried. */
export const listRules = (socket: NetlinkSocket, family: Family): RoutingRule[] =>
  ruleDump(socket, family).map(decodeRule);

/** FRA_UID_RANGE, _SPORT_RANGE and those after _DPORT_RANGE: what a packet is asked for that only its sender knows. */
const UNSEEN = (type: number): boolean => type === 20 || type === 23 || type > 24;

/** Whether a rule asks for the sender's user, its port, or something of a later kernel. */
export const asksForSender = (socket: NetlinkSocket, family: Family): boolean =>
  ruleDump(socket, family).some(({ body }) =>
    (ruleAttrs.decode(body.subarray(header.size)).unknown ?? []).some(({ type }) => UNSEEN(type)),
  );
