/**
 * What is in the host alone and has a record of its own, bound to the host's namespace: a network as its containers share
 * it, or a container's part that another program moves. What is there stays, what a killed process left is cleared, what
 * is missing is made, all or nothing.
 */
import { NetError } from "../errors.ts";
import { identifyNetns, OWN_NETNS } from "../netstate/alive.ts";
import { type ApplyContext, openContext } from "../netstate/context.ts";
import { type Facts, type Needs, readFacts } from "../netstate/facts.ts";
import { loadFirewalls } from "../netstate/firewalls.ts";
import { allOrNothing, apply, loadKinds, restore, RollbackFailed } from "../netstate/interpret.ts";
import { StaleFacts } from "../netstate/kinds/bridge.ts";
import type { NetObject, NetState } from "../netstate/model.ts";
import { markOf, type Owner } from "../netstate/owner.ts";
import { type AttachmentRecord, type OpenRecord, openRecord } from "../netstate/record.ts";
import { openSpaces, type Spaces } from "../netstate/spaces.ts";
import { findLink } from "../rtnl/link.ts";
import { clear } from "./detach.ts";

/** Firewalls that may hold rules of what has lost its record. */
const FIREWALLS = ["nftables", "iptables"] as const;
/** A plan is made again when another process changed what it was made from. */
const PLANS = 5;

export interface Planning {
  readonly needs: Needs;
  readonly plan: (facts: Facts) => NetState;
  /** Path of the namespace that another program moves the container's link to: kept for people, and never entered here. */
  readonly sandbox?: string;
}

/** Makes what is not there; what `stands` gets back what is missing of it. */
export async function ensure(
  owner: Owner,
  stands: (spaces: Spaces, record: AttachmentRecord) => boolean,
  planning: Planning,
): Promise<void> {
  const { sandbox } = planning;
  using spaces = openSpaces(undefined);
  using record = openRecord(owner);
  const { found } = record;
  if (found?.committed && stands(spaces, found)) {
    if (sandbox !== undefined && sandbox !== found.sandbox) record.place(sandbox);
    return await mend(owner, found, spaces);
  }
  // Without a record, a link tells of what was left; rules under the same mark are replaced.
  if (found !== undefined || findLink(spaces.host, { altName: markOf(owner) }))
    await clear(owner, found, FIREWALLS);
  record.begin(hostIdentity());
  if (sandbox !== undefined) record.place(sandbox);
  try {
    await realise(owner, planning, { spaces, record });
    record.commit();
  } catch (e) {
    // What could not be taken back keeps its record, for the next attempt.
    if (e instanceof RollbackFailed) throw e.cause;
    record.remove();
    throw e;
  }
}

/** Everything is bound to the host's namespace: a container's may not be there yet. */
function hostIdentity(): AttachmentRecord["netns"] {
  const identity = identifyNetns(OWN_NETNS);
  if (identity === undefined)
    throw new NetError("netns/invalid", { path: OWN_NETNS, why: "there is no procfs" });
  return identity;
}

async function mend(owner: Owner, { state }: AttachmentRecord, spaces: Spaces): Promise<void> {
  if (state === undefined) return;
  // A link of its own stands, or this would not be asked.
  const parts = { objects: state.objects.filter((o) => o.kind !== "link" && o.kind !== "veth") };
  await loadKinds(parts);
  using firewalls = await loadFirewalls(parts);
  const [first] = restore(parts, openContext(markOf(owner), spaces, firewalls));
  if (first !== undefined) throw first;
}

async function realise(
  owner: Owner,
  { needs, plan }: Planning,
  { spaces, record }: { readonly spaces: Spaces; readonly record: OpenRecord },
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const state = plan(await readFacts(spaces, needs));
      record.plan(state);
      await loadKinds(state);
      using firewalls = await loadFirewalls(state);
      const borrow: ApplyContext["borrow"] = (object, value) =>
        record.borrow({ object: state.objects.indexOf(object), value });
      const context = openContext(markOf(owner), spaces, firewalls);
      return await allOrNothing((undo) => apply(state, { ...context, borrow, undo }));
    } catch (e) {
      if (!(e instanceof StaleFacts)) throw e;
      if (attempt === PLANS)
        throw new NetError("try-again", { why: `the host changed ${PLANS} times while this was planned` });
    }
  }
}

/** Removes everything that can be removed, then tells the first failure. Nothing there is fine. */
export async function removeOwned(owners: readonly Owner[]): Promise<void> {
  const failures: unknown[] = [];
  for (const owner of owners) {
    try {
      using record = openRecord(owner);
      await clear(owner, record.found, FIREWALLS);
      record.remove();
    } catch (e) {
      failures.push(e);
    }
  }
  if (failures.length > 0) throw failures.length === 1 ? failures[0] : new AggregateError(failures);
}

/**
 * False if the link that it made is gone; what it found and uses is looked at by the plan
 * alone.
 */
export function ownLinkStands({ host }: Spaces, { owner, state }: AttachmentRecord): boolean {
  const makesLink = (o: NetObject): boolean =>
    (o.kind === "bridge" || o.kind === "link") && o.possession === "exclusive";
  if (state?.objects.some(makesLink)) return findLink(host, { altName: markOf(owner) }) !== undefined;
  return state?.objects.every((o) => o.kind !== "bridge" || findLink(host, { name: o.name })) === true;
}
