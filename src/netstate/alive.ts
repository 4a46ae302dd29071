import { statSync } from "node:fs";
import { openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import type { AttachmentRecord, NetnsIdentity } from "./record.ts";

/**
 * Telling a live attachment from a corpse. An attachment lives while it is committed and its namespace is still the
 * one at its path. Device and inode numbers are used again, so that the kernel's cookie decides where there is one.
 */
export function isAlive(record: AttachmentRecord): boolean {
  if (!record.committed) return false;
  const there = statSync(record.netns.path, { throwIfNoEntry: false });
  if (there === undefined || there.dev !== record.netns.dev || there.ino !== record.netns.ino) return false;
  if (record.netns.cookie === undefined) return true;
  return identifyNetns(record.netns.path)?.cookie === record.netns.cookie;
}

/** Who a namespace is, or undefined if there is none at the path. */
export function identifyNetns(path: string): NetnsIdentity | undefined {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  using netns = openNetns(path);
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

export const describeOwner = ({ owner }: AttachmentRecord): string =>
  `container ${owner.containerId} (${owner.ifname}, network ${owner.network})`;
