import type { NetlinkSocket } from "../../netlink/socket.ts";
import { type LinkType, linkTypeOf } from "../../rtnl/kinds.ts";
import { findLink, listLinks } from "../../rtnl/link.ts";
import { describeOwner, livingOwner } from "../alive.ts";
import type { NetObject, Place } from "../model.ts";
import { markOf } from "../owner.ts";
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

/** The host's own link among those of a master (`hostAccess`), which alone serves nobody. */
const SHIM = /^shim[0-9a-f]{8}$/;

/**
 * Who has an ipvlan of another mode on a link: the kernel keeps the mode with that link, and gives that of the last ipvlan
 * to all of them. Those in containers are known by our records alone. `mark` is who asks.
 */
export function otherModeOn(
  lower: { readonly place: Place; readonly name: string },
  mode: string,
  socket: NetlinkSocket,
  mark: string,
): string | undefined {
  const differs = (type: LinkType | undefined): boolean => type?.kind === "ipvlan" && type.mode !== mode;
  const below = findLink(socket, { name: lower.name });
  const beside = listLinks(socket).find(
    (l) =>
      below !== undefined &&
      l.peerIndex === below.index &&
      l.peerNetnsId === undefined &&
      !SHIM.test(l.name) &&
      differs(linkTypeOf(l)),
  );
  if (beside !== undefined) return `ipvlan ${beside.name}`;
  if (lower.place === "container") return undefined;
  const uses = (o: NetObject): boolean =>
    o.kind === "link" &&
    o.possession === "exclusive" &&
    differs(o.type) &&
    o.lower?.place === "host" &&
    o.lower.name === lower.name;
  const record = listRecords("heddle-").find((r) => {
    const other = markOf(r.owner);
    return other !== mark && r.state?.objects.some(uses) && livingOwner(other) !== undefined;
  });
  return record && `${record.owner.component} of ${describeOwner(record)}`;
}
