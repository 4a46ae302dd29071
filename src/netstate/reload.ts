import { failureOf } from "../errors.ts";
import { isZeroMac } from "../net/mac.ts";
import { findLink } from "../rtnl/link.ts";
import { isAlive } from "./alive.ts";
import { openContext } from "./context.ts";
import { loadFirewalls } from "./firewalls.ts";
import { loadKinds, restore } from "./interpret.ts";
import type { NetObject } from "./model.ts";
import { MARK_PREFIX, markOf, type Owner } from "./owner.ts";
import { type AttachmentRecord, listRecords, openRecord, recordedAt } from "./record.ts";
import { openSpaces, type Spaces } from "./spaces.ts";

/**
 * Puts back what others took away from live attachments: rules after a flush of the rule set or the restart of a
 * firewall service, shared addresses and parameters of the host. Links and what is inside containers is left alone;
 * what is in place stays as it is. Of every attachment, or of these records.
 */
export interface Reloaded {
  readonly record: AttachmentRecord;
  readonly failure?: Error;
}

const canBePutBack = (o: NetObject): boolean =>
  o.kind === "firewall" ||
  (o.possession === "shared" &&
    (o.kind === "bridge" || o.kind === "vlan-gateway" || ("place" in o && o.place === "host")));

export async function reload(
  records: readonly AttachmentRecord[] = listRecords(MARK_PREFIX),
): Promise<readonly Reloaded[]> {
  const done: Reloaded[] = [];
  // Of several networks of a container, the one that came first has its ports.
  for (const { owner } of records.toSorted((a, b) => timeOf(a) - timeOf(b))) {
    // Under its lock: what a DEL takes away at this moment must not come back.
    using open = openRecord(owner);
    const record = open.found;
    if (record?.state === undefined || !isAlive(record)) continue;
    const objects = record.state.objects.filter(canBePutBack);
    if (objects.length === 0) continue;
    const failure = await failureOf(() => putBack(record.owner, objects));
    done.push({ record, ...(failure ? { failure } : {}) });
  }
  return done;
}

const timeOf = ({ owner }: AttachmentRecord): number => recordedAt(owner) ?? 0;

async function putBack(owner: Owner, objects: readonly NetObject[]): Promise<void> {
  using spaces = openSpaces(undefined);
  const state = { objects: objects.map((o) => asItIs(o, spaces)) };
  await loadKinds(state);
  using firewalls = await loadFirewalls(state);
  const [first, ...more] = restore(state, openContext(markOf(owner), spaces, firewalls));
  if (first === undefined) return;
  throw more.length === 0 ? first : new AggregateError([first, ...more], messages([first, ...more]));
}

const messages = (failures: readonly Error[]): string => failures.map((e) => e.message).join("; ");

/** A bridge, or the host's interface in one, may have got another address since. */
export function asItIs(o: NetObject, { host }: Spaces): NetObject {
  if (o.kind !== "bridge" && o.kind !== "vlan-gateway") return o;
  const mac = findLink(host, { name: o.name })?.mac;
  return mac === undefined || isZeroMac(mac) ? o : { ...o, mac };
}
