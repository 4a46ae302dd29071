/**
 * Hosts on one switch whose containers speak through WireGuard, put into their kernels by our own reconciler; and what somebody
 * else would do to it.
 */
import { expect } from "bun:test";
import type { HostState } from "../fabric/host-state.ts";
import { nothing } from "../fabric/host-state.ts";
import type { FabricNode } from "../fabric/model.ts";
import type { Report } from "../fabric/reconcile/report.ts";
import { wireguardTransport, type WireguardOptions } from "../fabric/transport/wireguard.ts";
import { findFamily } from "../genl/family.ts";
import { getWireguard, type WireguardDevice } from "../genl/wireguard.ts";
import type { Request } from "../netlink/message.ts";
import { openNetlink } from "../netlink/socket.ts";
import { getLink } from "../rtnl/link.ts";
import { inNetns } from "../sys/netns.ts";
import { openSniffer } from "../sys/sniffer.ts";
import { fabricNode, subnets } from "./fabric.ts";
import type { FabricHost, FabricLan } from "./fabric-lan.ts";
import { patience } from "./slowdown.ts";
import { keyPair, keyText } from "./wireguard.ts";

export const LINK = "flannel-wg";
export const usual: WireguardOptions = {
  mode: "separate",
  listenPort: 51_820,
  listenPortV6: 51_821,
  keepaliveSeconds: 0,
};

interface NodeWords {
  /** Number of its keys, if not its own. */
  readonly key?: number;
  readonly at4?: string;
}
export const node = (n: number, { key = n, at4 = `192.0.2.${n}` }: NodeWords = {}): FabricNode =>
  fabricNode(`host${n}`, {
    v4: `10.0.${n}.0/24`,
    at4,
    backend: { type: "wireguard", v4: { PublicKey: keyText(key), Port: 51_820 } },
  });

/** What host `n` wants with these peers. */
export function desiredOn(
  host: FabricHost,
  n: number,
  peers: readonly FabricNode[],
  { key = n, options = {} }: { readonly key?: number; readonly options?: Partial<WireguardOptions> } = {},
): HostState {
  const { v4 } = host.facts.local;
  const facts = { ...host.facts, local: v4 ? { v4 } : {}, keys: keyPair(key) };
  const view = { network: subnets({ v4: "10.0.0.0/8" }), self: node(n, { key }), peers };
  const { state, troubles } = wireguardTransport({ ...usual, ...options }).desired(view, facts);
  expect(troubles).toEqual([]);
  return state;
}

export const told = ({ changes }: Report): readonly string[] =>
  changes.map(({ action, object, key }) => `${action} ${object} ${key}`).toSorted();
export const failed = ({ failures }: Report): readonly string[] =>
  failures.map(({ object, key, error }) => `${object} ${key}: ${error.message}`);
export const isQuiet = (report: Report): void =>
  expect(report).toEqual({ full: report.full, changes: [], failures: [], fights: [], waiting: 0 });

export function reconcile(host: FabricHost, state: HostState): Report {
  const report = host.reconciler.reconcile(state);
  expect(failed(report)).toEqual([]);
  return report;
}

/** All hosts know each other, and each has an address as of a container. */
export async function joined(lan: FabricLan): Promise<readonly HostState[]> {
  const states = lan.hosts.map((host, i) =>
    desiredOn(
      host,
      i + 1,
      lan.hosts.flatMap((_, j) => (i === j ? [] : [node(j + 1)])),
    ),
  );
  for (const [i, host] of lan.hosts.entries()) {
    reconcile(host, states[i] ?? nothing);
    await host.ip("link add cni0 type bridge", "link set cni0 up", `address add 10.0.${i + 1}.1/24 dev cni0`);
  }
  return states;
}

export const indexOf = ({ handle }: FabricHost, name: string): number =>
  inNetns(handle, () => {
    using socket = openNetlink("route");
    return getLink(socket, { name }).index;
  });

/** Asks the kernel of a host about its tunnel, by generic netlink. */
function ask<T>(
  host: FabricHost,
  work: (socket: ReturnType<typeof openNetlink>, family: number, index: number) => T,
): T {
  const index = indexOf(host, LINK);
  return inNetns(host.handle, () => {
    using socket = openNetlink("generic");
    return work(socket, findFamily(socket, "wireguard"), index);
  });
}
export const device = (host: FabricHost): WireguardDevice => ask(host, getWireguard);
/** As somebody else would change it. */
export const meddle = (host: FabricHost, make: (family: number, index: number) => Request): void =>
  ask(host, (socket, family, index) => void socket.request(make(family, index)));

const ECHO = `await Bun.udpSocket({ hostname: process.argv[1], port: 7007, socket: {
  data(socket, bytes, port, from) { socket.send(bytes, port, from); } } });
console.log("listening");`;
/** Sends until an answer comes; a kernel that refuses to send is asked again. */
const CLIENT = `const [from, to, text, ms] = process.argv.slice(1);
const socket = await Bun.udpSocket({ hostname: from, port: 0, socket: {
  data() { console.log("answered"); process.exit(0); }, error() {} } });
const end = Date.now() + Number(ms);
while (Date.now() < end) {
  try { socket.send(text, 7007, to); } catch {}
  await Bun.sleep(50);
}
console.log("silence");
process.exit(0);`;

/** True if host `to` answers host `from`, both as their containers do. */
export async function answers(
  { hosts }: FabricLan,
  from: number,
  to: number,
  text = "hello",
  limitMs = patience(15_000, 60_000),
): Promise<boolean> {
  const [client, server] = [hosts[from - 1], hosts[to - 1]];
  if (client === undefined || server === undefined) throw new Error("no such host");
  await using echo = server.net.start([process.execPath, "-e", ECHO, `10.0.${to}.1`]);
  await echo.printed("listening");
  const words = [`10.0.${from}.1`, `10.0.${to}.1`, text, String(limitMs)];
  const { stdout } = await client.net.exec([process.execPath, "-e", CLIENT, ...words], {
    timeoutMs: limitMs + patience(5_000),
  });
  return stdout.includes("answered");
}

/** What passes a link from now on. */
export function sniffOn(host: FabricHost, link: string) {
  const index = indexOf(host, link);
  const sniffer = inNetns(host.handle, () => openSniffer(index));
  return {
    seen(): readonly Buffer[] {
      const all: Buffer[] = [];
      for (let one = sniffer.next(); one !== undefined; one = sniffer.next())
        all.push(Buffer.from(one.bytes));
      return all;
    },
    [Symbol.dispose]: () => sniffer[Symbol.dispose](),
  };
}

/** IPv4 in Ethernet: its protocol and, of UDP, its ports. */
export function portsOf(frame: Buffer): string | undefined {
  if (frame.readUInt16BE(12) !== 0x0800) return undefined;
  const udp = 14 + (frame.readUInt8(14) & 15) * 4;
  return `${frame.readUInt8(23)} ${frame.readUInt16BE(udp)} ${frame.readUInt16BE(udp + 2)}`;
}
