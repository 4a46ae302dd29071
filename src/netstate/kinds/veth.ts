import { NetError } from "../../errors.ts";
import {
  addAltName,
  createVeth,
  findLink,
  getLink,
  type Link,
  removeLink,
  setBridgePort,
} from "../../rtnl/link.ts";
import { tryWriteSysctl } from "../../sys/sysctl.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  type KindOperations,
  linkIndex,
  linkOf,
} from "../context.ts";
import type { VethObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

/** How long the host's end may take until frames pass, in milliseconds. Usually it is less than one. */
const FORWARDING_TIMEOUT_MS = 5_000;

function apply(o: VethObject, context: ApplyContext): void {
  const { host, container } = context.spaces;
  const there = o.container.place === "host" ? {} : { netnsFd: containerFd(container) };
  const mtu = o.mtuBytes ? { mtuBytes: o.mtuBytes } : {};
  const master = o.port ? { master: linkIndex(context, "host", o.port.bridge) } : {};
  try {
    createVeth(
      host,
      { ...o.host, ...mtu, ...master, up: true },
      { name: o.container.name, mac: o.container.mac, ...mtu, ...there },
    );
  } catch (cause) {
    if (cause instanceof NetError && cause.is("netlink/refused") && cause.detail.errno === "EEXIST")
      throw takenName(o, context, cause);
    // The request may have been served and only its answer lost.
    context.undo.defer(() => removePair(o, context));
    throw cause;
  }
  context.undo.defer(() => removePair(o, context));
  addAltName(host, { name: o.host.name }, context.mark);
  tryWriteSysctl(`net/ipv6/conf/${o.host.name}/accept_ra`, "0");
  // The host asks for the container's link address from its own link-local one, and cannot for the two seconds in which
  // that is looked for on a link where nobody else can have it.
  if (o.port === undefined) tryWriteSysctl(`net/ipv6/conf/${o.host.name}/accept_dad`, "0");
  if (o.port && (o.port.hairpin || o.port.isolated))
    setBridgePort(host, getLink(host, { name: o.host.name }).index, o.port);
}

function containerFd(container: Context["spaces"]["container"]): number {
  if (container === undefined) throw new TypeError("a pair needs the container's namespace");
  return container.netns.fd;
}

function takenName(o: VethObject, context: ApplyContext, cause: Error): NetError {
  const place = o.container.place ?? "container";
  const inside = findLink(socketAt(context.spaces, place), { name: o.container.name });
  const [name, where] = inside
    ? [
        o.container.name,
        place === "host" ? "the host" : (context.spaces.container?.netns.path ?? "the container"),
      ]
    : [o.host.name, "the host"];
  return new NetError("resource/exists", { what: `interface ${name}`, where }, { cause });
}

/**
 * Waits until the host's end forwards frames; what is sent before is lost and costs a second of ARP. A bridge with the
 * spanning tree protocol takes half a minute, which is not waited for.
 */
export function waitForwarding(
  o: Pick<VethObject, "port"> & { readonly host: { readonly name: string } },
  { spaces: { host } }: Context,
): void {
  const deadline = performance.now() + FORWARDING_TIMEOUT_MS;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (let waitMs = 0.1; ; waitMs = Math.min(waitMs * 2, 20)) {
    const link = getLink(host, { name: o.host.name });
    const passes = o.port === undefined || link.port?.forwarding || link.port?.listening;
    if (link.operState === "up" && passes) return;
    if (performance.now() > deadline)
      throw new NetError("try-again", {
        why:
          link.operState === "up"
            ? `bridge port ${o.host.name} does not forward`
            : `${o.host.name} is in state ${link.operState}, not up`,
      });
    Atomics.wait(cell, 0, 0, waitMs);
  }
}

function verify(o: VethObject, context: Context): void {
  // The other end is where the runtime has moved it.
  if (o.container.place === "host") return verifyHostEnd(o, linkOf(context, "host", o.host.name), context);
  const inside = linkOf(context, "container", o.container.name);
  expectSame(`kind of ${o.container.name}`, "veth", inside.kind ?? "none");
  expectSame(`MAC address of ${o.container.name}`, o.container.mac, inside.mac ?? "none");
  // The pair is found by its index: its name in the host may be any, if another program made it.
  const end =
    inside.peerIndex === undefined ? undefined : findLink(context.spaces.host, { index: inside.peerIndex });
  if (end === undefined)
    throw new NetError("check/differs", {
      what: `host end of ${o.container.name}`,
      wanted: "present",
      found: "none",
    });
  verifyHostEnd(o, end, context);
}

function verifyHostEnd(o: VethObject, end: Link, context: Context): void {
  expectSame(`kind of ${end.name}`, "veth", end.kind ?? "none");
  expectSame(`${end.name} is up`, true, end.up);
  if (o.port) verifyPort(o.port, end, context);
}

function verifyPort(port: NonNullable<VethObject["port"]>, end: Link, context: Context): void {
  expectSame(`bridge of ${end.name}`, linkOf(context, "host", port.bridge).index, end.master ?? 0);
  expectSame(`hairpin mode of ${end.name}`, port.hairpin, end.port?.hairpin ?? false);
  expectSame(`isolation of ${end.name}`, port.isolated, end.port?.isolated ?? false);
}

/**
 * Removes the pair by its mark, or by its name if ADD was ended before it could set the mark. A link of that name
 * that carries another mark of ours is somebody else's.
 */
export function removePair(
  o: { readonly host: { readonly name: string } },
  { mark, spaces: { host } }: Context,
): void {
  if (removeLink(host, { altName: mark })) return;
  const link = findLink(host, { name: o.host.name });
  if (link?.kind === "veth" && !link.altNames.some((n) => n.startsWith("heddle-")))
    removeLink(host, { index: link.index });
}

export const veth: KindOperations<VethObject> = { apply, verify, remove: removePair };
