import { attachmentKey, type KnownAttachment } from "../../cni/attachments.ts";
import { markOf, markPrefix } from "../../netstate/owner.ts";
import type { listUnrecorded } from "../../netstate/unrecorded.ts";

/** What the kernel has of attachments that neither a record nor the cache knows: a mark, and what carries it. */
export interface LostAttachment {
  readonly key: string;
  readonly mark: string;
  /** The plugin's type. */
  readonly component: string;
  /** One that other attachments are on; absent if it is none of these. */
  readonly network?: string;
  readonly what: readonly string[];
}

type Unrecorded = ReturnType<typeof listUnrecorded>;

/** `heddle-COMPONENT-NETWORK-ATTACHMENT`, the last two hashes. */
const MARK = /^heddle-(.+)-[0-9a-f]{12}-([0-9a-f]{12})[0-9a-f]{4}$/;

export function lostAttachments(
  unrecorded: Unrecorded,
  known: readonly KnownAttachment[],
): readonly LostAttachment[] {
  const cached = new Set(known.flatMap(marksWithoutRecord));
  const networks = [...new Set(known.map((a) => a.network))];
  return [...unrecorded].flatMap(([mark, what]) => {
    if (cached.has(mark)) return [];
    const [, component = mark, digits] = MARK.exec(mark) ?? [];
    const network = networks.find((n) => mark.startsWith(markPrefix(component, n)));
    return [
      {
        key: digits ?? attachmentKey({ network: "", containerId: mark, ifname: "" }),
        mark,
        component,
        ...(network === undefined ? {} : { network }),
        what,
      },
    ];
  });
}

/** The marks that an attachment which the cache alone knows would have. */
export const marksWithoutRecord = (a: KnownAttachment): readonly string[] =>
  a.records.length > 0
    ? []
    : a.plugins.map((component) =>
        markOf({ component, network: a.network, containerId: a.containerId, ifname: a.ifname }),
      );

export const whyLost = (what: readonly string[]): string =>
  `its record is lost; its own in the kernel: ${what.join(", ")}`;
