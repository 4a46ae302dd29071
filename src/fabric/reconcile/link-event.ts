/**
 * What events about links and addresses mean. With a link, or its last address, routes and neighbours go of which the kernel
 * says nothing, so that everything has to be listed if it is a link that something here stands on.
 */
import type { Message } from "../../netlink/message.ts";
import { decodeAddress } from "../../rtnl/address.ts";
import { decodeLink } from "../../rtnl/link.ts";
import type { FabricLink } from "../host-state.ts";
import type { KnownLinks } from "./place.ts";

const RTM = { NEWLINK: 16, DELLINK: 17, NEWADDR: 20, DELADDR: 21 } as const;

export interface Standing {
  readonly wanted: readonly Pick<FabricLink, "name" | "lower" | "mac" | "mtuBytes">[];
  /** True for a link that routes lead over. */
  readonly carries: (link: string) => boolean;
  readonly hasAddress: (link: string, address: string) => boolean;
}

/**
 * `stale`: list everything. `retry`: what could not be done may be possible now. `known`: nothing has to be done. `other`: the
 * event is about something else.
 */
export type LinkNews = "stale" | "retry" | "known" | "other";

export function linkEvent(message: Message, links: KnownLinks, standing: Standing): LinkNews {
  switch (message.type) {
    case RTM.NEWLINK:
    case RTM.DELLINK:
      return aboutLink(message, links, standing);
    case RTM.NEWADDR:
    case RTM.DELADDR:
      return aboutAddress(message, links, standing);
    default:
      return "other";
  }
}

function aboutLink(message: Message, { byName, ours }: KnownLinks, standing: Standing): LinkNews {
  // Ports of bridges are told again in the family of the bridge, with little of the link.
  if (message.body[0] !== 0) return "known";
  const link = decodeLink(message);
  const gone = message.type === RTM.DELLINK;
  const before = byName.get(link.name);
  const want = standing.wanted.find(({ name }) => name === link.name);
  const counts =
    want !== undefined ||
    ours.has(link.index) ||
    standing.wanted.some(({ lower }) => lower === link.name) ||
    standing.carries(link.name);
  const same = !gone && before?.index === link.index && before.up === link.up;
  if (gone) byName.delete(link.name);
  else byName.set(link.name, link);
  if (!counts) return "known";
  if (!same) return "stale";
  const changed =
    want !== undefined &&
    (want.mtuBytes !== link.mtuBytes || (want.mac !== undefined && want.mac !== link.mac));
  return changed ? "stale" : "known";
}

function aboutAddress(message: Message, { byName, ours }: KnownLinks, standing: Standing): LinkNews {
  const { index, prefix, linkLocal } = decodeAddress(message);
  const own = ours.get(index);
  if (own !== undefined && !linkLocal) {
    const wanted = standing.hasAddress(own, prefix.text);
    return wanted === (message.type === RTM.NEWADDR) ? "known" : "stale";
  }
  for (const [name, link] of byName)
    if (link.index === index && standing.carries(name))
      // Its gateways may be reached only now. Addresses are told again whenever a router advertises them.
      return message.type === RTM.NEWADDR ? "retry" : "stale";
  return "known";
}
