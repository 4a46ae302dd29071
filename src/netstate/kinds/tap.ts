/** A tap of the container, made in its namespace with its final name; it carries its owner's mark as an altname there. */
import { NetError } from "../../errors.ts";
import { decodeTap } from "../../rtnl/kinds/tun.ts";
import { addAltName, findLink, removeLink, setLink } from "../../rtnl/link.ts";
import { createTap } from "../../sys/tun.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  type KindOperations,
  linkIndex,
  linkOf,
} from "../context.ts";
import type { TapObject } from "../model.ts";
import { at, socketAt } from "../spaces.ts";

function apply(o: TapObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  const master = o.bridge === undefined ? undefined : linkIndex(context, o.place, o.bridge);
  try {
    at(context.spaces, o.place, () => createTap(o));
  } catch (cause) {
    if (cause instanceof NetError && cause.is("sys/call") && cause.detail.errno === "EBUSY")
      throw new NetError(
        "resource/exists",
        { what: `interface ${o.name}`, where: context.spaces.container?.netns.path ?? "the container" },
        { cause },
      );
    throw cause;
  }
  context.undo.defer(() => remove(o, context));
  addAltName(socket, { name: o.name }, context.mark);
  const { mac, mtuBytes } = o;
  setLink(
    socket,
    { name: o.name },
    {
      mac,
      ...(mtuBytes === undefined ? {} : { mtuBytes }),
      ...(master === undefined ? {} : { master }),
    },
  );
}

const nobody = "anybody";

function verify(o: TapObject, context: Context): void {
  const link = linkOf(context, o.place, o.name);
  const tap = link.kind === "tun" ? decodeTap(link.kindData ?? new Uint8Array(0)) : undefined;
  expectSame(`kind of ${o.name}`, "tap", tap === undefined ? (link.kind ?? "none") : "tap");
  expectSame(`MAC address of ${o.name}`, o.mac, link.mac ?? "none");
  expectSame(`several queues of ${o.name}`, o.multiQueue, tap?.multiQueue ?? false);
  expectSame(`${o.name} stays without a program`, true, tap?.persistent ?? false);
  expectSame(`owner of ${o.name}`, o.owner ?? nobody, tap?.owner ?? nobody);
  expectSame(`group of ${o.name}`, o.group ?? nobody, tap?.group ?? nobody);
  if (o.bridge !== undefined)
    expectSame(`bridge of ${o.name}`, linkOf(context, o.place, o.bridge).index, link.master ?? 0);
}

/** By its mark, or by its name if ADD was ended before it could set the mark. */
function remove(o: TapObject, { mark, spaces }: Context): void {
  if (spaces.container === undefined) return;
  const { socket } = spaces.container;
  if (removeLink(socket, { altName: mark })) return;
  const link = findLink(socket, { name: o.name });
  if (link?.kind === "tun" && !link.altNames.some((n) => n.startsWith("heddle-")))
    removeLink(socket, { index: link.index });
}

export const tap: KindOperations<TapObject> = { apply, verify, remove };
