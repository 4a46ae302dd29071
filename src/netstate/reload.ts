import { isAlive } from "./alive.ts";
import { openContext } from "./context.ts";
import { loadFirewalls } from "./firewalls.ts";
import { apply } from "./interpret.ts";
import type { NetObject } from "./model.ts";
import { markOf } from "./owner.ts";
import { type AttachmentRecord, listRecords } from "./record.ts";
import { openSpaces } from "./spaces.ts";

/**
 * Puts back what others took away from live attachments: rules after a flush of the rule set or the restart of a
 * firewall service, shared addresses and parameters of the host. Links and what is inside containers is left alone;
 * what is in place stays as it is.
 */
export interface Reloaded {
  readonly record: AttachmentRecord;
  readonly failure?: Error;
}

const canBePutBack = (o: NetObject): boolean =>
  o.kind === "firewall" ||
  (o.possession === "shared" && (o.kind === "bridge" || ("place" in o && o.place === "host")));

export async function reload(): Promise<readonly Reloaded[]> {
  const done: Reloaded[] = [];
  for (const record of listRecords("heddle-")) {
    if (!isAlive(record) || record.state === undefined) continue;
    const state = { objects: record.state.objects.filter(canBePutBack) };
    if (state.objects.length === 0) continue;
    try {
      using spaces = openSpaces(undefined);
      using firewalls = await loadFirewalls(state);
      apply(state, { ...openContext(markOf(record.owner), spaces, firewalls), borrow: () => {} });
      done.push({ record });
    } catch (e) {
      done.push({ record, failure: e as Error });
    }
  }
  return done;
}
