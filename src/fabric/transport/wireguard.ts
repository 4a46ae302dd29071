/**
 * Packets encrypted in UDP by the kernel, Flannel's `wireguard`: a tunnel for each family, or one for both, whose peers are the other
 * hosts. One route takes the whole network to it: what is for a subnet that nobody has, or whose host has just gone, ends there, and
 * does not leave in clear text by the default route, as it would with a route for each peer.
 */
import { type Family, hostPrefix, type Ip, type IpPrefix, network } from "../../net/ip.ts";
import { parseWireguardKey, type SecretKey, type WireguardKey } from "../../net/wireguard-key.ts";
import { type FabricPeer, type HostState, nothing } from "../host-state.ts";
import type { BackendData, FabricNode, Json, Publics, Trouble, View } from "../model.ts";
import { familiesOf, type Made, made, trouble } from "./peers.ts";
import type { HostFacts, Transport } from "./transport.ts";

export interface WireguardOptions {
  /**
   * `separate`: a tunnel for each family, over that family. Otherwise one for both: over IPv4, over IPv6, or to each peer over the
   * one by which it is more likely to be reached.
   */
  readonly mode: "separate" | "auto" | "ipv4" | "ipv6";
  /** UDP port of the tunnel for IPv4, or of the only one. */
  readonly listenPort: number;
  /** UDP port of the tunnel for IPv6. */
  readonly listenPortV6: number;
  /** The same on every host of the network; mixed into the keys. */
  readonly presharedKey?: SecretKey;
  /** 0: none is sent. Keeps a translation's mind about a host that is behind one. */
  readonly keepaliveSeconds: number;
  /** MTU of the underlay, in bytes, if not that of its link. */
  readonly mtuBytes?: number;
}

const LINK = { 4: "flannel-wg", 6: "flannel-wg-v6" } as const;
/** IPv6, UDP, type, index and counter, authentication tag: 40, 8, 16 and 16 bytes, whatever the underlay. */
const OVERHEAD = 80;
const keyOf = (family: Family): "v4" | "v6" => (family === 4 ? "v4" : "v6");

/** A tunnel as one host has it. */
interface Tunnel {
  readonly link: string;
  readonly listenPort: number;
  /** What it carries. */
  readonly inner: readonly Family[];
  /** How a node is reached through it; undefined for one that has no subnet of these families. */
  readonly peerOf: (node: FabricNode, view: View, host: HostFacts) => Made<FabricPeer> | undefined;
}

export function wireguardTransport(options: WireguardOptions): Transport {
  const { mode, listenPort, listenPortV6 } = options;
  const separate = mode === "separate";
  const tunnel = (link: string, port: number, inner: readonly Family[]): Tunnel => ({
    link,
    listenPort: port,
    inner,
    peerOf: kept((node, own, host) => peerOf(node, own, host, options, { link, inner })),
  });
  const tunnels = separate
    ? [tunnel(LINK[4], listenPort, [4]), tunnel(LINK[6], listenPortV6, [6])]
    : [tunnel(LINK[4], listenPort, [4, 6])];
  const innerMtu = ({ external }: HostFacts): number => (options.mtuBytes ?? external.mtuBytes) - OVERHEAD;
  const port6 = separate ? listenPortV6 : listenPort;

  return {
    type: "wireguard",
    families: [4, 6],
    publics: "shared",
    needsKeys: true,
    mtuBytes: innerMtu,
    announce: ({ local, keys }): BackendData | undefined =>
      keys && {
        type: "wireguard",
        ...(local.v4 ? { v4: { PublicKey: keys.publicKey, Port: listenPort } } : {}),
        ...(local.v6 ? { v6: { PublicKey: keys.publicKey, Port: port6 } } : {}),
      },
    desired: (view, host) => {
      const { keys } = host;
      if (keys === undefined) {
        const why = "it has no WireGuard key";
        return { state: nothing, troubles: [{ code: "unreachable", node: view.self.id, why }] };
      }
      const troubles: Trouble[] = [];
      const families = familiesOf(view, host);
      const state: Mutable = { links: [], tunnels: [], addresses: [], peers: [], routes: [] };
      for (const one of tunnels) {
        const carried = one.inner.filter((family) => families.includes(family));
        if (carried.length === 0) continue;
        state.links.push({ name: one.link, type: { kind: "wireguard" }, mtuBytes: innerMtu(host) });
        state.tunnels.push({ link: one.link, keys, listenPort: one.listenPort });
        for (const family of carried) addFamily(state, view, one.link, keyOf(family));
        addPeers(state, troubles, view, keys.publicKey, (node) => one.peerOf(node, view, host));
      }
      return { state: { ...nothing, ...state }, troubles };
    },
  };
}

type Mutable = {
  -readonly [K in "links" | "tunnels" | "addresses" | "peers" | "routes"]: HostState[K][number][];
};

function addFamily(state: Mutable, view: View, link: string, key: "v4" | "v6"): void {
  const [own, whole] = [view.self.subnets[key], view.network[key]];
  if (own !== undefined) state.addresses.push({ link, address: hostPrefix(own.ip) });
  if (whole !== undefined) state.routes.push({ dst: network(whole), link });
}

/** What was made of a node stays for as long as the node, `host` and this host's public addresses do. */
function kept(
  make: (node: FabricNode, own: Publics, host: HostFacts) => Made<FabricPeer> | undefined,
): Tunnel["peerOf"] {
  let known = new WeakMap<FabricNode, { readonly made: Made<FabricPeer> | undefined }>();
  let knownFor: { readonly host: HostFacts; readonly own: Publics } | undefined;
  return (node, { self: { publics: own } }, host) => {
    if (host !== knownFor?.host || own.v4 !== knownFor.own.v4 || own.v6 !== knownFor.own.v6)
      [known, knownFor] = [new WeakMap(), { host, own }];
    const before = known.get(node);
    if (before !== undefined) return before.made;
    const now = make(node, own, host);
    known.set(node, { made: now });
    return now;
  };
}

interface Told {
  readonly key: WireguardKey;
  /** Absent: as this host's. Old releases of Flannel tell none. */
  readonly port?: number;
}

/** What a host tells of itself: `{"PublicKey": "…", "Port": 51820}`. */
function readData(data: Json | undefined): Told | string {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return "it tells nothing of its key";
  const { PublicKey: text, Port: port = 0 } = data as { readonly [key: string]: Json };
  if (typeof text !== "string") return "it tells no PublicKey";
  const key = parseWireguardKey(text);
  if (!key.ok) return `PublicKey: ${key.why}`;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 0 || port > 65_535)
    return "its Port is not that of UDP";
  return { key: key.value, ...(port === 0 ? {} : { port }) };
}

function peerOf(
  node: FabricNode,
  own: Publics,
  host: HostFacts,
  options: WireguardOptions,
  { link, inner }: Pick<Tunnel, "link" | "inner">,
): Made<FabricPeer> | undefined {
  const allowed = inner
    .map((family) => node.subnets[keyOf(family)])
    .filter((subnet): subnet is IpPrefix => subnet !== undefined);
  const [first] = allowed;
  if (first === undefined) return undefined;
  const { type } = node.backend;
  if (type !== "wireguard") return trouble("backend-other", node, `its backend is ${type}, not wireguard`);
  const separate = options.mode === "separate";
  const over = separate ? first.ip.family : underlayTo(node, own, host, options.mode);
  const ip = over && node.publics[keyOf(over)];
  if (over === undefined || ip === undefined)
    return trouble("unreachable", node, `it has no public ${addressFor(over)}`);
  const told = separate ? readData(node.backend[keyOf(over)]) : toldForBoth(node, options);
  if (typeof told === "string") return trouble("backend-malformed", node, told);
  const { keepaliveSeconds, presharedKey } = options;
  const usual = separate && over === 6 ? options.listenPortV6 : options.listenPort;
  return made({
    link,
    publicKey: told.key,
    ...(presharedKey ? { presharedKey } : {}),
    endpoint: { ip, port: told.port ?? usual },
    keepaliveSeconds,
    allowed: allowed.map(network),
  });
}

const addressFor = (over: Family | undefined): string =>
  over === undefined ? "address of a family that this host has too" : `IPv${over} address`;

/**
 * The one key and port of a host that has one tunnel. flanneld has one port then and tells another for IPv6, on which it does not
 * listen; what it tells for IPv4 is right.
 */
function toldForBoth({ backend: { v4, v6 } }: FabricNode, options: WireguardOptions): Told | string {
  const [four, six] = [v4, v6].map((data) => (data === undefined ? undefined : readData(data)));
  if (typeof four === "string") return four;
  if (typeof six === "string") return six;
  const told = four ?? six;
  if (told === undefined) return readData(undefined);
  if (four !== undefined && six !== undefined && four.key !== six.key)
    return "it tells two keys, and has one tunnel";
  return told === six && told.port === options.listenPortV6 ? { key: told.key } : told;
}

/** Over which family a peer is reached; undefined if there is none that both have. */
function underlayTo(
  { publics }: FabricNode,
  own: Publics,
  { local }: HostFacts,
  mode: "auto" | "ipv4" | "ipv6",
): Family | undefined {
  if (mode === "ipv4") return local.v4 && 4;
  if (mode === "ipv6") return local.v6 && 6;
  const four = local.v4 && publics.v4;
  const six = local.v6 && publics.v6;
  if (four === undefined) return six && 6;
  if (six === undefined || !isPrivate(four)) return 4;
  return !isPrivate(six) && !isPrivate(own.v6 ?? local.v6 ?? six) ? 6 : 4;
}

/** Not routed in the Internet: RFC 1918, RFC 4193. */
function isPrivate({ family, bytes: [a = 0, b = 0] }: Ip): boolean {
  if (family === 6) return (a & 0xfe) === 0xfc;
  return a === 10 || (a === 172 && (b & 0xf0) === 16) || (a === 192 && b === 168);
}

/** Of several nodes that tell the same key the one whose `id` comes first stays. */
function addPeers(
  state: Mutable,
  troubles: Trouble[],
  { self, peers }: View,
  own: WireguardKey,
  make: (node: FabricNode) => Made<FabricPeer> | undefined,
): void {
  const all: { readonly node: FabricNode; readonly peer: FabricPeer }[] = [];
  const holders = new Map<WireguardKey, FabricNode>([[own, self]]);
  for (const node of peers) {
    const peer = make(node);
    if (peer === undefined) continue;
    if (!peer.ok) {
      troubles.push(peer.trouble);
      continue;
    }
    const { publicKey } = peer.value;
    all.push({ node, peer: peer.value });
    const other = holders.get(publicKey);
    if (other === undefined || (other !== self && node.id < other.id)) holders.set(publicKey, node);
  }
  for (const { node, peer } of all) {
    const holder = holders.get(peer.publicKey);
    if (holder === undefined || holder === node) state.peers.push(peer);
    else
      troubles.push({
        code: "backend-conflict",
        node: node.id,
        why: `its key is also that of ${holder.id}: each host needs one of its own`,
      });
  }
}
