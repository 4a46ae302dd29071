import type { LivingOwner } from "../firewall/model.ts";
import { openNetlink } from "../netlink/socket.ts";
import { statPath } from "../sys/files.ts";
import { inNetns, tryOpenNetns } from "../sys/netns.ts";
import { type AttachmentRecord, isBusy, type NetnsIdentity, peekRecord } from "./record.ts";

/**
 * Telling a live attachment from a corpse. An attachment lives while it is committed and its namespace is still the
 * one at its path. Device and inode numbers are used again, so that the kernel's cookie decides where there is one.
 */
export function isAlive(record: AttachmentRecord): boolean {
  if (!record.committed) return false;
  const there = statPath(record.netns.path);
  if (there === undefined || Number(there.dev) !== record.netns.dev || Number(there.ino) !== record.netns.ino)
    return false;
  if (record.netns.cookie === undefined) return true;
  return identifyNetns(record.netns.path)?.cookie === record.netns.cookie;
}

/** This process's own namespace: of what is bound to the host, since a runtime puts its interface elsewhere by itself. */
export const OWN_NETNS = "/proc/self/ns/net";

/** Who a namespace is, or undefined if there is none at the path: nothing, or the file that was its mount point. */
export function identifyNetns(path: string): NetnsIdentity | undefined {
  using netns = tryOpenNetns(path);
  if (netns === undefined) return undefined;
  const cookie = inNetns(netns, () => {
    using socket = openNetlink("route");
    return socket.netnsCookie();
  });
  return {
    path,
    dev: netns.dev,
    ino: netns.ino,
    ...(cookie === undefined ? {} : { cookie: String(cookie) }),
  };
}

/**
 * Who is behind a mark, if that attachment is alive or being made: an ADD that has put its rules into the
 * kernel, but is not done, must not lose them to the next one. What a killed one left has no owner.
 */
export function livingOwner(mark: string): LivingOwner | undefined {
  const first = peekRecord(mark);
  if (first === undefined) return undefined;
  if (!first.committed && isBusy(first.owner)) return ownerOf(first);
  // It may have been committed between the two looks.
  const now = first.committed ? first : peekRecord(mark);
  return now !== undefined && isAlive(now) ? ownerOf(now) : undefined;
}

const ownerOf = (record: AttachmentRecord): LivingOwner => ({
  containerId: record.owner.containerId,
  name: describeOwner(record),
});

export const describeOwner = ({ owner }: AttachmentRecord): string =>
  `container ${owner.containerId} (${owner.ifname}, network ${owner.network})`;
