import { type Detail, isNetError } from "../errors.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { commit, deleteTable } from "../nft/batch.ts";
import type { TableRef } from "../nft/model.ts";
import { buildGroup, isWhole, missingFeature } from "./nftables-groups.ts";
import { conditionalGroup } from "./nftables-conditional.ts";
import { groups } from "./nftables-layout.ts";
import type { Group } from "./nftables-parts.ts";

/**
 * Asks the kernel whether it can make the chains of the layout, and changes nothing: they are sent in one transaction with a change that is impossible, so that all of it is refused, and the refusal says whether
 * that change alone was the reason. The kernel may load modules for the answer, as for an ADD.
 */

/** Where NAT chains of this layout stand: another one of the same priority comes before or after it by chance. */
export const natPriorities = [groups.masquerade, groups.portmap, conditionalGroup].flatMap(({ chains }) =>
  chains.flatMap(({ base }) => (base?.type === "nat" ? [base] : [])),
);

const PROBE = "heddle-probe";
const nowhere: TableRef = { family: "inet", table: "heddle-probe-end" };

/** What is asked for: masquerading and port mappings, or what looks at frames of a bridge. */
const asked = {
  inet: [groups.masquerade, groups.portmap],
  bridge: [groups.macCheck],
} as const satisfies Readonly<Record<string, readonly Group[]>>;

/** A kernel that has no tables of a family refuses the table itself. */
const missingFamily = ({
  request,
  errno,
}: Detail["netlink/refused"]): Detail["feature/missing"] | undefined =>
  request.startsWith("NFT_MSG_NEWTABLE ") && ["EOPNOTSUPP", "EAFNOSUPPORT"].includes(errno)
    ? { feature: `nftables tables (${request}: ${errno})`, needs: "nf_tables and nf_tables_bridge" }
    : undefined;

/** What the kernel lacks for them; undefined if nothing. Throws `netlink/refused` for other refusals (EPERM). */
export function missingNftables(
  socket: NetlinkSocket,
  family: keyof typeof asked,
): Detail["feature/missing"] | undefined {
  const wanted: readonly Group[] = asked[family];
  if (wanted.every((group) => isWhole(socket, group))) return undefined;
  const impossible = deleteTable(nowhere);
  try {
    commit(socket, [
      ...wanted.flatMap((group) => buildGroup(socket, { ...group, table: { family, table: PROBE } })),
      impossible,
    ]);
  } catch (e) {
    if (!isNetError(e, "netlink/refused")) throw e;
    if (e.detail.request === impossible.what) return undefined;
    const missing = missingFeature(e.detail) ?? missingFamily(e.detail);
    if (missing === undefined) throw e;
    return missing;
  }
  throw new TypeError("the kernel removed a table that is not there");
}
