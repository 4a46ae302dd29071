/** A permanent neighbour: it goes with its link. */
import { NetError } from "../../errors.ts";
import { listNeighbours, setNeighbour } from "../../rtnl/neighbour.ts";
import { type ApplyContext, type Context, type KindOperations, linkIndex, linkOf } from "../context.ts";
import type { NeighbourObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

function apply(o: NeighbourObject, context: ApplyContext): void {
  const link = linkIndex(context, o.place, o.link);
  setNeighbour(socketAt(context.spaces, o.place), { link, ip: o.ip, mac: o.mac });
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

export const neighbour: KindOperations<NeighbourObject> = { apply, verify, remove: () => {} };
