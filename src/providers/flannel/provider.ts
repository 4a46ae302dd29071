/**
 * Flannel as a composition: the network's configuration makes a transport, a lease makes subnet.env. What is the same for
 * every provider is the agent's.
 */
import { integer, invalid, object, text, withDefault } from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import {
  type CommandName,
  type CommandPeer,
  type CommandSet,
  readCommands,
} from "../../fabric/commands/wish.ts";
import type { BackendData, FabricNode, Subnets, View } from "../../fabric/model.ts";
import { extensionTransport } from "../../fabric/transport/extension.ts";
import type { HostFacts, Transport } from "../../fabric/transport/transport.ts";
import {
  type ForwardedPeer,
  UDP_DEVICE,
  type UdpTransport,
  udpTransport,
} from "../../fabric/transport/udp.ts";
import { bad, good, type Parsed } from "../../net/brand.ts";
import { defaultRoute, type Family, type Ip, network } from "../../net/ip.ts";
import { type BackendConfig, parseNetworkConfig } from "./config.ts";
import { formatSubnetEnv, type Previous } from "./subnet-env.ts";
import { kernelTransport } from "./transports.ts";
import { wireguardOf } from "./wireguard-options.ts";

/** flanneld's port of the backend udp. */
const DEFAULT_PORT = 8285;
/** `0.0.0.0` and `::`. */
const ANY = { v4: defaultRoute(4).ip, v6: defaultRoute(6).ip } as const;

/** Of IPv4 (RFC 791) and IPv6 (RFC 8200, section 5), in bytes: the kernel has neither on a link with less. */
const LEAST_MTU = { 4: 68, 6: 1280 } as const;

/** A host whose link leaves nothing to be wished for: what is too small there is so by the configuration. */
const roomyHost = (families: readonly Family[]): HostFacts => ({
  external: { name: "", mtuBytes: 65_535 },
  local: { ...(families.includes(4) ? { v4: ANY.v4 } : {}), ...(families.includes(6) ? { v6: ANY.v6 } : {}) },
  isDirect: () => true,
});

/** A network as the agent goes by it. */
export interface FlannelNetwork {
  readonly whole: Subnets;
  readonly transport: Transport;
  /** The firewall's rules are to be nftables'. */
  readonly nftables: boolean;
  /** For a backend whose packets a process carries: what it has to know. */
  readonly carriage?: (
    view: View,
    host: HostFacts,
  ) => {
    readonly device: string;
    readonly mtuBytes: number;
    readonly listen: Ip;
    readonly port: number;
    /** This host's addresses on the device. */
    readonly own: readonly Ip[];
    readonly peers: readonly ForwardedPeer[];
  };
  /** For a backend whose data path the operator's commands make. */
  readonly commands?: {
    readonly set: CommandSet;
    readonly peers: (view: View) => readonly CommandPeer[];
    /** What is announced when the first of the commands has printed this; undefined: there is no first one. */
    readonly telling: (said: string | undefined) => BackendData;
  };
  /** What the firewall's rules and subnet.env are made of, but for the host's own part. */
  readonly key: string;
}

export interface FlannelChoices {
  /** Packets for addresses of this host's subnet that nobody has are dropped, instead of sent back the default route. */
  readonly blackholeRoute: boolean;
  /** The device of the backend udp; flanneld's unless told. */
  readonly udpDevice?: string;
}

/** Reads the network's configuration; why not is one sentence. */
export function readNetwork(
  source: string,
  { blackholeRoute, udpDevice = UDP_DEVICE }: FlannelChoices,
): Parsed<FlannelNetwork> {
  try {
    const { v4, v6, backend, nftables } = parseNetworkConfig(source);
    const families = ([4, 6] as const).filter((family) => (family === 4 ? v4 : v6) !== undefined);
    const done = doneBy(backend, families, udpDevice);
    if (done === undefined)
      return bad(`Backend.Type: "${backend.type}" is none of this agent's: ${backendTypes.join(", ")}`);
    const { transport, carriage, commands } = done;
    const missing = families.find((family) => !transport.families.includes(family));
    if (missing !== undefined)
      return bad(`Backend.Type: ${backend.type} carries no IPv${missing}, which the network has`);
    const inner = transport.mtuBytes(roomyHost(families));
    const least = Math.max(...families.map((family) => LEAST_MTU[family]));
    if (inner < least)
      return bad(
        `Backend.MTU: leaves ${inner} bytes for packets of containers, and IPv${families.includes(6) ? 6 : 4} needs ${least}`,
      );
    return good({
      whole: { ...(v4 ? { v4: v4.network } : {}), ...(v6 ? { v6: v6.network } : {}) },
      transport: blackholeRoute ? withBlackhole(transport) : transport,
      nftables,
      ...(carriage === undefined ? {} : { carriage }),
      ...(commands === undefined ? {} : { commands }),
      key: `${v4?.network.text ?? "-"} ${v6?.network.text ?? "-"} ${nftables ? "nftables" : "iptables"}`,
    });
  } catch (e) {
    if (e instanceof NetError && e.is("config/invalid")) return bad(e.message);
    throw e;
  }
}

const udpOptions = object({ Port: withDefault(integer({ min: 0, max: 65_535 }), 0) });

/** Every `Backend.Type` that there is a transport for. */
export const backendTypes = ["alloc", "extension", "host-gw", "ipip", "udp", "vxlan", "wireguard"] as const;

const commandTexts = object({
  PreStartupCommand: text,
  PostStartupCommand: text,
  ShutdownCommand: text,
  SubnetAddCommand: text,
  SubnetRemoveCommand: text,
} satisfies Record<CommandName, typeof text>);

/** The transport of a backend, and what a process is to do for it; undefined for one that there is not. */
function doneBy(
  backend: BackendConfig,
  families: readonly Family[],
  udpDevice: string,
): Pick<FlannelNetwork, "transport" | "carriage" | "commands"> | undefined {
  if (backend.type === "wireguard") return { transport: wireguardOf(backend.options, families) };
  if (backend.type === "udp") {
    const port = udpOptions(backend.options, "Backend").Port || DEFAULT_PORT;
    const transport = udpTransport({ port, device: udpDevice });
    return { transport, carriage: carriageOf(transport, port, udpDevice) };
  }
  if (backend.type === "extension") {
    const transport = extensionTransport();
    const { peers, telling } = transport;
    const set = readCommands(commandTexts(backend.options, "Backend"), (name, why) =>
      invalid(`Backend.${name}`, why),
    );
    return { transport, commands: { set, peers, telling } };
  }
  const transport = kernelTransport(backend);
  return transport && { transport };
}

function carriageOf(
  transport: UdpTransport,
  port: number,
  device: string,
): NonNullable<FlannelNetwork["carriage"]> {
  return (view, host) => {
    const { v4, v6 } = view.self.subnets;
    return {
      device,
      mtuBytes: transport.mtuBytes(host),
      // An address of IPv6 takes both families.
      listen: host.local.v6 === undefined ? ANY.v4 : ANY.v6,
      port,
      own: [v4, v6].flatMap((subnet) => (subnet === undefined ? [] : [network(subnet).ip])),
      peers: transport.peers(view, host),
    };
  };
}

/** The same transport, and a route that ends for all of this host's subnet: those of its containers are longer. */
const withBlackhole = (transport: Transport): Transport => ({
  ...transport,
  desired: (view, host) => {
    const { state, troubles } = transport.desired(view, host);
    const own = [view.self.subnets.v4, view.self.subnets.v6].flatMap((dst) => (dst ? [{ dst }] : []));
    return { state: { ...state, routes: [...state.routes, ...own] }, troubles };
  },
});

/** Of each family that both the network and the host have: the whole, and the host's part. */
export function partsOf({ whole }: Pick<FlannelNetwork, "whole">, { subnets }: FabricNode): Previous {
  const part = (key: "v4" | "v6"): Previous => {
    const [network, subnet] = [whole[key], subnets[key]];
    return network && subnet ? { [key]: { network, subnet } } : {};
  };
  return { ...part("v4"), ...part("v6") };
}

/** What subnet.env says of a host. */
export const subnetEnvOf = (
  network: Pick<FlannelNetwork, "whole">,
  self: FabricNode,
  more: { readonly mtuBytes: number; readonly ipMasq: boolean },
): string => formatSubnetEnv({ ...partsOf(network, self), ...more });
