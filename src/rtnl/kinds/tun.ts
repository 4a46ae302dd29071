import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { u32, u8 } from "../../wire/fixed.ts";

/**
 * A tap as rtnetlink shows it, `IFLA_TUN_*` (linux/if_link.h); it is made by ioctl (sys/tun.ts). What whoever holds the
 * other end chooses for itself is left out.
 */
export interface Tap {
  readonly multiQueue: boolean;
  /** It stays when nobody holds the other end. */
  readonly persistent: boolean;
  readonly owner?: number;
  readonly group?: number;
}

const data = attrs("IFLA_TUN", {
  owner: [1, fixedAttr(u32)],
  group: [2, fixedAttr(u32)],
  type: [3, fixedAttr(u8)],
  persist: [6, fixedAttr(u8)],
  multiQueue: [7, fixedAttr(u8)],
});
const IFF_TAP = 2;

/** Undefined for a link of kind `tun` that takes packets and not frames. */
export function decodeTap(kindData: Uint8Array): Tap | undefined {
  const { owner, group, type, persist, multiQueue } = data.decode(kindData);
  if (type !== IFF_TAP) return undefined;
  return {
    multiQueue: multiQueue === 1,
    persistent: persist === 1,
    ...(owner === undefined ? {} : { owner }),
    ...(group === undefined ? {} : { group }),
  };
}
