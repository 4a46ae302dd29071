/** An address of a link. It goes with its link, so that nothing is left to remove. */
import { NetError } from "../../errors.ts";
import { addAddress, listAddresses, removeAddress } from "../../rtnl/address.ts";
import { type ApplyContext, type Context, type KindOperations, linkIndex, linkOf } from "../context.ts";
import type { AddressObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

function apply(o: AddressObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  const index = linkIndex(context, o.place, o.link);
  for (const old of o.replaces ?? []) removeAddress(socket, index, old);
  const added = addAddress(socket, index, o.address, o);
  if (!added && o.possession === "exclusive")
    throw new NetError("resource/exists", { what: `address ${o.address.text}`, where: o.link });
}

function verify(o: AddressObject, context: Context): void {
  const { index } = linkOf(context, o.place, o.link);
  const found = listAddresses(socketAt(context.spaces, o.place), index);
  if (!found.some((a) => a.prefix.text === o.address.text))
    throw new NetError("check/differs", {
      what: `addresses of ${o.link}`,
      wanted: o.address.text,
      found: found.map((a) => a.prefix.text).join(", ") || "none",
    });
}

export const address: KindOperations<AddressObject> = { apply, verify, remove: () => {} };
