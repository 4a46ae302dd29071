/**
 * Every plugin that makes interfaces or changes them, as one entry of a list for one of many containers, and what each
 * does to the result of the one before. A new plugin is a row here; `pairs.test.ts` looks that none is missing.
 */
import type { KernelFeature } from "../../src/testing/features.ts";
import type { Json } from "../plugins/list-site.ts";

/** Whose entry it is: what two containers cannot have in common differs by `nth`, from 0. */
export interface Member {
  readonly nth: number;
  /** The `ipam` part. */
  readonly ipam: Json;
}

export interface PluginRow {
  /** What the kernel has to have. */
  readonly needs?: readonly KernelFeature[];
  /** Its entry, without `type`. */
  readonly conf: (of: Member) => Json;
}

export interface MainRow extends PluginRow {
  /** The link that a container is attached by is there before, one for each container. */
  readonly device?: (nth: number) => string;
  /** The interface is always called so. */
  readonly ifname?: string;
  /** Plugins that refuse to come after it, and why. */
  readonly refuses?: Readonly<Record<string, string>>;
}

export interface MetaRow extends PluginRow {
  /** The result that is expected after it; what nobody can foretell is taken from `given`. */
  readonly result: (before: Result, given: Result) => Result;
}

export type Result = Readonly<Record<string, unknown>> & { readonly interfaces?: readonly Json[] };

/** The link of the host that containers share. */
export const MASTER = "crowd-up";
const upon = (more: Json = {}) => ({
  conf: ({ ipam }: Member): Json => ({ master: MASTER, ipam, ...more }),
});

/** A policy of a host's link has no meaning behind a plugin that has none. */
const NO_HOST_LINK = { firewall: "needs a plugin before it that makes a link of the host" };

export const mains: Readonly<Record<string, MainRow>> = {
  bridge: {
    conf: ({ ipam }) => ({ bridge: "crowd0", isGateway: true, ipMasq: true, ipam }),
  },
  ptp: { conf: ({ ipam }) => ({ ipMasq: true, ipam }) },
  flannel: {
    conf: ({ ipam: { ranges: _given, ...ipam } }) => ({
      subnetFile: subnetFileBeside(String(ipam["dataDir"])),
      delegate: { bridge: "crowd0" },
      ipam,
    }),
  },
  tap: { needs: ["tun"], conf: ({ ipam }) => ({ ipam }), refuses: NO_HOST_LINK },
  macvlan: { needs: ["macvlan"], ...upon(), refuses: NO_HOST_LINK },
  macvtap: { needs: ["macvtap"], ...upon(), refuses: NO_HOST_LINK },
  ipvlan: {
    needs: ["ipvlan"],
    ...upon(),
    refuses: { ...NO_HOST_LINK, tuning: "a link of kind ipvlan, cannot be changed" },
  },
  vlan: {
    needs: ["vlan"],
    conf: ({ nth, ipam }) => ({ master: MASTER, vlanId: nth + 1, ipam }),
    refuses: NO_HOST_LINK,
  },
  dummy: { needs: ["dummy"], conf: ({ ipam }) => ({ ipam }), refuses: NO_HOST_LINK },
  "host-device": {
    device: (nth) => `crowd-dev${nth}`,
    conf: ({ nth, ipam }) => ({ device: `crowd-dev${nth}`, ipam }),
    refuses: NO_HOST_LINK,
  },
  loopback: {
    ifname: "lo",
    conf: () => ({}),
    refuses: {
      ...NO_HOST_LINK,
      portmap: "no IP address that a port could lead to",
      tuning: "no MAC address of its own",
      vrf: "a loopback, which the kernel lets into no VRF",
    },
  },
};

/** What a Flannel daemon would tell of the host. */
export const SUBNET_ENV = `FLANNEL_NETWORK=10.96.0.0/13
FLANNEL_SUBNET=10.98.0.1/16
FLANNEL_IPV6_NETWORK=fd98::/48
FLANNEL_IPV6_SUBNET=fd98::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=false
`;
export const subnetFileBeside = (dir: string): string => `${dir}.subnet.env`;

const unchanged = (before: Result): Result => before;
const RATE = 80_000_000;
const FIRST_PORT = 20_000;
const MTU = 1400;

const macOf = (nth: number): string =>
  `02:c0:ff:ee:${[nth >>> 8, nth & 0xff].map((n) => n.toString(16).padStart(2, "0")).join(":")}`;

/** The interface inside the container, changed. */
const inside = (before: Result, change: Json): Result => ({
  ...before,
  interfaces: (before.interfaces ?? []).map((i) =>
    i["sandbox"] && !String(i["name"]).startsWith("bwp") ? { ...i, ...change } : i,
  ),
});

export const metas: Readonly<Record<string, MetaRow>> = {
  portmap: {
    conf: ({ nth }) => ({
      runtimeConfig: {
        portMappings: [
          { hostPort: FIRST_PORT + 2 * nth, containerPort: 80, protocol: "tcp" },
          { hostPort: FIRST_PORT + 2 * nth + 1, containerPort: 81, protocol: "udp" },
        ],
      },
    }),
    result: unchanged,
  },
  firewall: { conf: () => ({ ingressPolicy: "isolated" }), result: unchanged },
  tuning: {
    conf: ({ nth }) => ({
      mac: macOf(nth),
      mtu: MTU,
      sysctl: { "net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1" },
    }),
    result: (before, given) => {
      const { mac } = given.interfaces?.find((i) => i["sandbox"]) ?? {};
      return inside(before, { mac, mtu: MTU });
    },
  },
  bandwidth: {
    needs: ["ifb"],
    conf: () => ({ ingressRate: RATE, ingressBurst: RATE, egressRate: RATE, egressBurst: RATE }),
    result: (before, given) => {
      const added = (given.interfaces ?? []).filter((i) => /^bwp[0-9a-f]{12}$/.test(String(i["name"])));
      return { ...before, interfaces: [...(before.interfaces ?? []), ...added.slice(0, 1)] };
    },
  },
  sbr: { conf: () => ({}), result: unchanged },
  vrf: { needs: ["vrf"], conf: () => ({ vrfname: "blue" }), result: unchanged },
};

/** An entry of a list. */
export const entryOf = (type: string, of: Member): Json => {
  const row = mains[type] ?? metas[type];
  if (row === undefined) throw new TypeError(`${type} has no row`);
  return { type, ...row.conf(of) };
};

/** What the kernel has to have for all of these. */
export const needsOf = (types: readonly string[]): readonly KernelFeature[] => [
  ...new Set(types.flatMap((t) => (mains[t] ?? metas[t])?.needs ?? [])),
];
