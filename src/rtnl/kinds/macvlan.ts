import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { u32 } from "../../wire/fixed.ts";
import { type LinkKind, nameOf } from "./link-kind.ts";

/**
 * A link with a MAC address of its own on another link; a macvtap has a character device for a virtual machine beside
 * it. `IFLA_MACVLAN_*` and MACVLAN_MODE_* (linux/if_link.h).
 */
export interface Macvlan {
  readonly kind: "macvlan" | "macvtap";
  readonly mode: MacvlanMode;
  /** Broadcasts that may wait on the lower link; the greatest of its macvlans counts. Absent: the kernel's 1000. */
  readonly broadcastQueueLength?: number;
}
export type MacvlanMode = keyof typeof macvlanModes;

export const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;

const data = attrs("IFLA_MACVLAN", { mode: [1, fixedAttr(u32)], broadcastQueueLength: [7, fixedAttr(u32)] });

export const macvlanKind = (kind: Macvlan["kind"]): LinkKind<Macvlan> => ({
  encode: ({ mode, broadcastQueueLength }) =>
    data.encode({
      mode: macvlanModes[mode],
      ...(broadcastQueueLength === undefined ? {} : { broadcastQueueLength }),
    }),
  decode(bytes) {
    const { mode: number, broadcastQueueLength } = data.decode(bytes);
    const mode = nameOf(macvlanModes, number);
    return mode && { kind, mode, ...(broadcastQueueLength === undefined ? {} : { broadcastQueueLength }) };
  },
});
