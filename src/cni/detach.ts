import { NetError } from "../errors.ts";
import type { Backend } from "../firewall/model.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { identifyNetns, isAlive } from "../netstate/alive.ts";
import { type Context, openContext } from "../netstate/context.ts";
import { loadFirewalls } from "../netstate/firewalls.ts";
import { loadKinds, remove } from "../netstate/interpret.ts";
import { removePair } from "../netstate/kinds/veth.ts";
import type { NetObject, NetState } from "../netstate/model.ts";
import { markOf, markPrefix, type Owner, vethName } from "../netstate/owner.ts";
import {
  type AttachmentRecord,
  type Lease,
  listRecords,
  openRecord,
  removeEmptyRecords,
} from "../netstate/record.ts";
import { openSpaces, type Spaces } from "../netstate/spaces.ts";
import { findLink, type Link, listLinks, removeLink } from "../rtnl/link.ts";
import type { Collection, KernelPlugin } from "./kernel-plugin.ts";
import { ownerOf } from "./plan-input.ts";
import type { DelCall, Delegate, GcCall } from "./plugin.ts";

/**
 * DEL and GC of a plugin that is written as data. The record says what is to be removed; when it is lost, the marks
 * on the kernel's objects do. Every step is done whatever the others say, then every failure is reported.
 */
export async function detach<Config>(plugin: KernelPlugin<Config>, call: DelCall<Config>): Promise<void> {
  const owner = ownerOf(plugin.type, call);
  using record = openRecord(owner);
  const { found } = record;
  const failures: Error[] = [];
  const ipam = plugin.ipam?.(call.config);
  const giveBack = (): Promise<void> => collect(failures, () => release(call.delegate, found?.lease, ipam));
  const first = speaksOverTheLink(found?.lease?.plugin ?? ipam);
  if (first) await giveBack();
  failures.push(
    ...(found?.state === undefined
      ? await removeMarked(owner, call.netns, plugin.firewalls(call.config), (context) =>
          plugin.removeForeign?.(call, context),
        )
      : await removeRecorded(found, found.state, call.log)),
  );
  if (!first) await giveBack();
  report(failures, `${plugin.type} of container ${owner.containerId}`);
  record.remove();
}

/**
 * True for an IPAM plugin that needs the container's interface to be there and up: `dhcp` talks to a server on its
 * network. All others reserve before it is made, so that a failure comes early, and release after it is gone, so that
 * nobody else gets an address that is still in use.
 */
export const speaksOverTheLink = (ipam: string | undefined): boolean => ipam === "dhcp";

/** Gives back what ADD was leased: as the record says, and without one as the configuration does now. */
export async function release(
  delegate: Pick<Delegate, "del">,
  lease: Lease | undefined,
  ipam: string | undefined,
): Promise<void> {
  if (lease !== undefined) await delegate.del(lease.plugin, lease.config);
  else if (ipam !== undefined) await delegate.del(ipam);
}

/**
 * What an earlier ADD of this key has left. Without a record its link tells: it is alive if it is the container's
 * interface (`inside`), or the other end of that.
 */
export function earlier(
  owner: Owner,
  found: AttachmentRecord | undefined,
  host: NetlinkSocket,
  inside: Link | undefined,
): "none" | "live" | "dead" {
  if (found !== undefined) return isAlive(found) ? "live" : "dead";
  const mark = markOf(owner);
  if (inside?.altNames.includes(mark)) return "live";
  const end = findLink(host, { altName: mark });
  if (end === undefined) return "none";
  return inside?.kind === "veth" && inside.peerIndex === end.index ? "live" : "dead";
}

/**
 * Takes what a dead attachment left out of the kernel, by its record or, if that is lost, by the marks. Throws if
 * something could not be removed.
 */
export async function clear(
  owner: Owner,
  found: AttachmentRecord | undefined,
  backends: readonly Backend[],
): Promise<void> {
  const failures =
    found === undefined
      ? await removeMarked(owner, undefined, backends)
      : // Without a plan nothing was made.
        found.state && (await removeRecorded(found, found.state));
  report(failures ?? [], `what an earlier attempt for container ${owner.containerId} left behind`);
}

async function removeRecorded(
  found: AttachmentRecord,
  state: NetState,
  log?: (message: string) => void,
): Promise<Error[]> {
  using spaces = openSpaces(reachesInside(state) ? liveNetns(found) : undefined);
  using _alone = await aloneIn(spaces, state);
  await loadKinds(state);
  using firewalls = await loadFirewalls(state);
  const context = openContext(markOf(found.owner), spaces, firewalls);
  const borrowed = new Map(found.borrowed.map(({ object, value }) => [state.objects[object], value]));
  return remove(state, { ...context, borrowed: (object) => borrowed.get(object), ...(log ? { log } : {}) });
}

/** Who looks whether others still use something must not be overtaken by one who begins to. */
async function aloneIn({ container }: Spaces, { objects }: NetState): Promise<Disposable | undefined> {
  if (container === undefined || !objects.some((o) => o.kind === "vrf-member")) return undefined;
  const { lockNetns } = await import("../netstate/netns-lock.ts");
  return lockNetns(container.netns);
}

/** False if all that is to be removed is in the host: what is exclusive in the container mostly goes with its link. */
const reachesInside = (state: NetState): boolean =>
  state.objects.some((o) => "place" in o && o.place === "container" && outlivesLink(o));

const outlivesLink = (o: NetObject): boolean =>
  o.possession === "borrowed" ||
  o.kind === "rule" ||
  (o.kind === "route" && o.foreignLink === true) ||
  ((o.kind === "link" || o.kind === "tap") && o.possession === "exclusive");

/** The path of the recorded namespace, if it is still that namespace and not a newer one in its place. */
function liveNetns({ netns }: AttachmentRecord): string | undefined {
  const now = identifyNetns(netns.path);
  const same = now?.dev === netns.dev && now.ino === netns.ino && now.cookie === netns.cookie;
  return same ? netns.path : undefined;
}

/** Removes what carries the mark. `foreign` then does the same for what has none. */
async function removeMarked(
  owner: Owner,
  netns: string | undefined,
  backends: readonly Backend[],
  foreign?: (context: Context) => Promise<void> | undefined,
): Promise<Error[]> {
  const failures: Error[] = [];
  const mark = markOf(owner);
  using spaces = openSpaces(netns !== undefined && identifyNetns(netns) ? netns : undefined);
  using firewalls = await loadFirewalls(backends);
  const context: Context = openContext(mark, spaces, firewalls);
  for (const backend of backends) await collect(failures, () => firewalls.open(backend).remove(mark));
  await collect(failures, () => removePair({ host: { name: vethName(mark) } }, context));
  await collect(failures, () => spaces.container && removeLink(spaces.container.socket, { altName: mark }));
  await collect(failures, () => foreign?.(context));
  return failures;
}

/** GC: everything of this component in this network whose attachment is not in the list. */
export async function prune<Config>(plugin: KernelPlugin<Config>, call: GcCall<Config>): Promise<void> {
  const failures: Error[] = [];
  const network = call.conf.name;
  const prefix = markPrefix(plugin.type, network);
  const valid = new Set(call.valid.map((key) => markOf({ component: plugin.type, network, ...key })));
  for (const { owner } of listRecords(prefix))
    if (!valid.has(markOf(owner))) await collect(failures, () => clearRecord(owner));
  await collect(failures, () => removeEmptyRecords(prefix));
  using spaces = openSpaces(undefined);
  const collection = { spaces, prefix, valid };
  await collect(failures, () => sweep(collection, plugin.firewalls(call.config)));
  await collect(failures, () => plugin.removeUnused?.(call.config, collection));
  const ipam = plugin.ipam?.(call.config);
  if (ipam !== undefined) await collect(failures, () => call.delegate.gc(ipam));
  report(failures, `${plugin.type} in network ${network}`);
}

/** Takes out of the kernel what the record of one key says, and forgets it. */
export async function clearRecord(owner: Owner): Promise<void> {
  using record = openRecord(owner);
  if (record.found) await clear(owner, record.found, []);
  record.remove();
}

/** What carries a mark and has lost its record. */
async function sweep({ spaces, prefix, valid }: Collection, backends: readonly Backend[]): Promise<void> {
  using firewalls = await loadFirewalls(backends);
  for (const link of listLinks(spaces.host)) {
    const mark = link.altNames.find((n) => n.startsWith(prefix));
    if (mark !== undefined && !valid.has(mark)) removeLink(spaces.host, { index: link.index });
  }
  for (const backend of backends) firewalls.open(backend).prune(prefix, valid);
}

async function collect(failures: Error[], step: () => unknown): Promise<void> {
  try {
    await step();
  } catch (e) {
    failures.push(e as Error);
  }
}

/** One failure is thrown as it is; several as one error that names them all. */
function report(failures: readonly Error[], what: string): void {
  const [first, ...more] = failures;
  if (first === undefined) return;
  if (more.length === 0) throw first;
  const why = failures.map((e) => e.message).join("; ");
  throw new NetError(
    "try-again",
    { why: `cleaning up ${what}: ${why}` },
    { cause: new AggregateError(failures) },
  );
}
