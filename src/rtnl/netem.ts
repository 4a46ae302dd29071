/**
 * The qdisc that plays a bad line (sch_netem; TCA_NETEM_*, linux/pkt_sched.h): what a link sends is kept back for a while, or a
 * share of it is lost. Many kernels are built without it.
 */
import { NetError } from "../errors.ts";
import { NLM_F } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, fixedAttr } from "../wire/attrs.ts";
import { encodeFixed, struct, u32, u64 } from "../wire/fixed.ts";
import { parentOf, tcRequest } from "./traffic-control.ts";

export interface Netem {
  /** Milliseconds, up to an hour. */
  readonly delayMs: number;
  /** 0 to 100. */
  readonly lossPercent: number;
}

const parameters = struct("tc_netem_qopt", 24, {
  latency: u32,
  limit: u32,
  loss: u32,
  gap: u32,
  duplicate: u32,
  jitter: u32,
});
const netemAttrs = attrs("TCA_NETEM", { latency64: [10, fixedAttr(u64)] });

/** Packets that wait at most; a line of 10 Gbit/s and a second's delay holds more, and drops some then. */
const LIMIT_PACKETS = 100_000;
/** A share of one, in `loss`. */
const WHOLE = 0xffffffff;

/** TCA_OPTIONS: the structure, and behind it attributes. */
export function encodeNetem({ delayMs, lossPercent }: Netem): Uint8Array {
  const head = encodeFixed(parameters, {
    latency: 0,
    limit: LIMIT_PACKETS,
    loss: Math.round((WHOLE * lossPercent) / 100),
    gap: 0,
    duplicate: 0,
    jitter: 0,
  });
  const tail = netemAttrs.encode({ latency64: BigInt(Math.round(delayMs * 1_000_000)) });
  const out = new Uint8Array(head.length + tail.length);
  out.set(head);
  out.set(tail, head.length);
  return out;
}

/**
 * Puts it at the root of a link, in place of what is there.
 * @throws feature/missing if the kernel has none
 */
export function setNetem(socket: NetlinkSocket, link: number, netem: Netem): void {
  const head = { link, parent: parentOf.root, handle: 0x10000 };
  const request = tcRequest("NEWQDISC", head, NLM_F.CREATE | NLM_F.REPLACE, {
    kind: "netem",
    options: encodeNetem(netem),
  });
  // ENOENT: no qdisc of that kind.
  if (socket.tryRequest(request, "ENOENT") === "ENOENT")
    throw new NetError("feature/missing", {
      feature: "delay and loss on a link",
      needs: "a kernel with the qdisc netem (CONFIG_NET_SCH_NETEM)",
    });
}

/** Takes it away; the link then has what the kernel gives it. */
export function removeNetem(socket: NetlinkSocket, link: number): void {
  const head = { link, parent: parentOf.root, handle: 0 };
  socket.tryRequest(tcRequest("DELQDISC", head, 0), "ENOENT", "EINVAL", "ENODEV");
}
