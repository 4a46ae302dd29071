/** The form of every transport: a pure function from the view of the cluster to what this host should hold. */
import type { Family, Ip } from "../../net/ip.ts";
import type { WireguardKeyPair } from "../../net/wireguard-key.ts";
import type { HostState } from "../host-state.ts";
import type { BackendData, FabricNode, Publics, Trouble, View } from "../model.ts";

/** What a transport must know of the host that it runs on. */
export interface HostFacts {
  /** The link of the underlay, with its MTU in bytes. */
  readonly external: { readonly name: string; readonly mtuBytes: number };
  /**
   * Its addresses there, one for each family that the network has and of no other; what is announced may differ, behind a
   * translation.
   */
  readonly local: Publics;
  /** Its keys, for a transport that `needsKeys`. */
  readonly keys?: WireguardKeyPair;
  /** True if the kernel reaches the address over `external` without a gateway. Looked up before; asks nobody. */
  readonly isDirect: (ip: Ip) => boolean;
}

export interface Transport {
  /** As the network's configuration calls it; it stands in `BackendData.type`, but for Flannel's `udp` and `alloc`, which name none. */
  readonly type: string;
  /** The families that it carries. */
  readonly families: readonly Family[];
  /** `shared`: another host may have this one's public address, behind a translation. */
  readonly publics: "distinct" | "shared";
  /** True: the host must have keys before it is announced. */
  readonly needsKeys?: true;
  /** The MTU of containers, in bytes: what fits over the underlay of every family that the host has. */
  readonly mtuBytes: (host: HostFacts) => number;
  /**
   * What this host tells the others; undefined as long as it lacks what it needs for that. `before` is what it told last, so that
   * names and MAC addresses last.
   */
  readonly announce: (host: HostFacts, before: FabricNode | undefined) => BackendData | undefined;
  /**
   * What the host's kernel should hold. It is fast for a view that is much like the last one: what it makes of a node is kept
   * for as long as the node and `host` are the same objects.
   */
  readonly desired: (
    view: View,
    host: HostFacts,
  ) => { readonly state: HostState; readonly troubles: readonly Trouble[] };
}
