/** IPv4 packets in IPv4: one link that reaches all peers, each by a route that names its host. Flannel's `ipip`. */
import { hostPrefix } from "../../net/ip.ts";
import { type FabricRoute, type HostState, nothing } from "../host-state.ts";
import type { Trouble } from "../model.ts";
import { directRoute, made, perPeer } from "./peers.ts";
import type { Transport } from "./transport.ts";

export interface IpipOptions {
  /** Peers on the same link of the underlay are reached without a tunnel. */
  readonly directRouting: boolean;
}

const LINK = "flannel.ipip";
/** The outer IPv4 header, in bytes. */
const OVERHEAD = 20;

export function ipipTransport({ directRouting }: IpipOptions): Transport {
  const peerOf = perPeer<FabricRoute>("ipip", 4, (far, host) =>
    made(
      directRouting && host.isDirect(far.publicIp)
        ? directRoute(far, host)
        : { dst: far.subnet, link: LINK, gateway: far.publicIp, onLink: true },
    ),
  );
  return {
    type: "ipip",
    families: [4],
    publics: "distinct",
    mtuBytes: ({ external }) => external.mtuBytes - OVERHEAD,
    announce: () => ({ type: "ipip" }),
    desired: ({ self, peers }, host) => {
      const { v4: local } = host.local;
      if (self.subnets.v4 === undefined || local === undefined) return { state: nothing, troubles: [] };
      const troubles: Trouble[] = [];
      const routes: FabricRoute[] = [];
      for (const node of peers) {
        const peer = peerOf(node, host);
        if (peer === undefined) continue;
        if (peer.ok) routes.push(peer.value);
        else troubles.push(peer.trouble);
      }
      const state: HostState = {
        ...nothing,
        links: [
          {
            name: LINK,
            type: { kind: "ipip", local, pathMtuDiscovery: true },
            mtuBytes: host.external.mtuBytes - OVERHEAD,
          },
        ],
        addresses: [{ link: LINK, address: hostPrefix(self.subnets.v4.ip) }],
        routes,
      };
      return { state, troubles };
    },
  };
}
