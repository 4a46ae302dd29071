/** A permanent neighbour. One of the container goes with its link; in the host the link may be one that stays. */
import { NetError } from "../../errors.ts";
import { hostPrefix } from "../../net/ip.ts";
import { findLink } from "../../rtnl/link.ts";
import { listNeighbours, removeNeighbour, setNeighbour } from "../../rtnl/neighbour.ts";
import { listRoutes } from "../../rtnl/route.ts";
import { type ApplyContext, type Context, type KindOperations, linkIndex, linkOf } from "../context.ts";
import type { NeighbourObject } from "../model.ts";
import { metricOf, ROUTE_PROTOCOL } from "../owner.ts";
import { socketAt } from "../spaces.ts";

function apply(o: NeighbourObject, context: ApplyContext): void {
  const link = linkIndex(context, o.place, o.link);
  if (o.place === "host") context.undo.defer(() => remove(o, context));
  setNeighbour(socketAt(context.spaces, o.place), { link, ip: o.ip, mac: o.mac });
}

/** Unless the address has become somebody else's, whose route leads to it. Another plugin may have changed what it says. */
function remove(o: NeighbourObject, { mark, spaces: { host } }: Context): void {
  const link = o.place === "host" ? findLink(host, { name: o.link }) : undefined;
  if (link === undefined) return;
  const owners = listRoutes(host, o.ip.family)
    .filter(({ protocol, oif }) => protocol === ROUTE_PROTOCOL && oif === link.index)
    .filter(({ dst }) => dst.text === hostPrefix(o.ip).text)
    .map(({ priority }) => priority);
  if (owners.length === 0 || owners.includes(metricOf(mark)))
    removeNeighbour(host, { link: link.index, ip: o.ip });
}

function verify(o: NeighbourObject, context: Context): void {
  const link = linkOf(context, o.place, o.link).index;
  const found = listNeighbours(socketAt(context.spaces, o.place), o.ip.family, link).find(
    (n) => n.ip.text === o.ip.text,
  );
  if (found?.mac !== o.mac)
    throw new NetError("check/differs", {
      what: `neighbour ${o.ip.text} on ${o.link}`,
      wanted: o.mac,
      found: found?.mac ?? "none",
    });
}

export const neighbour: KindOperations<NeighbourObject> = { apply, verify, remove };
