/** Forwarding entries of links of ours. Those that a link has learned are its own. */
import { RTM } from "../../rtnl/neighbour.ts";
import {
  decodeTunnelEntry,
  removeTunnelEntry,
  setTunnelEntry,
  type TunnelEntry,
  tunnelEntryDump,
} from "../../rtnl/forwarding-entry.ts";
import { viewOf } from "../../wire/fixed.ts";
import type { FabricForwarding } from "../host-state.ts";
import type { TableKind } from "./table.ts";

const AF_BRIDGE = 7;
/** Where `ndm_ifindex` stands. */
const LINK_AT = 4;

export const forwardingKind: TableKind<FabricForwarding, TunnelEntry> = {
  object: "forwarding",
  keyOf: ({ link, mac }) => `${mac} ${link}`,
  keyOfFound: ({ link, mac }, { ours }) => `${mac} ${ours.get(link) ?? link}`,
  build({ link, mac, to }, { byName }) {
    const index = byName.get(link)?.index;
    return index === undefined ? undefined : { link: index, mac, to, static: true };
  },
  list: ({ socket }, { ours }) =>
    [...ours.keys()].flatMap((link) =>
      tunnelEntryDump(socket, link).flatMap((message) => {
        const entry = decodeTunnelEntry(message);
        return entry?.link === link ? [entry] : [];
      }),
    ),
  read(message, { ours }) {
    const gone = message.type === RTM.DELNEIGH;
    if (!gone && message.type !== RTM.NEWNEIGH) return undefined;
    if (message.body[0] !== AF_BRIDGE || !ours.has(viewOf(message.body).getInt32(LINK_AT, true)))
      return undefined;
    const found = decodeTunnelEntry(message);
    return found && { found, gone };
  },
  fits: (built, found) => found.static && built.link === found.link && built.to.text === found.to.text,
  isSame: (gone, there) => gone.to.text === there.to.text,
  isOurs: (found) => found.static,
  put: setTunnelEntry,
  remove: removeTunnelEntry,
  goneErrors: ["ENOENT", "ENODEV"],
};
