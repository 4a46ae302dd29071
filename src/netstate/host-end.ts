import { findLink, type Link } from "../rtnl/link.ts";
import { namespaceNumber } from "../rtnl/nsid.ts";
import type { Spaces } from "./spaces.ts";

/**
 * The end of a pair in the host whose other end is this link of the container; undefined if the link is none of a pair, or
 * the other end is in a third namespace, where an index of the same number means nothing.
 */
export function findHostEnd({ host, container }: Spaces, inside: Link): Link | undefined {
  if (container === undefined || inside.kind !== "veth" || inside.peerIndex === undefined) return undefined;
  const end = findLink(host, { index: inside.peerIndex });
  const pairs =
    end?.kind === "veth" &&
    end.peerIndex === inside.index &&
    end.peerNetnsId === namespaceNumber(host, container.netns.fd);
  return pairs ? end : undefined;
}
