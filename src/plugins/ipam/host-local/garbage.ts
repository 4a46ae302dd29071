/** Which reservations no attachment needs any more, and their removal. */
import type { AttachmentKey } from "../../../cni/plugin.ts";
import { allEntries, ownerText, release, type Store } from "./store.ts";

/** The content that the reference writes: a container ID, and since 0.7 an interface name on a second line. */
const RESERVATION = /^(?<container>[A-Za-z0-9][A-Za-z0-9_.-]*)(?:\r\n(?<ifname>[^\s/:]{1,15}))?$/;

/**
 * True if a file with this content belongs to none of the valid attachments: its container and interface are not
 * among them, or, in the old format, its container is not. An empty file belongs to nobody. Any other text was not
 * written by a plugin (somebody keeps an address out of use) and stays.
 */
export function isGarbage(content: string, valid: readonly AttachmentKey[]): boolean {
  if (content === "") return true;
  const { container, ifname } = RESERVATION.exec(content)?.groups ?? {};
  if (container === undefined) return false;
  return !valid.some((v) => (ifname === undefined ? v.containerId === container : ownerText(v) === content));
}

/** Frees everything that is garbage; goes on after a failure and returns all of them. */
export function collectGarbage(store: Store, valid: readonly AttachmentKey[]): unknown[] {
  const errors: unknown[] = [];
  for (const [file, owner] of allEntries(store)) {
    if (!isGarbage(owner, valid)) continue;
    try {
      release(store, file, owner);
    } catch (e) {
      errors.push(e);
    }
  }
  return errors;
}
