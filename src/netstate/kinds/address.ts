/** An address of a link. It goes with its link, so that mostly nothing is left to remove. */
import { NetError } from "../../errors.ts";
import { addAddress, listAddresses, removeAddress } from "../../rtnl/address.ts";
import { type ApplyContext, type Context, type KindOperations, linkIndex, linkOf } from "../context.ts";
import { findLink, setLink } from "../../rtnl/link.ts";
import type { AddressObject, NetState } from "../model.ts";
import { socketAt } from "../spaces.ts";

function apply(o: AddressObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  const index = linkIndex(context, o.place, o.link);
  for (const old of o.replaces ?? []) {
    context.undo.defer(() => void addAddress(socket, index, old, { dad: false, connectedRoute: true }));
    removeAddress(socket, index, old);
  }
  // The two contradict each other: with the old ones back, the new one has to go, also if the kernel's answer about it was lost.
  if (o.replaces?.length) context.undo.defer(() => void removeAddress(socket, index, o.address));
  const added = addAddress(socket, index, o.address, o);
  if (o.foreignLink && added) context.undo.defer(() => remove(o, context));
  // Of a link that outlives its owner, the plan has seen that the address was not there.
  if (!added && o.possession === "exclusive" && !o.foreignLink)
    throw new NetError("resource/exists", { what: `address ${o.address.text}`, where: o.link });
}

/** Kinds of links whose MAC address can be set while they are up, whatever the kernel. */
const settable: readonly (string | undefined)[] = ["veth", "macvlan", "macvtap", "vlan"];

/**
 * Makes the container's links tell their addresses to the neighbours, who may know them as somebody else's, once their
 * frames get through: setting the MAC address that a link has does so, if `arp_notify` and `ndisc_notify` say it.
 */
export function announce({ objects }: NetState, context: ApplyContext): void {
  const names = objects.flatMap((o) =>
    o.kind === "address" && o.place === "container" && o.possession === "exclusive" ? [o.link] : [],
  );
  for (const name of new Set(names)) {
    const { index, kind, mac } = linkOf(context, "container", name);
    if (mac !== undefined && settable.includes(kind))
      setLink(socketAt(context.spaces, "container"), { index }, { mac });
  }
}

/** As long as the reference waits; without an answer the kernel needs one to two seconds. */
const DAD_TIMEOUT_MS = 5_000;
const DAD_LOOK_MS = 20;

/**
 * Waits until the kernel has found no second owner of the address on the network. Before that nothing can be sent from
 * it.
 * @throws NetError `resource/exists` if there is one, `try-again` if the kernel does not decide
 */
export function waitForUniqueness(o: AddressObject, context: ApplyContext): void {
  if (o.dad !== true || o.address.ip.family === 4 || o.place === "host") return;
  const socket = socketAt(context.spaces, o.place);
  const index = linkIndex(context, o.place, o.link);
  const deadline = performance.now() + DAD_TIMEOUT_MS;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const found = listAddresses(socket, index).find((a) => a.prefix.text === o.address.text);
    if (found === undefined || found.dadFailed)
      throw new NetError("resource/exists", {
        what: `another owner of ${o.address.ip.text}`,
        where: `the network of ${o.link}`,
      });
    if (!found.tentative) return;
    if (performance.now() > deadline)
      throw new NetError("try-again", {
        why: `the kernel is still looking for another owner of ${o.address.text}`,
      });
    Atomics.wait(cell, 0, 0, DAD_LOOK_MS);
  }
}

function verify(o: AddressObject, context: Context): void {
  const { index } = linkOf(context, o.place, o.link);
  const found = listAddresses(socketAt(context.spaces, o.place), index);
  const own = found.find((a) => a.prefix.text === o.address.text);
  if (own?.dadFailed)
    throw new NetError("check/differs", {
      what: `address ${o.address.text} of ${o.link}`,
      wanted: "in use",
      found: "refused by the kernel, since the network has another owner of it",
    });
  if (own === undefined)
    throw new NetError("check/differs", {
      what: `addresses of ${o.link}`,
      wanted: o.address.text,
      found: found.map((a) => a.prefix.text).join(", ") || "none",
    });
}

function remove(o: AddressObject, { spaces }: Context): void {
  if (!o.foreignLink || o.possession !== "exclusive") return;
  const socket = socketAt(spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link !== undefined) removeAddress(socket, link.index, o.address);
}

export const address: KindOperations<AddressObject> = { apply, verify, remove };
