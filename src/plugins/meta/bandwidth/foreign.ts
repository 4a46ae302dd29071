import type { DelCall } from "../../../cni/plugin.ts";
import type { NetlinkSocket } from "../../../netlink/socket.ts";
import type { Context } from "../../../netstate/context.ts";
import { findHostEnd } from "../../../netstate/host-end.ts";
import { FILTER_PRIORITY, removeUnusedHook } from "../../../netstate/kinds/filter.ts";
import { QDISC_HANDLE } from "../../../netstate/kinds/qdisc.ts";
import { type Filter, listFilters, removeFilters } from "../../../rtnl/filter.ts";
import { findLink, type Link, removeLink } from "../../../rtnl/link.ts";
import { findQdisc, listQdiscs, removeQdisc } from "../../../rtnl/qdisc.ts";
import type { TokenBucket } from "../../../rtnl/token-bucket.ts";
import type { BandwidthConfig } from "./config.ts";
import { referenceShaper } from "./names.ts";

/**
 * DEL without a record: what the reference made, and what of ours carries no mark. Shapers of ours are gone by then, since
 * they do; the filters that led to them lead nowhere now, and drop what the link receives.
 */
export async function removeUnrecorded(
  call: Pick<DelCall<BandwidthConfig>, "conf" | "config" | "containerId" | "ifname">,
  context: Context,
): Promise<void> {
  const { host, container } = context.spaces;
  const inside = container && findLink(container.socket, { name: call.ifname });
  const end = inside && findHostEnd(context.spaces, inside);
  removeReferenceShaper(host, referenceShaper(call.conf.name, call.containerId), end);
  removeDangling(host);
  if (end !== undefined) {
    removeQdisc(host, end.index, "root", QDISC_HANDLE);
    removeReferenceBucket(host, end, call.config.ingress);
  }
  if (container === undefined || inside === undefined) return;
  removeDangling(container.socket);
  removeQdisc(container.socket, inside.index, "root", QDISC_HANDLE);
}

/** The links of the namespace that have a hook for filters. */
const hooked = (socket: NetlinkSocket): readonly number[] =>
  listQdiscs(socket)
    .filter(({ type }) => type.kind === "clsact" || type.kind === "ingress")
    .map((q) => q.link);

/** Removes filters, and hooks that nobody uses then. Returns the links that had some. */
function removeWhere(socket: NetlinkSocket, isWrong: (f: Filter) => boolean): readonly number[] {
  return hooked(socket).filter((link) => {
    const wrong = new Set(
      listFilters(socket, link)
        .filter(isWrong)
        .map((f) => f.priority),
    );
    for (const priority of wrong) removeFilters(socket, link, priority);
    if (wrong.size > 0) removeUnusedHook(socket, link);
    return wrong.size > 0;
  });
}

/** Filters of ours whose shaper is gone, and the qdisc of the same link: no other attachment shapes it. */
function removeDangling(socket: NetlinkSocket): void {
  const leadsNowhere = (f: Filter): boolean => f.priority === FILTER_PRIORITY && f.redirectsTo === 0;
  for (const link of removeWhere(socket, leadsNowhere)) removeQdisc(socket, link, "root", QDISC_HANDLE);
}

/**
 * The reference's shaper and the filter that leads to it, unless that is on another link than this interface's: the
 * container may have several in the network, and the reference has one name for all of them.
 */
function removeReferenceShaper(host: NetlinkSocket, name: string, end: Link | undefined): void {
  const shaper = findLink(host, { name });
  if (shaper?.kind !== "ifb" || shaper.altNames.some((n) => n.startsWith("heddle-"))) return;
  const leadsThere = (f: Filter): boolean => f.redirectsTo === shaper.index;
  const feeders = hooked(host).filter((link) => listFilters(host, link).some(leadsThere));
  if (end !== undefined && feeders.length > 0 && !feeders.includes(end.index)) return;
  removeWhere(host, leadsThere);
  removeLink(host, { index: shaper.index });
}

/** `1:`, which is also what people write. */
const REFERENCE_HANDLE = 0x10000;

/** The reference's token bucket has no mark: one of its handle and of exactly these numbers is taken for it. */
function removeReferenceBucket(host: NetlinkSocket, end: Link, ingress: TokenBucket | undefined): void {
  const found = ingress && findQdisc(host, end.index, "root");
  if (found?.handle !== REFERENCE_HANDLE || found.type.kind !== "tbf") return;
  if (Bun.deepEquals(found.type, ingress)) removeQdisc(host, end.index, "root", REFERENCE_HANDLE);
}
