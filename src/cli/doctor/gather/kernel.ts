/**
 * What the kernel has of what the configured networks need. It is asked as docs/kernel.md says: by requests that it
 * refuses, so that nothing is changed. What no configured network needs is not asked for, since a question may load a
 * module.
 */
import { missingNftables } from "../../../firewall/nftables-probe.ts";
import { hasFamily } from "../../../genl/family.ts";
import { openNetlink } from "../../../netlink/socket.ts";
import { openRuleSet } from "../../../nft/available.ts";
import type { PluginType } from "../../../plugins/registry.ts";
import { WIREGUARD_KEY_FILE } from "../../../providers/flannel/flags.ts";
import { type AskedKind, knowsLinkKind } from "../../../rtnl/create-link.ts";
import { knowsQdisc } from "../../../rtnl/qdisc.ts";
import { statPath } from "../../../sys/files.ts";
import { look, type Seen } from "../seen.ts";
import type { ConfNetwork } from "./config.ts";

/** One thing that the kernel has or has not. */
export interface FeatureAnswer {
  readonly feature: string;
  /** The modules that bring it. */
  readonly modules: readonly string[];
  /** Names of the networks that need it. */
  readonly networks: readonly string[];
  readonly has: Seen<boolean>;
}

type Feature =
  | { readonly link: AskedKind; readonly module: string }
  | { readonly qdisc: "tbf" }
  | { readonly nftables: "inet" | "bridge" }
  | { readonly file: string; readonly module: string }
  /** A family of generic netlink; asking for it loads its module. */
  | { readonly family: "wireguard" };

const link = (kind: AskedKind, module: string = kind): Feature => ({ link: kind, module });

/** What each plugin asks of the kernel that a kernel may lack. */
const needs: { readonly [T in PluginType]?: readonly Feature[] } = {
  bridge: [link("bridge"), link("veth")],
  ptp: [link("veth")],
  macvlan: [link("macvlan")],
  macvtap: [link("macvtap")],
  ipvlan: [link("ipvlan")],
  vlan: [link("vlan", "8021q")],
  dummy: [link("dummy")],
  vrf: [link("vrf")],
  bandwidth: [{ qdisc: "tbf" }, link("ifb")],
  tap: [{ file: "/dev/net/tun", module: "tun" }],
};

/** Plugins whose rules are nftables', unless they are told otherwise. */
const byNftables = (n: ConfNetwork): boolean =>
  n.markBit === undefined && n.types.some((t) => t === "portmap" || t === "ptp" || t === "bridge");

/** A host whose network goes by WireGuard has a key for it; the networks of containers do not say how they go on. */
const byWireguard = (n: ConfNetwork): boolean =>
  n.types.includes("flannel") && statPath(WIREGUARD_KEY_FILE) !== undefined;

const nftables = {
  inet: {
    name: "nftables with NAT in inet tables and fib",
    modules: ["nf_tables", "nft_nat", "nft_masq", "nft_fib_inet"],
  },
  bridge: { name: "nftables tables of family bridge", modules: ["nf_tables", "nf_tables_bridge"] },
} as const;

function nameOf(f: Feature): string {
  if ("link" in f) return `links of kind ${f.link}`;
  if ("qdisc" in f) return `the qdisc ${f.qdisc}`;
  if ("family" in f) return `links of kind ${f.family}`;
  return "file" in f ? f.file : nftables[f.nftables].name;
}

function modulesOf(f: Feature): readonly string[] {
  if ("qdisc" in f) return [`sch_${f.qdisc}`];
  if ("family" in f) return [f.family];
  return "nftables" in f ? nftables[f.nftables].modules : [f.module];
}

export function gatherFeatures(networks: readonly ConfNetwork[]): readonly FeatureAnswer[] {
  const wanted = new Map<string, { readonly feature: Feature; readonly networks: string[] }>();
  const want = (feature: Feature, network: string): void => {
    const known = wanted.get(nameOf(feature)) ?? { feature, networks: [] };
    if (!known.networks.includes(network)) known.networks.push(network);
    wanted.set(nameOf(feature), known);
  };
  for (const network of networks) {
    for (const type of network.types)
      for (const feature of (needs as Readonly<Record<string, readonly Feature[] | undefined>>)[type] ?? [])
        want(feature, network.name);
    if (byNftables(network)) want({ nftables: "inet" }, network.name);
    if (byWireguard(network)) want({ family: "wireguard" }, network.name);
    if (network.looksAtFrames) want({ nftables: "bridge" }, network.name);
  }
  return [...wanted].map(([name, { feature, networks: names }]) => ({
    feature: name,
    modules: modulesOf(feature),
    networks: names,
    has: look(() => has(feature)),
  }));
}

/** Index of the loopback in every namespace. */
const LOOPBACK = 1;

function has(feature: Feature): boolean {
  if ("file" in feature) return statPath(feature.file) !== undefined;
  if ("nftables" in feature) {
    using socket = openRuleSet();
    return socket !== undefined && missingNftables(socket, feature.nftables) === undefined;
  }
  if ("family" in feature) {
    using socket = openNetlink("generic");
    return hasFamily(socket, feature.family);
  }
  using socket = openNetlink("route");
  return "link" in feature
    ? knowsLinkKind(socket, feature.link)
    : knowsQdisc(socket, LOOPBACK, feature.qdisc);
}
