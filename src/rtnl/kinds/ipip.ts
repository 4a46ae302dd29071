import { type Ip, ipFromBytes, isUnspecified } from "../../net/ip.ts";
import { attrs, bytes, fixedAttr } from "../../wire/attrs.ts";
import { u32, u8 } from "../../wire/fixed.ts";
import type { LinkKind } from "./link-kind.ts";

/**
 * A tunnel that carries IPv4 packets in IPv4 (RFC 2003). Without `remote` it reaches many: each route over it names its far
 * end as the gateway. `IFLA_IPTUN_*` (linux/if_tunnel.h, net/ipv4/ipip.c).
 */
export interface Ipip {
  readonly kind: "ipip";
  /** Source of what it sends. */
  readonly local?: Ip;
  readonly remote?: Ip;
  /** Index of the link of the underlay; absent: whichever the route says. */
  readonly lower?: number;
  /** Time to live of what it sends; 0: that of the packet inside. */
  readonly ttl?: number;
  /** What it sends is not taken apart on the way, so that the path's MTU is found. Needed for a `ttl`. */
  readonly pathMtuDiscovery?: boolean;
}

const data = attrs("IFLA_IPTUN", {
  lower: [1, fixedAttr(u32)],
  local: [2, bytes],
  remote: [3, bytes],
  ttl: [4, fixedAttr(u8)],
  pathMtuDiscovery: [10, fixedAttr(u8)],
});

const addressIn = (raw: Uint8Array | undefined): Ip | undefined => {
  if (raw?.length !== 4) return undefined;
  const ip = ipFromBytes(raw);
  return isUnspecified(ip) ? undefined : ip;
};

export const ipipKind: LinkKind<Ipip> = {
  encode: ({ local, remote, lower, ttl, pathMtuDiscovery }) =>
    data.encode({
      ...(lower === undefined ? {} : { lower }),
      ...(local ? { local: local.bytes } : {}),
      ...(remote ? { remote: remote.bytes } : {}),
      ...(ttl === undefined ? {} : { ttl }),
      ...(pathMtuDiscovery === undefined ? {} : { pathMtuDiscovery: Number(pathMtuDiscovery) }),
    }),
  decode(raw) {
    const a = data.decode(raw);
    const local = addressIn(a.local);
    const remote = addressIn(a.remote);
    return {
      kind: "ipip",
      ...(a.lower ? { lower: a.lower } : {}),
      ...(local ? { local } : {}),
      ...(remote ? { remote } : {}),
      ttl: a.ttl ?? 0,
      pathMtuDiscovery: a.pathMtuDiscovery === 1,
    };
  },
};
