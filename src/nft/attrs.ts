import { attrs, bytes, cstr, fixedAttr, listOf } from "../wire/attrs.ts";
import { be32, be64, struct, u8, be16 } from "../wire/fixed.ts";

/**
 * Messages and attribute tables of nftables (linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h). Numbers and
 * byte layout only; what a table or a rule is stands in `model.ts`.
 */
export const nfgenmsg = struct("nfgenmsg", 4, { family: u8, version: u8, resId: be16 });

/** NFPROTO_* (linux/netfilter.h), by the names that nft uses. */
export const families = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 } as const;
export type NftFamily = keyof typeof families;

/** NFNL_SUBSYS_NFTABLES in the high byte of the message type. */
export const SUBSYSTEM = 10;
export const NFT_MSG = {
  NEWTABLE: 0,
  GETTABLE: 1,
  DELTABLE: 2,
  NEWCHAIN: 3,
  GETCHAIN: 4,
  DELCHAIN: 5,
  NEWRULE: 6,
  GETRULE: 7,
  DELRULE: 8,
  NEWSET: 9,
  GETSET: 10,
  DELSET: 11,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  DELSETELEM: 14,
  NEWGEN: 15,
  GETGEN: 16,
} as const;
export type NftVerb = keyof typeof NFT_MSG;

/** NFNL_MSG_BATCH_BEGIN and _END. */
export const BATCH = { BEGIN: 16, END: 17 } as const;
export const batchAttrs = attrs("NFNL_BATCH", { genid: [1, fixedAttr(be32)] });
export const genAttrs = attrs("NFTA_GEN", { id: [1, fixedAttr(be32)] });

export const tableAttrs = attrs("NFTA_TABLE", {
  name: [1, cstr],
  flags: [2, fixedAttr(be32)],
  use: [3, fixedAttr(be32)],
  handle: [4, fixedAttr(be64)],
  userdata: [6, bytes],
});

export const chainAttrs = attrs("NFTA_CHAIN", {
  table: [1, cstr],
  handle: [2, fixedAttr(be64)],
  name: [3, cstr],
  hook: [4, attrs("NFTA_HOOK", { number: [1, fixedAttr(be32)], priority: [2, fixedAttr(be32)] })],
  policy: [5, fixedAttr(be32)],
  use: [6, fixedAttr(be32)],
  type: [7, cstr],
  flags: [10, fixedAttr(be32)],
  userdata: [12, bytes],
});

export const exprAttrs = attrs("NFTA_EXPR", { name: [1, cstr], data: [2, bytesNested()] });

export const ruleAttrs = attrs("NFTA_RULE", {
  table: [1, cstr],
  chain: [2, cstr],
  handle: [3, fixedAttr(be64)],
  expressions: [4, listOf("NFTA_RULE_EXPRESSIONS", 1, exprAttrs)],
  userdata: [7, bytes],
});

export const setAttrs = attrs("NFTA_SET", {
  table: [1, cstr],
  name: [2, cstr],
  flags: [3, fixedAttr(be32)],
  keyType: [4, fixedAttr(be32)],
  keyLength: [5, fixedAttr(be32)],
  dataType: [6, fixedAttr(be32)],
  dataLength: [7, fixedAttr(be32)],
  id: [10, fixedAttr(be32)],
  userdata: [13, bytes],
  handle: [16, fixedAttr(be64)],
});

export const verdictAttrs = attrs("NFTA_VERDICT", { code: [1, fixedAttr(be32)], chain: [2, cstr] });
export const dataAttrs = attrs("NFTA_DATA", { value: [1, bytes], verdict: [2, verdictAttrs] });

const elementAttrs = attrs("NFTA_SET_ELEM", {
  key: [1, dataAttrs],
  data: [2, dataAttrs],
  flags: [3, fixedAttr(be32)],
  userdata: [6, bytes],
});
export type ElementAttrs = ReturnType<typeof elementAttrs.decode>;

export const elementsAttrs = attrs("NFTA_SET_ELEM_LIST", {
  table: [1, cstr],
  set: [2, cstr],
  elements: [3, listOf("NFTA_SET_ELEM_LIST_ELEMENTS", 1, elementAttrs)],
});

/** The data of an expression: nested, but read by the codec that its name asks for. */
function bytesNested(): typeof bytes & { flags: number } {
  return { ...bytes, flags: 0x8000 };
}
