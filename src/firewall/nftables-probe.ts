import { type Detail, isNetError } from "../errors.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { commit, deleteTable } from "../nft/batch.ts";
import type { TableRef } from "../nft/model.ts";
import { buildGroup, isWhole, missingFeature } from "./nftables-groups.ts";
import { conditionalGroup } from "./nftables-conditional.ts";
import { groups } from "./nftables-layout.ts";

/**
 * Asks the kernel whether it can make the chains of masquerading and port mappings, and changes nothing: they are
 * sent in one transaction with a change that is impossible, so that all of it is refused, and the refusal says whether
 * that change alone was the reason. The kernel may load modules for the answer, as for an ADD.
 */

/** Where NAT chains of this layout stand: another one of the same priority comes before or after it by chance. */
export const natPriorities = [groups.masquerade, groups.portmap, conditionalGroup].flatMap(({ chains }) =>
  chains.flatMap(({ base }) => (base?.type === "nat" ? [base] : [])),
);

const probe: TableRef = { family: "inet", table: "heddle-probe" };
const nowhere: TableRef = { family: "inet", table: "heddle-probe-end" };

/** What the kernel lacks for them; undefined if nothing. Throws `netlink/refused` for other refusals (EPERM). */
export function missingNftables(socket: NetlinkSocket): Detail["feature/missing"] | undefined {
  const wanted = [groups.masquerade, groups.portmap];
  if (wanted.every((group) => isWhole(socket, group))) return undefined;
  const impossible = deleteTable(nowhere);
  try {
    commit(socket, [
      ...wanted.flatMap((group) => buildGroup(socket, { ...group, table: probe })),
      impossible,
    ]);
  } catch (e) {
    if (!isNetError(e, "netlink/refused")) throw e;
    if (e.detail.request === impossible.what) return undefined;
    const missing = missingFeature(e.detail);
    if (missing === undefined) throw e;
    return missing;
  }
  throw new TypeError("the kernel removed a table that is not there");
}
