import { failureOf, NetError } from "../errors.ts";
import { isAlive } from "../netstate/alive.ts";
import { type ApplyContext, openContext } from "../netstate/context.ts";
import { readFacts } from "../netstate/facts.ts";
import { loadFirewalls } from "../netstate/firewalls.ts";
import { allOrNothing, apply, loadKinds, RollbackFailed } from "../netstate/interpret.ts";
import { StaleFacts } from "../netstate/kinds/bridge.ts";
import { markOf, type Owner } from "../netstate/owner.ts";
import type { NetState } from "../netstate/model.ts";
import {
  type Lease,
  type NetnsIdentity,
  type OpenRecord,
  openRecord,
  peekRecord,
} from "../netstate/record.ts";
import { openSpaces, type Spaces } from "../netstate/spaces.ts";
import { stringify } from "../netstate/state-json.ts";
import { findLink } from "../rtnl/link.ts";
import type { Netns } from "../sys/netns.ts";
import { ADDRESS_TAKEN, cniCode } from "./errors.ts";
import { clear, detach, earlier, prune, release, speaksOverTheLink } from "./detach.ts";
import { check } from "./check.ts";
import type { KernelPlugin, Plan, PlanInput } from "./kernel-plugin.ts";
import { foldKeys } from "./json.ts";
import { inputOf, ownerOf } from "./plan-input.ts";
import type { AddCall, Plugin, StatusCall } from "./plugin.ts";
import { emptyResult, type Result } from "./result.ts";

/**
 * ADD of a plugin that is written as data, from the call to the kernel and back: record, lease, facts, plan, apply,
 * commit. `detach.ts` is the way back, `check.ts` looks.
 */
export const kernelPlugin = <Config>(plugin: KernelPlugin<Config>): Plugin<Config> => ({
  type: plugin.type,
  about: plugin.about,
  ...(plugin.versions ? { versions: plugin.versions } : {}),
  options: plugin.options,
  parse: (conf) => plugin.parse(conf),
  parseForRemoval: (conf) => plugin.parseForRemoval(conf),
  add: (call) => attach(plugin, call),
  check: (call) => check(plugin, call),
  del: (call) => detach(plugin, call),
  gc: (call) => prune(plugin, call),
  status: (call) => status(plugin, call),
});

/** A plan is made again when another process changed what it was made from; each time somebody else got on. */
const PLANS = 5;

async function attach<Config>(plugin: KernelPlugin<Config>, call: AddCall<Config>): Promise<Result> {
  const owner = ownerOf(plugin.type, call);
  if (plugin.chained && call.prevResult === undefined)
    throw new NetError("prev-result/invalid", {
      why: `${plugin.type} comes after another plugin and needs its result`,
    });
  if (call.prevResult && plugin.idle?.(call.config)) {
    await clearKilled(owner);
    return call.prevResult;
  }
  plugin.admit?.(call);
  using spaces = openSpaces(call.netns);
  using record = openRecord(owner);
  const ipam = plugin.ipam?.(call.config);
  const { container } = spaces;
  const inside =
    plugin.makesInterface && container ? findLink(container.socket, { name: call.ifname }) : undefined;
  const before = earlier(owner, record.found, spaces.host, inside);
  if (before === "live") {
    const { containerId, ifname, network } = owner;
    // In a second ADD of the list its first plugin fails: behind others it is rather the second of its type.
    const type = call.prevResult === undefined ? {} : { type: plugin.type };
    throw new NetError("attachment/live", { containerId, ifname, network, ...type });
  }
  // Before IPAM: what fails after it is given back, and the address may be that of the interface that is there.
  if (before === "none" && ipam !== undefined && inside !== undefined)
    throw new NetError("resource/exists", { what: `interface ${call.ifname}`, where: call.netns });
  const clearDead = async (): Promise<void> => {
    await clear(owner, record.found, plugin.firewalls(call.config));
    // What it had reserved is in the way, too.
    await release(call.delegate, record.found?.lease, ipam);
  };
  if (before === "dead") await clearDead();
  using _alone = plugin.alone && container ? await netnsLock(container.netns) : undefined;
  record.begin(identityOf(spaces, call.netns), leaseOf(ipam, call));
  try {
    // From here on the IPAM plugin may have made a reservation, also if it fails.
    const late = speaksOverTheLink(ipam);
    // Of links that are made by then, those of the dead cannot be told: its reservation alone is given back.
    const clearReserved = late ? () => release(call.delegate, record.found?.lease, ipam) : clearDead;
    const lease = async (): Promise<Result> =>
      ipam === undefined ? emptyResult : leased(await reserve(call, ipam, clearReserved));
    const input = inputOf(call, owner, late ? emptyResult : await lease());
    const mac = plugin.mac?.(call);
    const named = mac === undefined ? input : { ...input, mac, fresh: { ...input.fresh, containerMac: mac } };
    const lateLease = { take: lease, giveBack: () => release(call.delegate, undefined, ipam) };
    const plan = await realise(plugin, named, { spaces, record, lease: late ? lateLease : undefined });
    for (const warning of plan.warnings ?? []) call.log(warning);
    return plan.result;
  } catch (e) {
    const left = e instanceof RollbackFailed ? [e.left] : [];
    await giveBack(call, ipam, record, left);
    throw e instanceof RollbackFailed ? e.cause : e;
  }
}

/** What a killed or dead ADD of this key has left goes, too, when this one has nothing to put in its place. */
async function clearKilled(owner: Owner): Promise<void> {
  // Most have none, and a look costs less than the lock.
  if (peekRecord(markOf(owner)) === undefined) return;
  using record = openRecord(owner);
  if (record.found === undefined || isAlive(record.found)) return;
  await clear(owner, record.found, []);
  record.remove();
}

/** Loaded by those plugins alone that ask for it. */
async function netnsLock(netns: Netns): Promise<Disposable> {
  const { lockNetns } = await import("../netstate/netns-lock.ts");
  return lockNetns(netns);
}

/** What the record needs so that the address is given back to where it came from, whatever the configuration says then. */
const leaseOf = (ipam: string | undefined, { conf }: AddCall<unknown>): Lease | undefined =>
  ipam === undefined ? undefined : { plugin: ipam, config: foldKeys(conf.raw, ["ipam"]).ipam };

/** An address that is this key's own already is that of a dead attachment whose record is lost. */
async function reserve(
  { delegate }: AddCall<unknown>,
  ipam: string,
  clearDead: () => Promise<void>,
): Promise<Result> {
  try {
    return await delegate.add(ipam);
  } catch (e) {
    if (cniCode(e) !== ADDRESS_TAKEN) throw e;
    await clearDead();
    return delegate.add(ipam);
  }
}

/** After a failed ADD. What cannot be given back now keeps its record, so that DEL or the next ADD does it. */
async function giveBack(
  call: AddCall<unknown>,
  ipam: string | undefined,
  record: OpenRecord,
  left: readonly unknown[],
): Promise<void> {
  const failures = [...left];
  try {
    if (ipam !== undefined) await call.delegate.del(ipam);
    if (left.length === 0) record.remove();
  } catch (e) {
    failures.push(e);
  }
  for (const e of failures)
    call.log(`after the failed ADD something is left for DEL: ${(e as Error).message}`);
}

/** What one ADD works with. */
interface Work {
  readonly spaces: Spaces;
  readonly record: OpenRecord;
  /** How to get the lease once the links are up, and how to return it while they are; absent if the input has it. */
  readonly lease: { take(): Promise<Result>; giveBack(): Promise<void> } | undefined;
}

/** Plans, applies and commits. On failure the kernel is as it was, or a `RollbackFailed` tells. */
async function realise<Config>(
  plugin: KernelPlugin<Config>,
  input: PlanInput<Config>,
  work: Work,
): Promise<Plan> {
  for (let attempt = 1; ; attempt++) {
    try {
      // What is opened stays open for the rollback.
      using opened = new DisposableStack();
      return await allOrNothing((undo) => attempted(plugin, input, work, { undo, opened }));
    } catch (e) {
      if (!(e instanceof StaleFacts)) throw e;
      if (attempt === PLANS)
        throw new NetError("try-again", { why: `the host changed ${PLANS} times while this was planned` });
    }
  }
}

async function attempted<Config>(
  plugin: KernelPlugin<Config>,
  input: PlanInput<Config>,
  { spaces, record, lease }: Work,
  { undo, opened }: { readonly undo: DisposableStack; readonly opened: DisposableStack },
): Promise<Plan> {
  const mark = markOf(ownerOf(plugin.type, input));
  const planned = async (from: PlanInput<Config>): Promise<Plan> =>
    plugin.plan(from, await readFacts(spaces, plugin.needs(from)));
  const put = async (all: NetState, added: NetState): Promise<void> => {
    await loadKinds(added);
    const firewalls = opened.use(await loadFirewalls(added));
    const borrow: ApplyContext["borrow"] = (object, value) =>
      record.borrow({ object: all.objects.indexOf(object), value });
    apply(added, { ...openContext(mark, spaces, firewalls), borrow, undo });
  };
  let plan = await planned(input);
  record.plan(plan.state);
  await put(plan.state, plan.state);
  if (lease !== undefined) {
    const before = plan.state.objects;
    try {
      plan = await planned({ ...input, lease: await lease.take() });
      const known = new Set(before.map(stringify));
      const objects = plan.state.objects.filter((o) => !known.has(stringify(o)));
      // What was borrowed is recorded by its place in the list: the new ones come behind.
      const all = { objects: [...before, ...objects] };
      record.extend(all);
      await put(all, { objects });
    } catch (e) {
      // Who asked for it tries again after the links are gone, and tells what failed.
      await failureOf(() => lease.giveBack());
      throw e;
    }
  }
  record.commit();
  return plan;
}

/** What IPAM gave has to have an address; the reservation is given back by the caller. */
function leased(lease: Result): Result {
  if (lease.ips.length === 0)
    throw new NetError("config/invalid", { field: "ipam", why: "the IPAM plugin returned no IP address" });
  return lease;
}

async function status<Config>(plugin: KernelPlugin<Config>, call: StatusCall<Config>): Promise<void> {
  const ipam = plugin.ipam?.(call.config);
  if (ipam !== undefined) await call.delegate.status(ipam);
  await plugin.status?.(call);
}

function identityOf(spaces: Spaces, path: string): NetnsIdentity {
  const cookie = spaces.container?.socket.netnsCookie();
  const { dev, ino } = spaces.container?.netns ?? { dev: 0, ino: 0 };
  return { path, dev, ino, ...(cookie === undefined ? {} : { cookie: String(cookie) }) };
}
