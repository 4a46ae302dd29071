import { NetError } from "../../errors.ts";
import { addQdisc, findQdisc, type Qdisc, removeQdisc } from "../../rtnl/qdisc.ts";
import type { TokenBucket } from "../../rtnl/token-bucket.ts";
import { findLink } from "../../rtnl/link.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  type KindOperations,
  linkIndex,
  linkOf,
} from "../context.ts";
import type { QdiscObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

/** The handle by which qdiscs of ours are told from all others; see docs/limits.md. */
export const QDISC_HANDLE = 0x68640000;

function apply(o: QdiscObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  const index = linkIndex(context, o.place, o.link);
  if (o.possession === "borrowed")
    context.undo.defer(() => void removeQdisc(socket, index, "root", QDISC_HANDLE));
  const add = (): boolean =>
    known("qdiscs of kind tbf", "sch_tbf", () => addQdisc(socket, index, o.qdisc, QDISC_HANDLE));
  // One of ours is from a dead attachment whose record is lost.
  const added = add() || (removeQdisc(socket, index, "root", QDISC_HANDLE) && add());
  if (!added) throw inTheWay(o, findQdisc(socket, index, "root"), context);
}

/** Does what the kernel refuses by ENOENT if it lacks a module. */
export function known<T>(feature: string, module: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof NetError && cause.is("netlink/refused") && cause.detail.errno === "ENOENT")
      throw new NetError(
        "feature/missing",
        { feature, needs: `a kernel with the module ${module}` },
        { cause },
      );
    throw cause;
  }
}

function inTheWay(o: QdiscObject, found: Qdisc | undefined, { spaces }: Context): NetError {
  const place = o.place === "host" ? "the host" : (spaces.container?.netns.path ?? "the container");
  const name = found === undefined ? "a qdisc" : `qdisc ${nameOf(found)} ${showHandle(found.handle)}`;
  return new NetError("resource/exists", { what: `${name} at the root of ${o.link}`, where: place });
}

const nameOf = ({ type }: Qdisc): string => (type.kind === "opaque" ? type.name : type.kind);

/** A handle as tc prints it. */
const showHandle = (handle: number): string => `${(handle >>> 16).toString(16)}:`;

function verify(o: QdiscObject, context: Context): void {
  const { index } = linkOf(context, o.place, o.link);
  const found = findQdisc(socketAt(context.spaces, o.place), index, "root");
  const what = `qdisc at the root of ${o.link}`;
  expectSame(what, o.qdisc.kind, found === undefined ? "none" : nameOf(found));
  if (found?.type.kind !== "tbf") return;
  for (const [key, unit] of parameters)
    expectSame(`${key} of the ${what}`, `${o.qdisc[key]} ${unit}`, `${found.type[key]} ${unit}`);
}

const parameters = [
  ["rateBytes", "bytes in a second"],
  ["limitBytes", "bytes"],
  ["bufferTicks", "ticks of 64 ns"],
] as const satisfies readonly (readonly [keyof TokenBucket, string])[];

function remove(o: QdiscObject, { spaces }: Context): void {
  // It goes with a link of this state, and what was in a namespace is gone with it.
  if (o.possession === "exclusive" || (o.place === "container" && spaces.container === undefined)) return;
  const socket = socketAt(spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link !== undefined) removeQdisc(socket, link.index, "root", QDISC_HANDLE);
}

export const qdisc: KindOperations<QdiscObject> = { apply, verify, remove };
