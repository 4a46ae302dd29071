/**
 * Networks, endpoints and ports in the kernel, by their records: what is there stays, what a killed child left is cleared,
 * what is missing is made, all or nothing.
 */
import { clear } from "../cni/detach.ts";
import { NetError } from "../errors.ts";
import { localMac } from "../net/mac.ts";
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
import type { Network } from "./model.ts";
import {
  endpointNeeds,
  endpointPlan,
  type Fresh,
  networkNeeds,
  networkPlan,
  portsNeeds,
  portsPlan,
  sourceName,
} from "./plan.ts";
import { type Answer, ownerOf, type Thing, thingOf, type Work } from "./task.ts";

/** Firewalls that may hold rules of what has lost its record. */
const FIREWALLS = ["nftables", "iptables"] as const;
/** A plan is made again when another process changed what it was made from. */
const PLANS = 5;

export async function work(task: Work): Promise<Answer> {
  switch (task.kind) {
    case "network":
      await ensureNetwork(task.network);
      return { kind: "done" };
    case "endpoint": {
      const { network, endpoint } = task;
      // After a reboot, or when somebody removed it, the network comes back with its first container.
      await ensureNetwork(network);
      const owner = ownerOf(thingOf("endpoint", network.id, endpoint.id));
      const link = sourceName(markOf(owner));
      await ensure(owner, (spaces) => findLink(spaces.host, { name: link }) !== undefined, {
        needs: endpointNeeds(network),
        plan: (facts) => endpointPlan(network, endpoint, facts, { mark: markOf(owner), fresh: freshMacs() }),
      });
      return { kind: "done", link };
    }
    case "ports": {
      const { network, endpoint, open } = task;
      if (network.mode !== "bridge") return { kind: "done" };
      const owner = ownerOf(thingOf("ports", network.id, endpoint.id));
      // Made anew each time: what is asked for may differ from what is open.
      await ensure(owner, () => false, {
        needs: portsNeeds,
        plan: (facts) => portsPlan(network, endpoint, open, facts),
      });
      return { kind: "done" };
    }
    case "remove":
      await removeAll(task.what);
      return { kind: "done" };
  }
}

function freshMacs(): Fresh {
  const random = crypto.getRandomValues(new Uint8Array(18));
  const mac = (at: number) => localMac(random.subarray(at, at + 6));
  return { bridgeMac: mac(0), hostMac: mac(6), containerMac: mac(12) };
}

const ensureNetwork = (network: Network): Promise<void> =>
  ensure(ownerOf(thingOf("network", network.id)), (spaces, record) => ownLinkStands(spaces, record), {
    needs: networkNeeds(network),
    plan: (facts) => networkPlan(network, facts, freshMacs()),
  });

/** False if the link that the network made is gone; what it found and uses is looked at by the plan alone. */
function ownLinkStands({ host }: Spaces, { owner, state }: AttachmentRecord): boolean {
  const makesLink = (o: NetObject): boolean =>
    (o.kind === "bridge" || o.kind === "link") && o.possession === "exclusive";
  if (state?.objects.some(makesLink)) return findLink(host, { altName: markOf(owner) }) !== undefined;
  return state?.objects.every((o) => o.kind !== "bridge" || findLink(host, { name: o.name })) === true;
}

interface Planning {
  readonly needs: Needs;
  readonly plan: (facts: Facts) => NetState;
}

/** Makes what is not there; what `stands` gets back what is missing of it. */
async function ensure(
  owner: Owner,
  stands: (spaces: Spaces, record: AttachmentRecord) => boolean,
  planning: Planning,
): Promise<void> {
  using spaces = openSpaces(undefined);
  using record = openRecord(owner);
  const { found } = record;
  if (found?.committed && stands(spaces, found)) return await mend(owner, found, spaces);
  // Without a record, a link tells of what was left; rules under the same mark are replaced.
  if (found !== undefined || findLink(spaces.host, { altName: markOf(owner) }))
    await clear(owner, found, FIREWALLS);
  record.begin(hostIdentity());
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

/** Everything is bound to the host's namespace: Docker's sandbox may not be there yet. */
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
async function removeAll(things: readonly Thing[]): Promise<void> {
  const failures: unknown[] = [];
  for (const thing of things) {
    const owner = ownerOf(thing);
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
