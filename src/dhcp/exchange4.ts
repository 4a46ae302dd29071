/**
 * DHCPv4 on the wire: the conversations that a child has. Before there is an address the frames are raw; a lease in use
 * is renewed over an ordinary socket, whose packets the kernel routes to a server that may be far away.
 */
import { NetError } from "../errors.ts";
import type { Mac } from "../net/mac.ts";
import { openPacketSocket, type PacketSocket } from "../sys/packet-socket.ts";
import { openUdpSocket, type UdpSocket } from "../sys/udp-socket.ts";
import type { NetnsRef, Terms4 } from "./model.ts";
import { Gone, ipOf, isThere, macOf, must, type Place, prefixOf } from "./place.ts";
import type { Answer, HeldTask, Task } from "./task.ts";
import { decodeFrame, encodeFrame, udpPortFilter } from "./udp4-frame.ts";
import {
  type Acquire4,
  onMessage,
  onTime,
  question,
  type Question,
  renewalOf,
  startAcquire,
  type Step4,
} from "./v4-acquire.ts";
import { decode4, encode4, type Message4 } from "./v4-message.ts";
import { TYPE } from "./v4-options.ts";
import { parseMac } from "../net/mac.ts";

const CLIENT_PORT = 68;
const SERVER_PORT = 67;
const EVERYBODY: Mac = must(parseMac("ff:ff:ff:ff:ff:ff"));
/** A long wait is cut, to look whether the container is still there: an open socket would keep its namespace alive. */
const LOOK_MS = 1000;

export const random32 = (): number => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
export const random1 = (): number => random32() / 2 ** 32;

/** The message in bytes from the network, if it is one. */
function messageIn(bytes: Uint8Array): Message4 | undefined {
  try {
    return decode4(bytes);
  } catch (e) {
    if (e instanceof NetError && e.is("decode/malformed")) return undefined;
    throw e;
  }
}

function sendRaw(socket: PacketSocket, mac: Mac, message: Message4): void {
  const broadcast = ipOf("255.255.255.255");
  socket.send(
    encodeFrame({
      source: { mac, ip: ipOf("0.0.0.0"), port: CLIENT_PORT },
      destination: { mac: EVERYBODY, ip: broadcast, port: SERVER_PORT },
      payload: encode4(message),
    }),
  );
}

/** From DISCOVER to ACK. */
export function acquire4(task: Task & { readonly kind: "acquire" }, { link }: Place): Answer {
  using socket = openPacketSocket(link.index, udpPortFilter(CLIENT_PORT));
  const setup: Acquire4 = {
    // An interface that shares its MAC address gets what is sent to its IP address, and has none yet.
    client: { ...task.client, broadcast: task.client.broadcast || link.kind === "ipvlan" },
    mac: link.mac,
    xid: random32(),
    ...(task.wanted === undefined ? {} : { wanted: prefixOf(task.wanted).ip }),
    times: task.times,
    random: random1,
  };
  const now = (): number => performance.now();
  let state = startAcquire(now());
  let step: Step4 = onTime(setup, state, now());
  for (;;) {
    if (step.kind === "given-up") return { kind: "silent", why: step.why };
    if (step.kind === "bound")
      return {
        kind: "bound",
        terms: step.granted.terms,
        link: { index: link.index, mac: link.mac },
        ageMs: Math.round(now() - step.sentMs),
        ignored: step.granted.ignored,
      };
    if (step.send) sendRaw(socket, link.mac, step.send);
    state = step.state;
    const frame = nextFrame(socket, task.netns, state.nextMs - now());
    step = frame ? onMessage(setup, state, frame.message, frame.from, now()) : onTime(setup, state, now());
  }
}

interface Received {
  readonly message: Message4;
  readonly from: Mac;
}

/** The next DHCP message from a server's port, or undefined when the time is over. */
function nextFrame(socket: PacketSocket, netns: NetnsRef, waitMs: number): Received | undefined {
  for (const until = performance.now() + waitMs; ;) {
    const left = until - performance.now();
    const frame = socket.receive(Math.min(Math.max(left, 0), LOOK_MS));
    const datagram = frame && decodeFrame(frame.bytes, frame.checksumPending);
    const message =
      datagram?.source.port === SERVER_PORT && datagram.destination.port === CLIENT_PORT
        ? messageIn(datagram.payload)
        : undefined;
    if (datagram && message) return { message, from: datagram.source.mac };
    if (left <= 0) return undefined;
    if (!frame && !isThere(netns)) throw new Gone(`the network namespace at ${netns.path} went away`);
  }
}

/** When a renewal is sent again, and when its answer is no longer waited for. The daemon comes back later. */
const RENEWAL_MS = [2000, 2000] as const;

/** Asks for more time: the server that gave the lease, or all of them. */
export function renew4(task: HeldTask, terms: Terms4, { link }: Place): Answer {
  const address = prefixOf(terms.address).ip;
  const mac = link.mac;
  const asked = { client: task.client, mac, xid: random32(), address };
  const about: Question = { ...asked, type: TYPE.request, seconds: 0, options: [], ciaddr: address };
  const server = task.kind === "renew" ? ipOf(terms.server) : ipOf("255.255.255.255");
  let socket: UdpSocket;
  try {
    socket = openUdpSocket(link, { ip: address, port: CLIENT_PORT });
  } catch (e) {
    if (!(e instanceof NetError && e.is("sys/call"))) throw e;
    return { kind: "silent", why: `cannot ask from ${address.text}: ${e.message}` };
  }
  using _ = socket;
  let why = `${task.kind === "renew" ? `the DHCP server ${terms.server}` : "no DHCP server"} answered nothing`;
  for (const waitMs of RENEWAL_MS) {
    const sent = performance.now();
    try {
      socket.send(encode4(question({ ...about, seconds: 0 })), { ip: server, port: SERVER_PORT });
    } catch (e) {
      if (!(e instanceof NetError && e.is("sys/call"))) throw e;
      why = e.message;
    }
    for (const until = sent + waitMs; ;) {
      const got = socket.receive(until - performance.now());
      if (got === undefined) break;
      const message = got.from.port === SERVER_PORT ? messageIn(got.payload) : undefined;
      const found = message && renewalOf(message, asked, macOf(terms.serverMac));
      if (found === undefined) continue;
      if (found.kind === "refused") {
        // Of a server that did not give the lease a refusal counts only when all were asked.
        if (task.kind === "renew" && got.from.ip.text !== terms.server) continue;
        return found;
      }
      const ageMs = Math.round(performance.now() - sent);
      return { kind: "bound", ...found.granted, link: task.link, ageMs };
    }
  }
  return { kind: "silent", why };
}

/**
 * Gives a lease back. There is no answer, and the interface is about to go: the frame is sent at once to where the server's
 * came from, instead of waiting for ARP.
 */
export function release4(task: HeldTask, terms: Terms4, { link }: Place): Answer {
  using socket = openPacketSocket(link.index, udpPortFilter(CLIENT_PORT));
  const address = prefixOf(terms.address).ip;
  const server = ipOf(terms.server);
  const message = question({
    type: TYPE.release,
    client: task.client,
    mac: link.mac,
    xid: random32(),
    seconds: 0,
    options: [[54, server.bytes]],
    ciaddr: address,
  });
  socket.send(
    encodeFrame({
      source: { mac: link.mac, ip: address, port: CLIENT_PORT },
      destination: { mac: macOf(terms.serverMac), ip: server, port: SERVER_PORT },
      payload: encode4(message),
    }),
  );
  return { kind: "done" };
}
