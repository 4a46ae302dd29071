/**
 * A DHCPv4 server for tests, which does what a test wants to see: short leases, refusals, silence, and packets that no
 * client may believe. It is a process inside the namespace that plays the server's host and tells every message that it got.
 */
import { macOf } from "../dhcp/place.ts";
import { decodeFrame, encodeFrame, udpPortFilter, type Datagram } from "../dhcp/udp4-frame.ts";
import { decode4, encode4, type Message4 } from "../dhcp/v4-message.ts";
import { messageType, OPTION, TYPE } from "../dhcp/v4-options.ts";
import { addToIp, type Ip, ipFromBytes, isUnspecified } from "../net/ip.ts";
import { localMac, type Mac } from "../net/mac.ts";
import { openNetlink } from "../netlink/socket.ts";
import { getLink } from "../rtnl/link.ts";
import { openPacketSocket } from "../sys/packet-socket.ts";
import { ip } from "./address.ts";
import { lineLog, type LineLog } from "./line-log.ts";
import type { TestNetns } from "./netns.ts";
import { startProcess } from "./netns.ts";

type Manner = "ack" | "nak" | "silent";
export interface Behaviour {
  readonly link: string;
  readonly address: string;
  /** The first address that is given; each new client gets the next. */
  readonly first: string;
  /** How many there are: a further client gets no answer. Absent: enough. */
  readonly addresses?: number;
  readonly leaseSeconds: number;
  readonly t1?: number;
  readonly t2?: number;
  /** Options of offers and acknowledgements, by number, in hexadecimal; they replace the usual ones. */
  readonly options?: readonly (readonly [number, string])[];
  readonly acquire?: Manner;
  readonly renew?: Manner;
  readonly rebind?: Manner;
  /** Before each true answer come false ones, which give this address. */
  readonly noise?: string;
}

/** What the server saw of one message. */
export interface Seen {
  readonly type: "discover" | "request" | "renew" | "rebind" | "release" | "other";
  readonly clientId: string;
  readonly mac: string;
  readonly broadcast: boolean;
  readonly ciaddr: string;
  /** Where the packet came from and went to. */
  readonly source: string;
  readonly destination: string;
  readonly toMac: string;
  readonly options: Readonly<Record<string, string>>;
}

export interface TestServer extends AsyncDisposable {
  readonly log: LineLog;
  /** Waits for a message of this type, counting from the `n`th (from 0) that was seen at all. */
  saw(type: Seen["type"], from?: number): Promise<Seen>;
  seen(): readonly Seen[];
}

/** Starts a server; it is gone at the end of the block. */
export async function startServer(netns: TestNetns, behaviour: Behaviour): Promise<TestServer> {
  const argv = [
    "ip",
    "netns",
    "exec",
    netns.name,
    process.execPath,
    import.meta.path,
    JSON.stringify(behaviour),
  ];
  const child = startProcess(argv);
  const log = lineLog(child.stdout);
  await log.line((l) => l === "ready");
  const all = (): readonly Seen[] =>
    log
      .lines()
      .slice(1)
      .map((l) => JSON.parse(l) as Seen);
  return {
    log,
    seen: all,
    saw: async (type, from = 0) => {
      const line = await log.line((l, i) => i > from && (JSON.parse(l) as Seen).type === type);
      return JSON.parse(line) as Seen;
    },
    [Symbol.asyncDispose]: async () => child[Symbol.asyncDispose](),
  };
}

const SERVER_PORT = 67;
const CLIENT_PORT = 68;
const u32 = (n: number): Uint8Array => Uint8Array.of(n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);

function kindOf(m: Message4): Seen["type"] {
  const type = messageType(m);
  if (type === TYPE.discover) return "discover";
  if (type === TYPE.release) return "release";
  if (type !== TYPE.request) return "other";
  return isUnspecified(m.ciaddr) ? "request" : "renew";
}

function serve(behaviour: Behaviour): void {
  using route = openNetlink("route");
  const link = getLink(route, { name: behaviour.link });
  if (link.mac === undefined) throw new Error(`${link.name} has no MAC address`);
  const own = { mac: link.mac, ip: ip(behaviour.address), port: SERVER_PORT };
  using socket = openPacketSocket(link.index, udpPortFilter(SERVER_PORT));
  const given = new Map<string, Ip>();
  const addressFor = (id: string): Ip | undefined => {
    if (!given.has(id) && given.size === behaviour.addresses) return undefined;
    const known = given.get(id) ?? addToIp(ip(behaviour.first), BigInt(given.size));
    given.set(id, known);
    return known;
  };
  console.log("ready");
  for (;;) {
    const frame = socket.receive(60_000);
    const datagram = frame && decodeFrame(frame.bytes, frame.checksumPending);
    if (!datagram) continue;
    const m = decode4(datagram.payload);
    const id = m.options.get(OPTION.clientId)?.toHex() ?? m.mac;
    const broadcast = datagram.destination.ip.text === "255.255.255.255";
    const kind = kindOf(m);
    const type = kind === "renew" && broadcast ? "rebind" : kind;
    console.log(JSON.stringify(seen(type, id, m, datagram)));
    const manner =
      type === "renew" || type === "rebind" ? (behaviour[type] ?? "ack") : (behaviour.acquire ?? "ack");
    if (type === "release" || type === "other" || manner === "silent") continue;
    const address = type === "renew" || type === "rebind" ? m.ciaddr : addressFor(id);
    if (address === undefined) continue;
    const reply = type === "discover" ? TYPE.offer : manner === "nak" ? TYPE.nak : TYPE.ack;
    const answer = answerTo(m, reply, address, behaviour);
    const everybody = { mac: macOf("ff:ff:ff:ff:ff:ff"), ip: ip("255.255.255.255"), port: CLIENT_PORT };
    const one = (to: Ip): Datagram["destination"] => ({
      mac: datagram.source.mac,
      ip: to,
      port: CLIENT_PORT,
    });
    const to = !isUnspecified(m.ciaddr) ? one(m.ciaddr) : m.broadcast ? everybody : one(address);
    if (behaviour.noise !== undefined)
      for (const bytes of noise(answer, ip(behaviour.noise), own, to)) socket.send(bytes);
    socket.send(encodeFrame({ source: own, destination: to, payload: encode4(answer) }));
  }
}

const seen = (type: Seen["type"], clientId: string, m: Message4, d: Datagram): Seen => ({
  type,
  clientId,
  mac: m.mac,
  broadcast: m.broadcast,
  ciaddr: m.ciaddr.text,
  source: d.source.ip.text,
  destination: d.destination.ip.text,
  toMac: d.destination.mac,
  options: Object.fromEntries([...m.options].map(([code, value]) => [code, value.toHex()])),
});

function answerTo(m: Message4, type: number, address: Ip, behaviour: Behaviour): Message4 {
  const options = new Map<number, Uint8Array>([
    [OPTION.messageType, Uint8Array.of(type)],
    [OPTION.serverId, ip(behaviour.address).bytes],
  ]);
  if (type !== TYPE.nak) {
    options
      .set(OPTION.subnetMask, Uint8Array.of(255, 255, 0, 0))
      .set(OPTION.leaseTime, u32(behaviour.leaseSeconds));
    if (behaviour.t1 !== undefined) options.set(OPTION.renewalTime, u32(behaviour.t1));
    if (behaviour.t2 !== undefined) options.set(OPTION.rebindingTime, u32(behaviour.t2));
    for (const [code, hex] of behaviour.options ?? []) options.set(code, Uint8Array.fromHex(hex));
  }
  return {
    ...m,
    from: "server",
    yiaddr: type === TYPE.nak ? ipFromBytes(new Uint8Array(4)) : address,
    options,
  };
}

type End = Datagram["source"];

/** Frames that look like the answer, give another address, and are each wrong in one thing. */
function noise(answer: Message4, address: Ip, source: End, destination: End): readonly Uint8Array[] {
  const evil: Message4 = { ...answer, yiaddr: address };
  const stranger: Mac = localMac(Uint8Array.of(2, 9, 9, 9, 9, 9));
  const frame = (m: Message4, from: End = source, to: End = destination): Uint8Array =>
    encodeFrame({ source: from, destination: to, payload: encode4(m) });
  const withOption = (code: number, value: Uint8Array | undefined): Message4 => {
    const options = new Map(evil.options);
    if (value) options.set(code, value);
    else options.delete(code);
    return { ...evil, options };
  };
  const whole = frame(evil);
  /** Ethernet, IPv4 and UDP headers, the message's header and its cookie. */
  const optionsAt = 14 + 20 + 8 + 240;
  const broken = (at: number): Uint8Array => whole.with(at, (whole[at] ?? 0) ^ 0xff);
  return [
    frame({ ...evil, xid: evil.xid ^ 1 }),
    frame({ ...evil, mac: stranger }),
    frame({ ...evil, from: "client" }),
    frame(evil, { ...source, port: 6700 }),
    frame(withOption(OPTION.clientId, Uint8Array.of(0, 1, 2))),
    frame(withOption(OPTION.serverId, undefined)),
    frame(withOption(OPTION.messageType, undefined)),
    // Wrong checksums: of IPv4, of UDP by another payload.
    broken(24),
    broken(optionsAt + 1),
    // Cut short, and shorter than its own headers say.
    whole.subarray(0, optionsAt - 4),
    whole.subarray(0, 30),
    // Anybody's.
    frame(evil, source, { ...destination, mac: stranger }),
  ];
}

if (import.meta.main) serve(JSON.parse(process.argv[2] ?? "{}") as Behaviour);
