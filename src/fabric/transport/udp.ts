/**
 * Packets in UDP datagrams, carried by a process between a TUN device and a socket. Flannel's `udp`: one IPv4 packet a
 * datagram. Hosts of ours tell in their leases that they understand more: IPv6, and checksums that are left to them. The
 * kernel gets an address and one route; who is where is the process' to know.
 */
import { hostPrefix, type IpPrefix, network } from "../../net/ip.ts";
import { type FabricRoute, type HostState, nothing } from "../host-state.ts";
import type { FabricNode, Json, Trouble, View } from "../model.ts";
import { shortName } from "../short-name.ts";
import { type Made, made, trouble } from "./peers.ts";
import type { HostFacts, Transport } from "./transport.ts";

export interface UdpOptions {
  /** The port of every host of the network. */
  readonly port: number;
  /** The TUN device; flanneld's unless told. */
  readonly device?: string;
}

/** A peer as the process takes it, in JSON. */
export interface ForwardedPeer {
  readonly id: string;
  readonly subnets: readonly string[];
  readonly address: string;
  readonly port: number;
  /** It is a process of ours. */
  readonly heddle: boolean;
}

export interface UdpTransport extends Transport {
  /** Whom the process carries packets to. The troubles are those of `desired`. */
  readonly peers: (view: View, host: HostFacts) => readonly ForwardedPeer[];
}

/** flanneld's name of the device. */
export const UDP_DEVICE = "flannel0";
/** The device of a fabric beside the host's first one: a device is one process' only. */
export const furtherUdpDevice = (name: string): string => `fl0-${shortName(name)}`;
/** UDP's header behind an IPv4 or IPv6 header, in bytes. */
const OVERHEAD = { v4: 28, v6: 48 } as const;
/** What a host of ours tells in its lease: the version of what it understands. flanneld looks at nothing there. */
const OURS = { Heddle: 1 } as const;
/** flanneld names no backend in such a lease. */
const TYPES: readonly string[] = ["", "udp"];

export function udpTransport({ port, device = UDP_DEVICE }: UdpOptions): UdpTransport {
  const known = new WeakMap<FabricNode, { readonly host: HostFacts; readonly made: Made<ForwardedPeer> }>();
  const peerOf = (node: FabricNode, host: HostFacts): Made<ForwardedPeer> => {
    const before = known.get(node);
    if (before?.host === host) return before.made;
    const now = forwarded(node, host, port);
    known.set(node, { host, made: now });
    return now;
  };
  const all = ({ peers }: View, host: HostFacts): readonly Made<ForwardedPeer>[] =>
    peers.map((node) => peerOf(node, host));
  return {
    type: "udp",
    families: [4, 6],
    publics: "distinct",
    mtuBytes,
    announce: ({ local }) => ({ type: "", ...(local.v4 && { v4: OURS }), ...(local.v6 && { v6: OURS }) }),
    desired: (view, host) => ({
      state: stateOf(view, device),
      troubles: all(view, host).flatMap((peer): readonly Trouble[] => (peer.ok ? [] : [peer.trouble])),
    }),
    peers: (view, host) => all(view, host).flatMap((peer) => (peer.ok ? [peer.value] : [])),
  };
}

/** Of two families IPv4 is taken: it has the shorter header, and flanneld knows no other. */
const mtuBytes = ({ external, local }: HostFacts): number =>
  external.mtuBytes - OVERHEAD[local.v4 === undefined ? "v6" : "v4"];

/** Both or none: packets for what nobody has come to the process too, and are answered. */
function stateOf({ network: whole, self }: View, device: string): HostState {
  const pairs = [
    { own: self.subnets.v4, whole: whole.v4 },
    { own: self.subnets.v6, whole: whole.v6 },
  ].filter(
    (pair): pair is { own: IpPrefix; whole: IpPrefix } => pair.own !== undefined && pair.whole !== undefined,
  );
  return {
    ...nothing,
    addresses: pairs.map(({ own }) => ({ link: device, address: hostPrefix(network(own).ip) })),
    routes: pairs.map(({ whole }): FabricRoute => ({ dst: network(whole), link: device })),
  };
}

function forwarded(node: FabricNode, { local }: HostFacts, port: number): Made<ForwardedPeer> {
  const { subnets, publics, backend } = node;
  if (!TYPES.includes(backend.type))
    return trouble("backend-other", node, `its backend is ${backend.type}, not udp`);
  const heddle = isOurs(backend.v4) || isOurs(backend.v6);
  const address = (local.v4 && publics.v4) ?? (heddle ? local.v6 && publics.v6 : undefined);
  if (address === undefined)
    return trouble("unreachable", node, "it has no public address of a family that this host has too");
  const carried = [subnets.v4, heddle ? subnets.v6 : undefined].flatMap((s) =>
    s === undefined ? [] : [s.text],
  );
  if (carried.length === 0)
    return trouble("unreachable", node, "it is not known as a Heddle node, and others carry IPv4 alone");
  return made({ id: node.id, subnets: carried, address: address.text, port, heddle });
}

function isOurs(data: Json | undefined): boolean {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return false;
  const { Heddle: version } = data as { readonly [key: string]: Json };
  return typeof version === "number" && version >= 1;
}
