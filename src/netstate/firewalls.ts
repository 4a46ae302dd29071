import type { Backend, FirewallBackend } from "../firewall/model.ts";
import type { NetState } from "./model.ts";
import { runDir } from "./record.ts";

/**
 * The firewalls of one call. A backend's code is loaded when a state needs it and not before, its socket is opened
 * with the first rule, and all are closed together.
 */
export interface Firewalls extends Disposable {
  open(backend: Backend): FirewallBackend;
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
};

/** The backends whose rules the state has. */
export const backendsOf = (state: NetState | undefined): readonly Backend[] => [
  ...new Set((state?.objects ?? []).flatMap((o) => (o.kind === "firewall" ? [o.state.backend] : []))),
];

export async function loadFirewalls(backends: readonly Backend[]): Promise<Firewalls> {
  const loaded = new Map<Backend, Opener>();
  for (const backend of backends) loaded.set(backend, await openers[backend]());
  const opened = new Map<Backend, FirewallBackend | (FirewallBackend & Disposable)>();
  return {
    open(backend) {
      const known = opened.get(backend);
      if (known !== undefined) return known;
      const opener = loaded.get(backend);
      if (opener === undefined) throw new TypeError(`firewall ${backend} was not loaded`);
      const made = opener();
      opened.set(backend, made);
      return made;
    },
    [Symbol.dispose]() {
      for (const backend of opened.values()) if (Symbol.dispose in backend) backend[Symbol.dispose]();
    },
  };
}
