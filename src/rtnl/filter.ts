import { type Message, NLM_F } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, cstr, fixedAttr } from "../wire/attrs.ts";
import { be16, be32, encodeFixed, i16, i32, pad, struct, u16, u32, u8, viewOf } from "../wire/fixed.ts";
import { parentOf, tcAttrs, tcmsg, tcRequest } from "./traffic-control.ts";

/**
 * Filters of traffic control: what happens to packets at the hook of a link. The only one that is made here sends every
 * packet through another link; it is a `u32` filter that compares nothing, which every kernel has, while `matchall` is an
 * option of some. Filters of others are listed with their kind.
 */
export interface Filter {
  /** Index of the link. */
  readonly link: number;
  /** A point of the hook: `parentOf.received`, or the handle of the hook itself on the older `ingress`. */
  readonly parent: number;
  /** Filters are asked from the lowest priority up, 1 to 65535, until one decides. */
  readonly priority: number;
  /** EtherType, for example 0x0800 for IPv4; `ALL` is every packet. */
  readonly protocol: number;
  readonly kind: string;
  /** Index of the link that every packet is sent through; absent if the filter does something else. */
  readonly redirectsTo?: number;
}

/** ETH_P_ALL (linux/if_ether.h). */
export const ALL = 0x0003;

const key = struct("tc_u32_key", 16, { mask: be32, value: be32, offset: i32, offsetMask: i32 });
const selector = struct("tc_u32_sel", 16, {
  flags: u8,
  offsetShift: u8,
  keys: u8,
  _pad: pad(1),
  offsetMask: be16,
  offset: u16,
  offsetOffset: i16,
  hashOffset: i16,
  hashMask: be32,
});
export const u32Attrs = attrs("TCA_U32", { selector: [5, bytes], actions: [7, bytes] });
const actionAttrs = attrs("TCA_ACT", { kind: [1, cstr], options: [2, bytes] });
/** Actions are numbered by their order; only the first is looked at. */
const actionList = attrs("TCA_ACT_TAB", { first: [1, actionAttrs] });
const mirred = struct("tc_mirred", 28, {
  index: u32,
  capabilities: u32,
  action: i32,
  references: i32,
  bindings: i32,
  what: i32,
  ifindex: u32,
});
const mirredAttrs = attrs("TCA_MIRRED", { parameters: [2, fixedAttr(mirred)] });

/** TC_U32_TERMINAL: the actions of this key are done. TC_ACT_STOLEN: the packet is not the link's any more. */
const TERMINAL = 1;
const STOLEN = 4;
/** TCA_EGRESS_REDIR (linux/tc_act/tc_mirred.h). */
const EGRESS_REDIRECT = 1;

function redirectOptions(to: number): Uint8Array {
  const head = encodeFixed(selector, {
    flags: TERMINAL,
    offsetShift: 0,
    keys: 1,
    offsetMask: 0,
    offset: 0,
    offsetOffset: 0,
    hashOffset: 0,
    hashMask: 0,
  });
  const everything = encodeFixed(key, { mask: 0, value: 0, offset: 0, offsetMask: 0 });
  const parameters = {
    index: 0,
    capabilities: 0,
    action: STOLEN,
    references: 0,
    bindings: 0,
    what: EGRESS_REDIRECT,
    ifindex: to,
  };
  const first = { kind: "mirred", options: mirredAttrs.encode({ parameters }) };
  return u32Attrs.encode({
    selector: new Uint8Array([...head, ...everything]),
    actions: actionList.encode({ first }),
  });
}

/** The link that a `u32` filter sends every packet through. */
function redirectOf(options: Uint8Array): number | undefined {
  const { selector: raw, actions } = u32Attrs.decode(options);
  if (raw === undefined || actions === undefined || !matchesAll(raw)) return undefined;
  const { first } = actionList.decode(actions);
  if (first?.kind !== "mirred" || first.options === undefined) return undefined;
  const p = mirredAttrs.decode(first.options).parameters;
  return p?.what === EGRESS_REDIRECT ? p.ifindex : undefined;
}

function matchesAll(raw: Uint8Array): boolean {
  const view = viewOf(raw);
  const { keys } = selector.get(view, 0);
  for (let i = 0; i < keys; i++) if (key.get(view, selector.size + i * key.size).mask !== 0) return false;
  return true;
}

/** The lower half of `tcm_info`, which is in the network's byte order. */
const swap16 = (n: number): number => ((n & 0xff) << 8) | (n >>> 8);

/** Reads one RTM_NEWTFILTER message. One filter of kind `u32` may have several: of its hash tables, and of its keys. */
export function decodeFilter(m: Pick<Message, "body">): Filter {
  const { ifindex, parent, info } = tcmsg.get(viewOf(m.body), 0);
  const { kind = "", options } = tcAttrs.decode(m.body.subarray(tcmsg.size));
  const protocol = swap16(info & 0xffff);
  const redirectsTo = kind === "u32" && protocol === ALL && options ? redirectOf(options) : undefined;
  return {
    link: ifindex,
    parent,
    priority: info >>> 16,
    protocol,
    kind,
    ...(redirectsTo === undefined ? {} : { redirectsTo }),
  };
}

/** The kernel's own messages, for captures. */
export const filterDump = (
  socket: NetlinkSocket,
  link: number,
  point: "received" | "sent" = "received",
): Message[] => socket.dump(tcRequest("GETTFILTER", { link, parent: parentOf[point] }, 0));

/** The filters at one point of a link's hook; none if there is no hook. */
export const listFilters = (
  socket: NetlinkSocket,
  link: number,
  point: "received" | "sent" = "received",
): Filter[] => filterDump(socket, link, point).map(decodeFilter);

/** `tcm_info` of a filter for every packet. */
const infoOf = (priority: number): number => ((priority << 16) | swap16(ALL)) >>> 0;

/** Sends every packet that a link receives through another one, at this priority. The link has to have its hook. */
export function addRedirect(
  socket: NetlinkSocket,
  { link, priority, to }: { readonly link: number; readonly priority: number; readonly to: number },
): void {
  const head = { link, parent: parentOf.received, info: infoOf(priority) };
  socket.request(
    tcRequest("NEWTFILTER", head, NLM_F.CREATE | NLM_F.EXCL, { kind: "u32", options: redirectOptions(to) }),
  );
}

/**
 * Removes every filter of this priority for what a link receives. Returns false if there is none, no hook, or no such
 * link.
 */
export function removeFilters(socket: NetlinkSocket, link: number, priority: number): boolean {
  const head = { link, parent: parentOf.received, info: infoOf(priority) };
  // EINVAL is the answer when there is no hook.
  const answer = socket.tryRequest(tcRequest("DELTFILTER", head, 0), "ENOENT", "EINVAL", "ENODEV");
  return typeof answer !== "string";
}
