import { NetError } from "../errors.ts";
import type { Alive, Backend, FirewallBackend, FirewallState, Mark, PortMapping } from "../firewall/model.ts";
import type { Direction } from "../nfnl/conntrack.ts";
import { makeDirs } from "../sys/files.ts";
import { lockFile } from "../sys/flock.ts";
import { openNetlink } from "../netlink/socket.ts";
import type { NetState } from "./model.ts";
import { runDir } from "./record.ts";

/**
 * The firewalls of one call. A backend's code is loaded when a state needs it and not before, its socket is opened
 * with the first rule, and all are closed together.
 */
export interface Firewalls extends Disposable {
  open(backend: Backend): FirewallBackend;
  /**
   * Runs `work`, which applies the state, while no other program decides over host ports. Throws `port/taken` if a live
   * attachment has one of them in the other backend: neither sees the other's rules by itself.
   */
  withHostPorts(state: FirewallState, mark: Mark, alive: Alive, work: () => void): void;
  /** Ends the tracked flows that a mapping made wrong by coming or going. TCP has none. */
  flush(mapping: PortMapping, when: "added" | "removed"): void;
}

type Opener = () => FirewallBackend | (FirewallBackend & Disposable);

const openers: { readonly [B in Backend]: () => Promise<Opener> } = {
  nftables: async () => {
    const { openNftables } = await import("../firewall/nftables.ts");
    return () => openNftables({ lockDir: `${runDir()}/lock` });
  },
  iptables: async () => {
    const { openIptables } = await import("../firewall/iptables.ts");
    return () => openIptables({ lockPath: `${runDir()}/lock/iptables` });
  },
  firewalld: async () => {
    const { openFirewalld } = await import("../firewall/firewalld.ts");
    const { sharers } = await import("./firewalld-sharers.ts");
    return () => openFirewalld({ sharers });
  },
};

/** The mappings whose flows the kernel goes on to translate as before until they are ended. */
export const trackedMappings = (state: FirewallState): readonly PortMapping[] =>
  state.rules.filter((r) => r.kind === "port-mapping").filter((m) => m.protocol !== "tcp");

export const mapsPorts = (state: FirewallState): boolean =>
  state.rules.some((r) => r.kind === "port-mapping");

/** Held by who decides over host ports. */
export function lockHostPorts(): Disposable {
  makeDirs(`${runDir()}/lock`, 0o700);
  return lockFile(`${runDir()}/lock/host-ports`, "exclusive");
}

/** Loads what the state needs, or these backends when there is no state. */
export async function loadFirewalls(needed: NetState | readonly Backend[]): Promise<Firewalls> {
  const states =
    "objects" in needed ? needed.objects.flatMap((o) => (o.kind === "firewall" ? [o.state] : [])) : [];
  const rivals = new Map<FirewallState, Backend>();
  let rivalAppeared = (): boolean => false;
  // Nothing of iptables is loaded on a host that does not use it.
  for (const state of states.filter(mapsPorts)) {
    if (state.backend === "iptables") rivals.set(state, "nftables");
    else {
      const { mayHaveChains, PORT_CHAINS } = await import("../firewall/iptables-probe.ts");
      rivalAppeared = () => ([4, 6] as const).some((family) => mayHaveChains(family, PORT_CHAINS));
      if (rivalAppeared()) rivals.set(state, "iptables");
    }
  }
  const backends =
    "objects" in needed ? new Set([...states.map((s) => s.backend), ...rivals.values()]) : needed;
  const loaded = new Map<Backend, Opener>();
  for (const backend of backends) loaded.set(backend, await openers[backend]());
  const tracked = states.flatMap(trackedMappings);
  const flows = tracked.length > 0 ? await import("../nfnl/conntrack.ts") : undefined;
  const conditions = tracked.some((m) => m.conditions)
    ? await import("../firewall/conditions.ts")
    : undefined;
  const opened = new Map<Backend, FirewallBackend | (FirewallBackend & Disposable)>();
  const open = (backend: Backend): FirewallBackend => {
    const known = opened.get(backend);
    if (known !== undefined) return known;
    const opener = loaded.get(backend);
    if (opener === undefined) throw new TypeError(`firewall ${backend} was not loaded`);
    const made = opener();
    opened.set(backend, made);
    return made;
  };
  return {
    open,
    withHostPorts(state, mark, alive, work) {
      if (!mapsPorts(state)) return work();
      using _lock = lockHostPorts();
      const rival = rivals.get(state);
      if (rival !== undefined) open(rival).refuseTaken(state, mark, alive);
      else if (rivalAppeared())
        throw new NetError("try-again", {
          why: "another program began to map host ports by iptables at this moment",
        });
      work();
    },
    flush(mapping, when) {
      if (flows === undefined) return;
      using socket = openNetlink("netfilter");
      const fits = mapping.conditions;
      const means = fits && ((original: Direction) => conditions?.mayFit(fits, original) ?? true);
      flows.flushMapping(socket, { ...mapping, ...(means ? { means } : {}) }, when);
    },
    [Symbol.dispose]() {
      for (const backend of opened.values()) if (Symbol.dispose in backend) backend[Symbol.dispose]();
    },
  };
}
