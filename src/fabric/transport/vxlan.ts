/**
 * Frames in UDP, as Flannel's `vxlan` has it: a link for each family, and for each peer a route whose gateway is the peer's
 * address on its own link, the hardware address of that, and the host that it is behind. Nothing is flooded or learned.
 */
import { type Family, hostPrefix } from "../../net/ip.ts";
import { isZeroMac, type Mac, parseMac } from "../../net/mac.ts";
import type { FabricForwarding, FabricLink, FabricNeighbour, FabricRoute, HostState } from "../host-state.ts";
import type { BackendData, FabricNode, Json, Trouble, View } from "../model.ts";
import { directRoute, familiesOf, type Far, type Made, made, perPeer, trouble } from "./peers.ts";
import type { HostFacts, Transport } from "./transport.ts";

export interface VxlanOptions {
  /** The number on the wire, 0 to 16777215; also in the links' names. */
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** The packet's mark travels with it. */
  readonly gbp: boolean;
  /** The kernel may learn forwarding entries from frames, beside those that are set. */
  readonly learning: boolean;
  /** Peers on the same link of the underlay are reached without a tunnel. */
  readonly directRouting: boolean;
  /** MTU of the underlay, in bytes, if not that of its link. */
  readonly mtuBytes?: number;
}

/** Outer IP header, UDP, VXLAN and inner Ethernet: 20 or 40, 8, 8 and 14 bytes. */
const overhead = { 4: 50, 6: 70 } as const;
const keyOf = (family: Family): "v4" | "v6" => (family === 4 ? "v4" : "v6");

/** What one peer takes in one family. `neighbour` and `forwarding` are absent for one that is reached directly. */
interface PeerState {
  readonly node: FabricNode;
  readonly route: FabricRoute;
  readonly neighbour?: FabricNeighbour;
  readonly forwarding?: FabricForwarding;
}

/** `drawMac` gives a hardware address to a link that never had one. */
export function vxlanTransport(options: VxlanOptions, drawMac: () => Mac): Transport {
  const { vni } = options;
  const linkName = (family: Family): string => (family === 4 ? `flannel.${vni}` : `flannel-v6.${vni}`);
  const underlayMtu = (host: HostFacts): number => options.mtuBytes ?? host.external.mtuBytes;
  const peerIn = (family: Family) =>
    perPeer("vxlan", family, (far, host) => peerState(far, host, options, linkName(family)));
  const peerOf = { 4: peerIn(4), 6: peerIn(6) } as const;

  const announceIn = (family: Family, before: FabricNode | undefined): Json => {
    const told = before?.backend.type === "vxlan" ? readData(before.backend[keyOf(family)]) : undefined;
    return { VNI: vni, VtepMAC: typeof told === "object" ? told.mac : drawMac() };
  };

  return {
    type: "vxlan",
    families: [4, 6],
    publics: "distinct",
    mtuBytes: (host) => underlayMtu(host) - overhead[host.local.v6 ? 6 : 4],
    announce: ({ local }, before): BackendData => ({
      type: "vxlan",
      ...(local.v4 ? { v4: announceIn(4, before) } : {}),
      ...(local.v6 ? { v6: announceIn(6, before) } : {}),
    }),
    desired: (view, host) => {
      const troubles: Trouble[] = [];
      const state = empty();
      for (const family of familiesOf(view, host)) {
        const own = ownMac(view.self, family, troubles);
        const link = linkOf(family, host, options, linkName(family), underlayMtu(host));
        state.links.push({ ...link, ...(own ? { mac: own } : {}) });
        state.sysctls.push({ key: `net/ipv6/conf/${link.name}/accept_ra`, value: "0", optional: true });
        const subnet = view.self.subnets[keyOf(family)];
        if (subnet) state.addresses.push({ link: link.name, address: hostPrefix(subnet.ip) });
        addPeers(state, troubles, view, own, (node) => peerOf[family](node, host));
      }
      return { state, troubles };
    },
  };
}

type Mutable = { -readonly [K in keyof HostState]: HostState[K][number][] };
const empty = (): Mutable => ({
  links: [],
  tunnels: [],
  sysctls: [],
  addresses: [],
  neighbours: [],
  forwarding: [],
  peers: [],
  routes: [],
});

function linkOf(
  family: Family,
  { external, local }: HostFacts,
  { vni, port, gbp, learning }: VxlanOptions,
  name: string,
  underlayMtuBytes: number,
): FabricLink {
  const source = local[keyOf(family)];
  return {
    name,
    type: {
      kind: "vxlan",
      id: vni,
      port,
      ...(source ? { local: source } : {}),
      learning,
      gbp,
      l2miss: false,
      l3miss: false,
    },
    lower: external.name,
    mtuBytes: underlayMtuBytes - overhead[family],
  };
}

function ownMac(self: FabricNode, family: Family, troubles: Trouble[]): Mac | undefined {
  const data = readData(self.backend[keyOf(family)]);
  if (typeof data === "object") return data.mac;
  troubles.push({ code: "backend-malformed", node: self.id, why: data });
  return undefined;
}

/** What a host tells of its link: `{"VNI": 1, "VtepMAC": "0e:…"}`. Old releases of Flannel tell no number. */
function readData(data: Json | undefined): { readonly mac: Mac; readonly vni?: number } | string {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return "it tells nothing of its link";
  const { VNI: vni, VtepMAC: text } = data as { readonly [key: string]: Json };
  if (typeof text !== "string") return "it tells no VtepMAC";
  const mac = parseMac(text.slice(0, 64));
  if (!mac.ok) return `VtepMAC: ${mac.why}`;
  // A multicast or empty address would turn an entry for one host into one for many.
  if (isZeroMac(mac.value) || (Number.parseInt(mac.value.slice(0, 2), 16) & 1) !== 0)
    return `VtepMAC: ${mac.value} is not the address of one link`;
  if (vni === undefined) return { mac: mac.value };
  if (typeof vni !== "number" || !Number.isInteger(vni)) return "its VNI is not a whole number";
  return { mac: mac.value, vni };
}

function peerState(far: Far, host: HostFacts, options: VxlanOptions, link: string): Made<PeerState> {
  const { node, subnet, publicIp, data } = far;
  if (options.directRouting && host.isDirect(publicIp)) return made({ node, route: directRoute(far, host) });
  const told = readData(data);
  if (typeof told === "string") return trouble("backend-malformed", node, told);
  const { mac, vni = options.vni } = told;
  if (vni !== options.vni)
    return trouble("unreachable", node, `its VXLAN has the number ${vni}, ours ${options.vni}`);
  return made({
    node,
    route: { dst: subnet, link, gateway: subnet.ip, onLink: true },
    neighbour: { link, ip: subnet.ip, mac },
    forwarding: { link, mac, to: publicIp },
  });
}

function addPeers(
  state: Mutable,
  troubles: Trouble[],
  { self, peers }: View,
  own: Mac | undefined,
  make: (node: FabricNode) => Made<PeerState> | undefined,
): void {
  const states: PeerState[] = [];
  const macs = new Set<Mac>(own === undefined ? [] : [own]);
  let claims = macs.size;
  for (const node of peers) {
    const peer = make(node);
    if (peer === undefined) continue;
    if (!peer.ok) {
      troubles.push(peer.trouble);
      continue;
    }
    states.push(peer.value);
    if (peer.value.neighbour === undefined) continue;
    macs.add(peer.value.neighbour.mac);
    claims++;
  }
  // Nearly never does one occur twice.
  const holders = claims === macs.size ? undefined : holdersOf(states, own, self);
  for (const { node, route, neighbour, forwarding } of states) {
    const holder = neighbour && holders?.get(neighbour.mac);
    const isHolder = holder === undefined || holder.id === node.id;
    // A host that has got another name: both are behind the same address.
    if (!isHolder && (holder.to === undefined || holder.to !== forwarding?.to.text)) {
      const why = `its hardware address ${neighbour?.mac ?? ""} is also that of ${holder.id}`;
      troubles.push({ code: "backend-conflict", node: node.id, why });
      continue;
    }
    if (neighbour !== undefined) state.neighbours.push(neighbour);
    if (forwarding !== undefined && isHolder) state.forwarding.push(forwarding);
    state.routes.push(route);
  }
}

/** Who has a hardware address, and behind which host it is; this host's is behind none. */
interface Holder {
  readonly id: string;
  readonly to?: string;
}

/** Whose each hardware address is: ours, or of several nodes that tell the same one, of the one whose `id` comes first. */
function holdersOf(
  states: readonly PeerState[],
  own: Mac | undefined,
  self: FabricNode,
): ReadonlyMap<Mac, Holder> {
  const holders = new Map<Mac, Holder>();
  for (const { node, forwarding } of states) {
    if (forwarding === undefined) continue;
    const { mac, to } = forwarding;
    const other = holders.get(mac);
    if (other === undefined || node.id < other.id) holders.set(mac, { id: node.id, to: to.text });
  }
  if (own !== undefined) holders.set(own, { id: self.id });
  return holders;
}
