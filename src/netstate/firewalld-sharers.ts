import { type Sharers, zoneOf } from "../firewall/firewalld.ts";
import { isAlive } from "./alive.ts";
import { lockHost } from "./host-lock.ts";
import { MARK_PREFIX, markOf } from "./owner.ts";
import { type AttachmentRecord, isBusy, listRecords, peekRecord } from "./record.ts";

/**
 * Which sources of firewalld attachments have in common, by their records: two networks may give one address. The lock
 * makes a record that is written before it be seen by whoever removes, and a source be added after it was removed.
 */
export const sharers: Sharers = {
  lock: () => lockHost("firewalld"),
  need: (address, zone, mark) =>
    listRecords(MARK_PREFIX).some(
      (record) => markOf(record.owner) !== mark && has(record, address.text, zone) && stays(record),
    ),
};

const has = ({ state }: AttachmentRecord, address: string, zone: string): boolean =>
  state?.objects.some(
    (o) =>
      o.kind === "firewall" &&
      o.state.backend === "firewalld" &&
      zoneOf(o.state) === zone &&
      o.state.rules.some((r) => r.kind === "accept-forward" && r.address.text === address),
  ) === true;

/** False for one on its way out: of two that go at the same time, one has to take the source along. */
function stays(record: AttachmentRecord): boolean {
  const busy = isBusy(record.owner);
  if (!record.committed && busy) return true;
  // It may have been committed between the two looks.
  const now = record.committed ? record : peekRecord(markOf(record.owner));
  return now !== undefined && !busy && isAlive(now);
}
