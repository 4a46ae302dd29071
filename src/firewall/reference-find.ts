import type { Family, Ip } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { findChain, findTable, listRules } from "../nft/list.ts";
import type { RuleInfo, TableRef } from "../nft/model.ts";
import { forward, masqueradeChain, portMapChain } from "./iptables-names.ts";
import { legacyLoaded, nftFamily } from "./iptables-probe.ts";
import { runProgram, save, variant } from "./iptables-run.ts";
import { parseSave, type SavedTable } from "./iptables-save.ts";
import type { FirewallRule } from "./model.ts";

/**
 * Whether the reference plugins made the rules of an attachment: CHECK of a container that they attached then looks for
 * theirs and not for ours. What a rule says in detail is not compared, for the reference writes it in several ways.
 */
export interface ReferenceOwner {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** `MASQUERADE_INSTANCE-…`: what the comments of masquerading begin with in the reference's nftables table. */
export const masqueradeInstance = ({ network, containerId, ifname }: ReferenceOwner): string => {
  const hash16 = (text: string): string =>
    new Bun.CryptoHasher("sha512").update(text).digest("hex").slice(0, 16);
  return `${hash16(network)}-${hash16(`${ifname}:${containerId}`)},`;
};

/** The table and the chains in which the reference checks MAC addresses of one interface. */
export const macCheckTable: TableRef = { family: "bridge", table: "nat" };
export const macCheckChain = ({ containerId, ifname }: ReferenceOwner): string =>
  `cni-br-iface-${containerId}-${ifname}`;

/**
 * Whether the reference made such a rule for the attachment; undefined if it has none of that kind. Without a socket, only
 * legacy tables are looked at.
 */
export function referenceHolds(
  socket: NetlinkSocket | undefined,
  rule: FirewallRule,
  owner: ReferenceOwner,
): boolean | undefined {
  const { network, containerId } = owner;
  switch (rule.kind) {
    case "masquerade":
      return (
        hasComment(socket, { family: "inet", table: "cni_plugins_masquerade" }, (c) =>
          c.startsWith(masqueradeInstance(owner)),
        ) || hasChain(socket, rule.address.family, "nat", masqueradeChain(network, containerId))
      );
    case "port-mapping": {
      const { family } = rule.target;
      const table: TableRef = { family: nftFamily[family], table: "cni_hostport" };
      return (
        hasComment(socket, table, (c) => c === containerId) ||
        hasChain(socket, family, "nat", portMapChain(network, containerId))
      );
    }
    case "mac-check":
      return socket !== undefined && findChain(socket, macCheckTable, macCheckChain(owner)) !== undefined;
    case "accept-forward":
      return chainSpeaksOf(socket, rule.address.family, forward.accept, rule.address);
    case "ingress-policy":
      return chainSpeaksOf(socket, rule.address.family, forward.stage1, rule.bridge);
    case "accept-mapped":
    case "closed-link":
    case "port-isolation":
      return undefined;
  }
}

function hasComment(
  socket: NetlinkSocket | undefined,
  table: TableRef,
  wanted: (comment: string) => boolean,
): boolean {
  if (socket === undefined || findTable(socket, table) === undefined) return false;
  return listRules(socket, table).some((r) => r.comment !== undefined && wanted(r.comment));
}

const legacy = (family: Family, table: "nat" | "filter"): SavedTable | undefined =>
  legacyLoaded(family, table)
    ? parseSave(save(variant(runProgram, "legacy"), family, table) ?? "").get(table)
    : undefined;

function hasChain(
  socket: NetlinkSocket | undefined,
  family: Family,
  table: "nat" | "filter",
  chain: string,
): boolean {
  const inNft = socket && findChain(socket, { family: nftFamily[family], table }, chain);
  return inNft !== undefined || legacy(family, table)?.has(chain) === true;
}

/** True if a rule of the chain in table `filter` compares with this address or this name of a link. */
function chainSpeaksOf(
  socket: NetlinkSocket | undefined,
  family: Family,
  chain: string,
  what: Ip | string,
): boolean {
  const table: TableRef = { family: nftFamily[family], table: "filter" };
  if (socket !== undefined && findChain(socket, table, chain) !== undefined) {
    const bytes = typeof what === "string" ? new TextEncoder().encode(what) : what.bytes;
    if (listRules(socket, table, chain).some((r) => compares(r, bytes))) return true;
  }
  const word = typeof what === "string" ? what : `${what.text}/${what.family === 4 ? 32 : 128}`;
  return (
    legacy(family, "filter")
      ?.get(chain)
      ?.some((r) => r.words.includes(word)) === true
  );
}

/** A name is compared with zero bytes behind it. */
const compares = ({ expressions }: RuleInfo, wanted: Uint8Array): boolean =>
  expressions.some(
    (e) =>
      e.kind === "cmp" &&
      wanted.every((byte, i) => e.bytes[i] === byte) &&
      e.bytes.subarray(wanted.length).every((byte) => byte === 0),
  );
