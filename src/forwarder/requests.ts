/**
 * What the control socket takes and says: lines of JSON. A request is checked here as a whole, and the first thing that is
 * wrong with it is named; after this nobody asks again.
 */
import { NetError } from "../errors.ts";
import { type Ip, type IpPrefix, isUnspecified, network, parseIp, parsePrefix } from "../net/ip.ts";
import type { Peer } from "./peers.ts";

/** flanneld's port, which peers without a port of their own have. */
export const DEFAULT_PORT = 8285;
export const MOST_PEERS = 16_384;
const MOST_SUBNETS = 64;
const MOST_ID = 256;

/** A line of all peers with a few subnets each. */
export const MOST_LINE_BYTES = 8 << 20;

/** A peer in JSON. */
export interface PeerJson {
  readonly id: string;
  readonly subnets: readonly string[];
  readonly address: string;
  readonly port: number;
  readonly heddle: boolean;
}

export type ControlRequest =
  | { readonly command: "set-peer"; readonly peer: Peer }
  | { readonly command: "remove-peer"; readonly id: string }
  | { readonly command: "replace-all"; readonly peers: readonly Peer[] }
  | { readonly command: "peers" | "status" | "stop" | "remove" | "hand-over" | "taken" };

const PLAIN = ["peers", "status", "stop", "remove", "hand-over", "taken"] as const;

/** Reads one line. `family` is that of the socket: an IPv4 one reaches no IPv6 address. @throws usage/invalid */
export function parseRequest(line: string, family: 4 | 6): ControlRequest {
  const value = objectOf(jsonOf(line), "the request");
  const { command } = value;
  if (command === "set-peer") return { command, peer: parsePeer(value["peer"], "peer", family) };
  if (command === "remove-peer") return { command, id: idOf(value["id"], "id") };
  if (command === "replace-all") return { command, peers: parsePeers(value["peers"], family) };
  const plain = PLAIN.find((word) => word === command);
  if (plain === undefined) return invalid(`there is no command ${JSON.stringify(command)}`);
  return { command: plain };
}

/** A list of peers with an id each of its own. @throws usage/invalid */
export function parsePeers(value: unknown, family: 4 | 6): readonly Peer[] {
  if (!Array.isArray(value) || value.length > MOST_PEERS)
    return invalid(`peers must be a list of at most ${MOST_PEERS}`);
  const peers = value.map((peer, i) => parsePeer(peer, `peers[${i}]`, family));
  const ids = new Set<string>();
  for (const { id } of peers) {
    if (ids.has(id)) return invalid(`two peers have the id "${id}"`);
    ids.add(id);
  }
  return peers;
}

export const peerJson = ({ id, subnets, ip, port, heddle }: Peer): PeerJson => ({
  id,
  subnets: subnets.map(({ text }) => text),
  address: ip.text,
  port,
  heddle,
});

function parsePeer(value: unknown, at: string, family: 4 | 6): Peer {
  const peer = objectOf(value, at);
  const { id, subnets, address, port = DEFAULT_PORT, heddle = false } = peer;
  if (!Array.isArray(subnets) || subnets.length > MOST_SUBNETS)
    return invalid(`${at}.subnets must be a list of at most ${MOST_SUBNETS}`);
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65_535)
    return invalid(`${at}.port must be 1 to 65535`);
  if (typeof heddle !== "boolean") return invalid(`${at}.heddle must be true or false`);
  return {
    id: idOf(id, `${at}.id`),
    subnets: subnets.map((subnet, i) => subnetOf(subnet, `${at}.subnets[${i}]`)),
    ip: addressOf(address, `${at}.address`, family),
    port,
    heddle,
  };
}

function idOf(value: unknown, at: string): string {
  if (typeof value === "string" && value.length > 0 && value.length <= MOST_ID) return value;
  return invalid(`${at} must be a text of 1 to ${MOST_ID} characters`);
}

function subnetOf(value: unknown, at: string): IpPrefix {
  const parsed = typeof value === "string" ? parsePrefix(value) : undefined;
  if (parsed?.ok !== true) return invalid(`${at} must be a subnet, as "10.1.2.0/24"`);
  return network(parsed.value);
}

function addressOf(value: unknown, at: string, family: 4 | 6): Ip {
  const parsed = typeof value === "string" ? parseIp(value) : undefined;
  if (parsed?.ok !== true || isUnspecified(parsed.value)) return invalid(`${at} must be an IP address`);
  if (parsed.value.family === 6 && family === 4)
    return invalid(
      `${at} is an IPv6 address, and the forwarder listens on IPv4 alone: start it with --listen ::`,
    );
  return parsed.value;
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return invalid("the request is not JSON");
  }
}

function objectOf(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return invalid(`${at} must be an object`);
  return value as Readonly<Record<string, unknown>>;
}

function invalid(why: string): never {
  throw new NetError("usage/invalid", { why });
}
