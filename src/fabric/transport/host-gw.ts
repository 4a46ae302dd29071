/** No tunnel: for each peer a route over the underlay, whose hosts must be on one link. Flannel's `host-gw`. */
import { type FabricRoute, nothing } from "../host-state.ts";
import type { Trouble } from "../model.ts";
import { directRoute, familiesOf, type Far, type Made, made, perPeer, trouble } from "./peers.ts";
import type { HostFacts, Transport } from "./transport.ts";

export function hostGatewayTransport(): Transport {
  const peerOf = { 4: perPeer("host-gw", 4, routeTo), 6: perPeer("host-gw", 6, routeTo) } as const;
  return {
    type: "host-gw",
    families: [4, 6],
    publics: "distinct",
    mtuBytes: ({ external }) => external.mtuBytes,
    announce: () => ({ type: "host-gw" }),
    desired: (view, host) => {
      const troubles: Trouble[] = [];
      const routes: FabricRoute[] = [];
      for (const family of familiesOf(view, host)) {
        const key = family === 4 ? "v4" : "v6";
        const [told, local] = [view.self.publics[key], host.local[key]];
        if (told?.text !== local?.text)
          troubles.push({
            code: "unreachable",
            node: view.self.id,
            why: `it announces ${told?.text ?? "no address"} and has ${local?.text ?? "none"}: host-gw goes through no translation`,
          });
        for (const node of view.peers) {
          const peer = peerOf[family](node, host);
          if (peer === undefined) continue;
          if (peer.ok) routes.push(peer.value);
          else troubles.push(peer.trouble);
        }
      }
      return { state: { ...nothing, routes }, troubles };
    },
  };
}

const routeTo = (far: Far, host: HostFacts): Made<FabricRoute> =>
  host.isDirect(far.publicIp)
    ? made(directRoute(far, host))
    : trouble(
        "unreachable",
        far.node,
        `${far.publicIp.text} is behind a router: host-gw reaches what is on the link ${host.external.name}`,
      );
