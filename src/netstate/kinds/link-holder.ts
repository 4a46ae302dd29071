import type { NetlinkSocket } from "../../netlink/socket.ts";
import { type LinkType, linkTypeOf } from "../../rtnl/kinds.ts";
import { findLink, listLinks } from "../../rtnl/link.ts";
import { describeOwner } from "../alive.ts";
import type { NetObject, Place } from "../model.ts";
import { listRecords } from "../record.ts";

/**
 * Who uses a link so that it takes no further user: for an error that names it. The kernel does not tell; what can be
 * known is the bridge or bond that the link belongs to, links of this namespace on it, and our own attachments.
 */
export function holderOf(
  lower: { readonly place: Place; readonly name: string },
  like: (type: LinkType) => boolean,
  socket: NetlinkSocket,
): string | undefined {
  const below = findLink(socket, { name: lower.name });
  if (below === undefined) return undefined;
  if (below.master !== undefined) {
    const above = findLink(socket, { index: below.master });
    return `it is a port of ${above?.name ?? `link ${below.master}`}`;
  }
  const beside = listLinks(socket).find((l) => {
    const type = l.peerIndex === below.index && l.peerNetnsId === undefined ? linkTypeOf(l) : undefined;
    return type !== undefined && like(type);
  });
  if (beside !== undefined) return `${beside.kind} ${beside.name}`;
  if (lower.place === "container") return undefined;
  const uses = (o: NetObject): boolean =>
    o.kind === "link" && like(o.type) && o.lower?.place === "host" && o.lower.name === lower.name;
  const record = listRecords("heddle-").find((r) => r.committed && r.state?.objects.some(uses));
  return record && `${record.owner.component} of ${describeOwner(record)}`;
}
