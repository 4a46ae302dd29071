/** The VLANs of a bridge port. They go with the port, so that nothing is left to remove. */
import { addPortVlans, clearPortVlans, listPortVlans } from "../../rtnl/bridge-vlan.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  type KindOperations,
  linkIndex,
  linkOf,
} from "../context.ts";
import type { PortVlansObject } from "../model.ts";

function apply(o: PortVlansObject, context: ApplyContext): void {
  const { host } = context.spaces;
  const index = linkIndex(context, "host", o.link);
  if (!o.keepDefault) clearPortVlans(host, index);
  addPortVlans(host, index, o.vlans);
}

const show = (vlans: Iterable<number>): string => [...vlans].join(", ") || "none";

function verify(o: PortVlansObject, context: Context): void {
  // The pair is found by its container's end in the check of the pair itself; here its name in the host is known.
  const { index } = linkOf(context, "host", o.link);
  const found = listPortVlans(context.spaces.host, linkOf(context, "host", o.bridge).index).get(index);
  expectSame(`VLAN of frames without a tag on ${o.link}`, o.vlans.native ?? "none", found?.native ?? "none");
  const wanted = new Set(o.vlans.tagged);
  // With `keepDefault` the port may be in more than these.
  const tagged = (found?.tagged ?? []).filter((v) => !o.keepDefault || wanted.has(v));
  expectSame(`VLANs of ${o.link}`, show(wanted), show(tagged));
  const own = wanted.size + (o.vlans.native === undefined ? 0 : 1);
  if (!o.keepDefault) expectSame(`number of VLANs of ${o.link}`, own, found?.all.size ?? 0);
}

export const portVlans: KindOperations<PortVlansObject> = { apply, verify, remove: () => {} };
