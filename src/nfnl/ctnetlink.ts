import { attrs, bytes, fixedAttr } from "../wire/attrs.ts";
import { be16, be32, struct, u32, u8 } from "../wire/fixed.ts";

/**
 * Messages of connection tracking (linux/netfilter/nfnetlink_conntrack.h), as far as flows are listed and deleted.
 * Addresses stay bytes here: what they mean is decided above.
 */
/** The head of every message of a netfilter family (linux/netfilter/nfnetlink.h). */
export const nfgenmsg = struct("nfgenmsg", 4, { family: u8, version: u8, resourceId: be16 });

/** NFNL_SUBSYS_CTNETLINK in the high byte; IPCTNL_MSG_CT_* in the low one. */
export const CT = { NEW: 0x100, GET: 0x101, DELETE: 0x102 } as const;

const ipTuple = attrs("CTA_IP", {
  v4Source: [1, bytes],
  v4Destination: [2, bytes],
  v6Source: [3, bytes],
  v6Destination: [4, bytes],
});

const protoTuple = attrs("CTA_PROTO", {
  number: [1, fixedAttr(u8)],
  sourcePort: [2, fixedAttr(be16)],
  destinationPort: [3, fixedAttr(be16)],
});

export const tupleAttrs = attrs("CTA_TUPLE", {
  ip: [1, ipTuple],
  proto: [2, protoTuple],
  zone: [3, fixedAttr(be16)],
});
export type Tuple = ReturnType<typeof tupleAttrs.decode>;

/** Which parts of the tuples in a list request have to match: bits of `FILTER`. Linux 5.8; older kernels list all. */
const filterAttrs = attrs("CTA_FILTER", {
  originalFlags: [1, fixedAttr(u32)],
  replyFlags: [2, fixedAttr(u32)],
});

/** Bits of CTA_FILTER_ORIG_FLAGS and CTA_FILTER_REPLY_FLAGS (net/netfilter/nf_internals.h). */
export const FILTER = {
  ipSource: 1 << 0,
  ipDestination: 1 << 1,
  protoNumber: 1 << 3,
  sourcePort: 1 << 4,
  destinationPort: 1 << 5,
} as const;

export const ctAttrs = attrs("CTA", {
  original: [1, tupleAttrs],
  reply: [2, tupleAttrs],
  status: [3, fixedAttr(be32)],
  timeoutSeconds: [7, fixedAttr(be32)],
  mark: [8, fixedAttr(be32)],
  use: [11, fixedAttr(be32)],
  /** Names this entry among all that ever had the same tuple. */
  id: [12, fixedAttr(be32)],
  zone: [18, fixedAttr(be16)],
  filter: [25, filterAttrs],
});
export type CtAttrs = ReturnType<typeof ctAttrs.decode>;
