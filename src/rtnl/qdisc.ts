import { type Message, NLM_F } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { viewOf } from "../wire/fixed.ts";
import { decodeTokenBucket, encodeTokenBucket, type TokenBucket } from "./token-bucket.ts";
import { parentOf, tcAttrs, tcmsg, tcRequest } from "./traffic-control.ts";

/**
 * Queueing disciplines: what a link does with the packets that it is to send, and the hook `clsact`, where filters look
 * at what it receives and sends.
 */
export type QdiscType = TokenBucket | ClassifierHook;

/** A place for filters that queues nothing. `ingress` is its older form, for what is received alone. */
export interface ClassifierHook {
  readonly kind: "clsact" | "ingress";
}

/** A qdisc as the kernel shows it. */
export interface Qdisc {
  /** Index of the link. */
  readonly link: number;
  /** Zero: one that the kernel has put there by itself and that anybody may replace. */
  readonly handle: number;
  readonly parent: number;
  /** `opaque`: one whose parameters are not read here; `name` is what tc calls it. */
  readonly type: QdiscType | { readonly kind: "opaque"; readonly name: string };
}

/** Where on a link: what it sends passes through `root`, what it receives through `ingress`. */
export type QdiscPlace = "root" | "ingress";

function typeOf(name: string, options: Uint8Array | undefined): Qdisc["type"] {
  if (name === "clsact" || name === "ingress") return { kind: name };
  const bucket = name === "tbf" && options ? decodeTokenBucket(options) : undefined;
  return bucket ?? { kind: "opaque", name };
}

/** Reads one RTM_NEWQDISC message. */
export function decodeQdisc(m: Pick<Message, "body">): Qdisc {
  const { ifindex, handle, parent } = tcmsg.get(viewOf(m.body), 0);
  const { kind, options } = tcAttrs.decode(m.body.subarray(tcmsg.size));
  return { link: ifindex, handle, parent, type: typeOf(kind ?? "", options) };
}

/** The kernel's own messages, for captures. There is no list of one link: it is that of the namespace. */
export const qdiscDump = (socket: NetlinkSocket): Message[] =>
  socket.dump(tcRequest("GETQDISC", { link: 0 }, 0));

export const listQdiscs = (socket: NetlinkSocket): Qdisc[] => qdiscDump(socket).map(decodeQdisc);

/** The qdisc at that place of a link, without a list; undefined if there is none, or no such link. */
export function findQdisc(socket: NetlinkSocket, link: number, place: QdiscPlace): Qdisc | undefined {
  // Without the flag only those who listen to events are told.
  const request = tcRequest("GETQDISC", { link, parent: parentOf[place] }, NLM_F.ECHO);
  const answer = socket.tryRequest(request, "ENOENT", "ENODEV");
  // A link that is down has a root which the kernel does not show: there is an acknowledgement and no answer.
  return typeof answer === "string" || answer[0] === undefined ? undefined : decodeQdisc(answer[0]);
}

/** HANDLE of `ingress` and `clsact`: the kernel takes no other. */
const HOOK_HANDLE = 0xffff0000;

/**
 * Puts a qdisc there: a token bucket at the root, a hook at the ingress. Returns false if somebody has put one there
 * before; what the kernel itself had there is replaced.
 * @param handle of a token bucket, its lower sixteen bits zero
 */
export function addQdisc(socket: NetlinkSocket, link: number, type: QdiscType, handle = 0): boolean {
  const bucket = type.kind === "tbf";
  const head = bucket
    ? { link, handle, parent: parentOf.root }
    : { link, handle: HOOK_HANDLE, parent: parentOf.ingress };
  const request = tcRequest("NEWQDISC", head, NLM_F.CREATE | NLM_F.EXCL, {
    kind: type.kind,
    ...(bucket ? { options: encodeTokenBucket(type) } : {}),
  });
  return socket.tryRequest(request, "EEXIST") !== "EEXIST";
}

/**
 * Removes the root qdisc of that handle, or the hook with all its filters. Returns false if there is none, or one of another
 * handle, or no such link.
 */
export function removeQdisc(socket: NetlinkSocket, link: number, place: QdiscPlace, handle = 0): boolean {
  const head = { link, parent: parentOf[place], handle: place === "root" ? handle : HOOK_HANDLE };
  // EINVAL is the answer to a handle that is another's.
  const answer = socket.tryRequest(tcRequest("DELQDISC", head, 0), "ENOENT", "EINVAL", "ENODEV");
  return typeof answer !== "string";
}

/**
 * What this kernel makes of a qdisc of that kind: true if it has it. It is asked to put one without parameters on a link
 * and refuses: a kind that it knows, since the parameters are missing, and an unknown one as that.
 */
export function knowsQdisc(socket: NetlinkSocket, link: number, kind: "tbf"): boolean {
  const head = { link, parent: parentOf.root, handle: 0x10000 };
  const request = tcRequest("NEWQDISC", head, NLM_F.CREATE | NLM_F.EXCL, { kind });
  return socket.tryRequest(request, "EINVAL", "ENOENT", "EEXIST") !== "ENOENT";
}
