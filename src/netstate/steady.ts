import { markOf, type Owner } from "./owner.ts";
import { type AttachmentRecord, isBusy, peekRecord, recordedAt } from "./record.ts";

/**
 * Looking at an attachment while nothing happens to it. Who lists records and then the kernel sees two moments: a call may
 * have ended between, and what is being made or taken apart looks as if it were lost or left.
 */
export type Looked<T> =
  | { readonly kind: "seen"; readonly record: AttachmentRecord; readonly value: T }
  /** A call for it is at work, or was all the time. */
  | { readonly kind: "busy" }
  | { readonly kind: "gone" };

/** Calls that follow each other for one container are rare; whoever makes so many in a row is at work. */
const TRIES = 4;

/** What `look` finds with the record as it is, if no call for it was at work meanwhile. It may be called more than once. */
export async function lookSteadily<T>(
  owner: Owner,
  look: (record: AttachmentRecord) => T | Promise<T>,
): Promise<Looked<T>> {
  const mark = markOf(owner);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const written = recordedAt(owner);
    if (isBusy(owner)) continue;
    const record = peekRecord(mark);
    if (record === undefined) return { kind: "gone" };
    const value = await look(record);
    // Each call that changes something writes the record anew, or removes it, and holds its lock until it is done.
    if (!isBusy(owner) && recordedAt(owner) === written) return { kind: "seen", record, value };
  }
  return { kind: "busy" };
}
