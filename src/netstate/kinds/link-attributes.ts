/**
 * Attributes of a link that another plugin made. The old values are recorded together before the change, and each comes
 * back if the link is still there and the value still ours.
 */
import { isNetError, NetError } from "../../errors.ts";
import { findLink, type Link, setLink } from "../../rtnl/link.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  findForIndex,
  type KindOperations,
  linkOf,
  type RemoveContext,
} from "../context.ts";
import { keepNeighboursOf } from "../kept-neighbours.ts";
import type { LinkAttributes, LinkAttributesObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

const names = ["mac", "mtuBytes", "promiscuous", "allMulticast", "txQueueLength"] as const;

const title: { readonly [K in (typeof names)[number]]: string } = {
  mac: "MAC address",
  mtuBytes: "MTU",
  promiscuous: "promiscuous mode",
  allMulticast: "all-multicast mode",
  txQueueLength: "transmit queue length",
};

const NO_MAC = "00:00:00:00:00:00";

/** Those attributes of `from` that are named in `like` and for which `wanted` holds. */
const pick = (
  from: LinkAttributes | Link,
  like: LinkAttributes,
  wanted: (name: (typeof names)[number]) => boolean,
): LinkAttributes =>
  Object.fromEntries(names.filter((n) => like[n] !== undefined && wanted(n)).map((n) => [n, from[n]]));

function apply(o: LinkAttributesObject, context: ApplyContext): void {
  const link = findForIndex(context, o.place, o.link);
  const old = pick(link, o.attributes, (name) => link[name] !== o.attributes[name]);
  if (Object.keys(old).length === 0) return;
  // The kernel takes any address for the loopback, and its own zeros never again.
  if ("mac" in old && (old.mac ?? NO_MAC) === NO_MAC)
    throw new NetError("config/invalid", {
      field: "mac",
      why: `${o.link} has no MAC address of its own, and could not be given back that it has none`,
    });
  context.borrow(o, JSON.stringify(old));
  context.undo.defer(() => give(o, old, context));
  const change = pick(o.attributes, old, () => true);
  try {
    set(o, link, change, context);
  } catch (cause) {
    throw change.mac === undefined ? cause : macRefused(o.link, link, cause);
  }
}

function set({ place }: LinkAttributesObject, link: Link, change: LinkAttributes, { spaces }: Context): void {
  const asked = (): void => setLink(socketAt(spaces, place), { index: link.index }, change);
  if (place === "host" || change.mac === undefined) asked();
  else keepNeighboursOf(spaces, link.index, { from: link.mac, to: change.mac }, asked);
}

/** An ipvlan has the address of the link below, and the kernel says no more than that it cannot. */
const macRefused = (name: string, { kind }: Link, cause: unknown): unknown =>
  cause instanceof NetError && cause.is("netlink/refused") && cause.detail.errno === "EOPNOTSUPP"
    ? new NetError(
        "config/invalid",
        {
          field: "mac",
          why: `the address of ${name}, a link of kind ${kind ?? "hardware"}, cannot be changed`,
        },
        { cause },
      )
    : cause;

/**
 * What the kernel refuses to take back (the link below has a smaller MTU by now, say) it refuses every time: that is told to
 * `log`, and does not keep DEL from its end.
 */
function give(
  o: LinkAttributesObject,
  old: LinkAttributes,
  context: Context,
  log?: (message: string) => void,
): void {
  if (o.place === "container" && context.spaces.container === undefined) return;
  const socket = socketAt(context.spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link === undefined) return;
  const changed = names.filter((n) => old[n] !== undefined && link[n] === o.attributes[n]);
  for (const name of changed) {
    try {
      set(o, link, { [name]: old[name] }, context);
    } catch (e) {
      if (log === undefined || !isNetError(e, "netlink/refused")) throw e;
      log(`the ${title[name]} of ${o.link} stays ${String(o.attributes[name])}: ${e.message}`);
    }
  }
}

function verify(o: LinkAttributesObject, context: Context): void {
  const link = linkOf(context, o.place, o.link);
  for (const name of names) {
    const wanted = o.attributes[name];
    if (wanted !== undefined) expectSame(`${title[name]} of ${o.link}`, wanted, link[name] ?? "none");
  }
}

function remove(o: LinkAttributesObject, context: RemoveContext): void {
  const old = context.borrowed(o);
  if (old !== undefined) give(o, JSON.parse(old) as LinkAttributes, context, context.log);
}

export const linkAttributes: KindOperations<LinkAttributesObject> = { apply, verify, remove };
