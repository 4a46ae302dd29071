import { NetError } from "../errors.ts";
import type { ApplyContext, Context, KindOperations, RemoveContext } from "./context.ts";
import { address, announce, waitForUniqueness } from "./kinds/address.ts";
import { bridge } from "./kinds/bridge.ts";
import { firewall } from "./kinds/firewall.ts";
import { linkUp } from "./kinds/link-up.ts";
import { route } from "./kinds/route.ts";
import { sysctl } from "./kinds/sysctl.ts";
import { veth, waitForwarding } from "./kinds/veth.ts";
import type { NetObject, NetObjectKind, NetState, Of } from "./model.ts";

/**
 * The three interpreters of a state. They go through its objects kind by kind, in the order in which one needs the
 * other, and back again to remove.
 */
const order: readonly NetObjectKind[] = [
  "bridge",
  "link",
  "tap",
  "moved-link",
  "device-node",
  "veth",
  // The gateway after the port that needs it: one that goes looks for such ports.
  "port-vlans",
  "vlan-gateway",
  // Before sysctls: the guard of 127.0.0.0/8 has to stand before `route_localnet` opens the way.
  "firewall",
  "sysctl",
  // Before links come up: on one that is up the kernel waits until nobody uses the qdisc that was there.
  "qdisc",
  "link-attributes",
  "link-up",
  "address",
  "neighbour",
  "route",
  "rule",
  // When the rules lead elsewhere already: at no moment there is no way.
  "taken-route",
  "vrf-member",
  // Last: from then on packets take another way.
  "filter",
];

type Kind = KindOperations<NetObject>;

/** What most attachments consist of; the code of the others is loaded when a state has such an object. */
const loaded: { [K in NetObjectKind]?: Kind } = {
  bridge,
  veth,
  firewall,
  sysctl,
  "link-up": linkUp,
  address,
  route,
};

const rare: { readonly [K in NetObjectKind]?: () => Promise<Kind> } = {
  link: async () => (await import("./kinds/link.ts")).link,
  "link-attributes": async () => (await import("./kinds/link-attributes.ts")).linkAttributes,
  tap: async () => (await import("./kinds/tap.ts")).tap,
  "moved-link": async () => (await import("./kinds/moved-link.ts")).movedLink,
  "port-vlans": async () => (await import("./kinds/port-vlans.ts")).portVlans,
  "vlan-gateway": async () => (await import("./kinds/vlan-gateway.ts")).vlanGateway,
  "device-node": async () => (await import("./kinds/device-node.ts")).deviceNode,
  neighbour: async () => (await import("./kinds/neighbour.ts")).neighbour,
  "vrf-member": async () => (await import("./kinds/vrf-member.ts")).vrfMember,
  "taken-route": async () => (await import("./kinds/taken-route.ts")).takenRoute,
  rule: async () => (await import("./kinds/rule.ts")).rule,
  qdisc: async () => (await import("./kinds/qdisc.ts")).qdisc,
  filter: async () => (await import("./kinds/filter.ts")).filter,
};

/** Has to come before a state is applied, verified or removed, since these do not wait for anything. */
export async function loadKinds({ objects }: NetState): Promise<void> {
  for (const { kind } of objects) {
    const operations = loaded[kind] ?? (await rare[kind]?.());
    if (operations !== undefined) loaded[kind] = operations;
  }
}

/** Throws `feature/missing` for what a later release has recorded. */
function operationsOf(o: NetObject): KindOperations<NetObject> {
  const operations = loaded[o.kind];
  if (operations !== undefined) return operations;
  if (order.includes(o.kind)) throw new TypeError(`the code for objects of kind ${o.kind} was not loaded`);
  throw new NetError("feature/missing", {
    feature: `an object of the kind "${o.kind as string}", which the record of this attachment names,`,
    needs: "the release that made the attachment",
  });
}

/**
 * An IPv4 address comes before its link is up: the kernel tells the neighbours of it (`arp_notify`) at that moment and
 * at no other. An IPv6 address comes after: it is told of when it is added to a link that is up.
 */
const rank = (o: NetObject): number =>
  o.kind === "address" && o.address.ip.family === 4 ? order.indexOf("link-up") - 0.5 : order.indexOf(o.kind);

const ANNOUNCED = order.indexOf("address");

/** The objects in the order of `operations`; of one kind, in the order of the plan. */
function ordered(state: NetState): readonly NetObject[] {
  return state.objects.toSorted((a, b) => rank(a) - rank(b));
}

/**
 * Runs `work`, which applies states and notes on the stack how to take each step back. If it fails, that is done in
 * reverse order and the failure is thrown, as the cause of a `RollbackFailed` if not all could be taken back.
 */
export async function allOrNothing<T>(work: (undo: DisposableStack) => T | Promise<T>): Promise<T> {
  const undo = new DisposableStack();
  try {
    return await work(undo);
  } catch (e) {
    try {
      undo.dispose();
    } catch (left) {
      throw new RollbackFailed(e, left);
    }
    throw e;
  }
}

/** Puts the state into the kernel, inside `allOrNothing`. Its kinds are loaded by then. */
export function apply(state: NetState, context: Omit<ApplyContext, "indexes">): void {
  const working = { ...context, indexes: new Map<string, number>() };
  const objects = ordered(state);
  const put = (from: number, to?: number): void => {
    for (const object of objects.slice(from, to)) operationsOf(object).apply(object, working);
  };
  // A link that announces its addresses forgets its neighbours.
  const rest = objects.findIndex((o) => rank(o) > ANNOUNCED);
  put(0, rest < 0 ? undefined : rest);
  for (const object of state.objects)
    if (object.kind === "veth" && isUp(state, object)) waitForwarding(object, context);
  announce(state, working);
  if (rest >= 0) put(rest);
  for (const object of state.objects) if (object.kind === "address") waitForUniqueness(object, working);
}

/**
 * Puts back what is missing of a state that is in use: every object is tried, whatever the others say, and nothing is
 * taken back, since what stands belongs to a container that runs. Returns every failure.
 */
export function restore(state: NetState, context: Context): Error[] {
  const failures: Error[] = [];
  const working = { ...context, undo: new DisposableStack(), indexes: new Map(), borrow: () => {} };
  for (const object of ordered(state)) {
    try {
      operationsOf(object).apply(object, working);
    } catch (e) {
      failures.push(e as Error);
    }
  }
  return failures;
}

/**
 * Something failed, and then something could not be taken back: the record has to stay. `cause` is the first failure.
 * Never leaves the attach loop.
 */
export class RollbackFailed extends Error {
  override readonly name = "RollbackFailed";
  readonly left: unknown;
  constructor(cause: unknown, left: unknown) {
    super("what was made could not be taken back", { cause });
    this.left = left;
  }
}

const isUp = (state: NetState, { container }: Of<"veth">): boolean =>
  state.objects.some((o) => o.kind === "link-up" && o.place === "container" && o.link === container.name);

/** Compares the kernel with the state. Throws `check/differs` for the first difference. */
export function verify(state: NetState, context: Context): void {
  for (const object of ordered(state)) operationsOf(object).verify(object, context);
}

/** As `verify`, but goes on after a difference: what every object of the state says, or the first `most` that say one. */
export function differences(state: NetState, context: Context, most: number): readonly Error[] {
  const found: Error[] = [];
  for (const object of ordered(state)) {
    if (found.length >= most) break;
    try {
      operationsOf(object).verify(object, context);
    } catch (e) {
      found.push(e as Error);
    }
  }
  return found;
}

/** Takes the state out of the kernel: every step is done, then every failure is returned. */
export function remove(state: NetState, context: RemoveContext): Error[] {
  const failures: Error[] = [];
  for (const object of ordered(state).toReversed()) {
    try {
      operationsOf(object).remove(object, context);
    } catch (e) {
      failures.push(e as Error);
    }
  }
  return failures;
}
