import { NetError } from "../errors.ts";
import type { ApplyContext, Context, KindOperations, Operations, RemoveContext } from "./context.ts";
import { address, waitForUniqueness } from "./kinds/address.ts";
import { bridge } from "./kinds/bridge.ts";
import { firewall } from "./kinds/firewall.ts";
import { linkUp } from "./kinds/link-up.ts";
import { neighbour } from "./kinds/neighbour.ts";
import { route } from "./kinds/route.ts";
import { rule } from "./kinds/rule.ts";
import { sysctl } from "./kinds/sysctl.ts";
import { veth, waitForwarding } from "./kinds/veth.ts";
import type { NetObject, NetObjectKind, NetState, Of } from "./model.ts";

/**
 * The three interpreters of a state. They go through its objects kind by kind, in the order in which one needs the
 * other, and back again to remove.
 */
const operations = {
  bridge,
  veth,
  // Before sysctls: the guard of 127.0.0.0/8 has to stand before `route_localnet` opens the way.
  firewall,
  sysctl,
  "link-up": linkUp,
  address,
  neighbour,
  route,
  rule,
} as const satisfies Operations;

/** Throws `feature/missing` for what a later release has recorded. */
function operationsOf(o: NetObject): KindOperations<NetObject> {
  if (!Object.hasOwn(operations, o.kind))
    throw new NetError("feature/missing", {
      feature: `an object of the kind "${o.kind}", which the record of this attachment names,`,
      needs: "the release that made the attachment",
    });
  return operations[o.kind];
}

/** The objects in the order of `operations`; of one kind, in the order of the plan. */
function ordered(state: NetState): readonly NetObject[] {
  const rank = Object.keys(operations) as NetObjectKind[];
  return state.objects.toSorted((a, b) => rank.indexOf(a.kind) - rank.indexOf(b.kind));
}

/**
 * Puts the state into the kernel; `commit` is the last step. If one object or that step fails, what was made before is
 * taken back in reverse order and the failure is thrown, as the cause of a `RollbackFailed` if not all could be.
 */
export function apply(
  state: NetState,
  context: Omit<ApplyContext, "undo" | "indexes">,
  commit: () => void = () => {},
): void {
  const undo = new DisposableStack();
  try {
    const working = { ...context, undo, indexes: new Map<string, number>() };
    for (const object of ordered(state)) operationsOf(object).apply(object, working);
    for (const object of state.objects)
      if (object.kind === "veth" && isUp(state, object)) waitForwarding(object, context);
    for (const object of state.objects) if (object.kind === "address") waitForUniqueness(object, working);
    commit();
  } catch (e) {
    try {
      undo.dispose();
    } catch (left) {
      throw new RollbackFailed(e, left);
    }
    throw e;
  }
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
