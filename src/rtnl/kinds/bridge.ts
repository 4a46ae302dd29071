import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { u16, u8 } from "../../wire/fixed.ts";

/** `IFLA_BR_*` (linux/if_link.h), as far as something here sets or reads them. */
export const bridgeKind = {
  name: "bridge",
  data: attrs("IFLA_BR", {
    vlanFiltering: [7, fixedAttr(u8)],
    // Shown by a kernel that knows VLANs of ports; the one above by every kernel.
    vlanDefaultPvid: [39, fixedAttr(u16)],
  }),
} as const;
