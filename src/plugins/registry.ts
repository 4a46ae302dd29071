/**
 * Which plugins this executable contains, by type. Each is loaded when it is asked for and not before: a process that
 * is one plugin pays for that plugin alone. A new plugin is one line here.
 */
import { type Host, selfId } from "../cni/host.ts";
import type { Plugin } from "../cni/plugin.ts";

export interface PluginEntry {
  /** `main` makes interfaces, `ipam` hands out addresses, `meta` changes what another plugin made, or runs others. */
  readonly kind: "main" | "ipam" | "meta";
  /** It makes its interface by another plugin, whose options its own contain. */
  readonly delegates?: true;
  load(): Promise<Plugin>;
}

/** Keeps what a plugin's configuration looks like inside the plugin: from outside, `parse` makes it and the verbs take it. */
const entry = <Config>(
  kind: PluginEntry["kind"],
  load: () => Promise<Plugin<Config>>,
  more: Pick<PluginEntry, "delegates"> = {},
): PluginEntry => ({ kind, load, ...more });

export const registry = {
  bridge: entry("main", async () => (await import("./main/bridge/plugin.ts")).bridge),
  ptp: entry("main", async () => (await import("./main/ptp/plugin.ts")).ptp),
  "host-device": entry("main", async () => (await import("./main/host-device/plugin.ts")).hostDevice),
  loopback: entry("main", async () => (await import("./main/loopback/plugin.ts")).loopback),
  tap: entry("main", async () => (await import("./main/tap/plugin.ts")).tap),
  bandwidth: entry("meta", async () => (await import("./meta/bandwidth/plugin.ts")).bandwidth),
  firewall: entry("meta", async () => (await import("./meta/firewall/plugin.ts")).firewall),
  dummy: entry("main", async () => (await import("./main/dummy/plugin.ts")).dummy),
  ipvlan: entry("main", async () => (await import("./main/ipvlan/plugin.ts")).ipvlan),
  vlan: entry("main", async () => (await import("./main/vlan/plugin.ts")).vlan),
  macvlan: entry("main", async () => (await import("./main/macvlan/plugin.ts")).macvlan),
  macvtap: entry("main", async () => (await import("./main/macvtap/plugin.ts")).macvtap),
  flannel: entry("meta", async () => (await import("./meta/flannel/plugin.ts")).flannel, { delegates: true }),
  portmap: entry("meta", async () => (await import("./meta/portmap/plugin.ts")).portmap),
  "heddle-chain": entry("meta", async () => (await import("./meta/heddle-chain/plugin.ts")).heddleChain),
  sbr: entry("meta", async () => (await import("./meta/sbr/plugin.ts")).sbr),
  tuning: entry("meta", async () => (await import("./meta/tuning/plugin.ts")).tuning),
  vrf: entry("meta", async () => (await import("./meta/vrf/plugin.ts")).vrf),
  dhcp: entry("ipam", async () => (await import("./ipam/dhcp/plugin.ts")).dhcp),
  "host-local": entry("ipam", async () => (await import("./ipam/host-local/plugin.ts")).hostLocal),
  static: entry("ipam", async () => (await import("./ipam/static/plugin.ts")).staticIpam),
} as const satisfies Record<string, PluginEntry>;

export type PluginType = keyof typeof registry;

export const pluginTypes = Object.keys(registry).toSorted() as readonly PluginType[];

export const isPluginType = (name: string): name is PluginType => Object.hasOwn(registry, name);

/**
 * What surrounds a plugin in this program: the others, run in the same process unless `inProcess` says no. `standIn`: also
 * where `CNI_PATH` has no file of a plugin's name.
 */
export function pluginHost(inProcess: boolean, { standIn = false } = {}): Host {
  return {
    ...(standIn ? { standsIn: isPluginType } : {}),
    load: async (type) => (isPluginType(type) ? registry[type].load() : undefined),
    inProcess,
    get self() {
      return selfId();
    },
  };
}
