/** Tunnels and their peers in a real kernel, with packets that pass or do not. */
import { describe, expect, test as plainTest } from "bun:test";
import { findFamily } from "../../genl/family.ts";
import {
  getWireguard,
  peerRemoval,
  peerSetting,
  type WireguardDevice,
  wireguardSetting,
} from "../../genl/wireguard.ts";
import type { Request } from "../../netlink/message.ts";
import { openNetlink } from "../../netlink/socket.ts";
import { getLink } from "../../rtnl/link.ts";
import { inNetns } from "../../sys/netns.ts";
import { openSniffer } from "../../sys/sniffer.ts";
import { cidr, ip } from "../../testing/address.ts";
import { numberedLoad } from "../../testing/agent-hosts.ts";
import { fabricNode, numbered, numberedNetwork, subnets } from "../../testing/fabric.ts";
import { type FabricHost, type FabricLan, fabricLan, placeIn, testOwner } from "../../testing/fabric-lan.ts";
import { kernelHas } from "../../testing/features.ts";
import { kernelTest as test, onKernelWith, whyNot } from "../../testing/needs.ts";
import { patience } from "../../testing/slowdown.ts";
import { keyPair, keyText } from "../../testing/wireguard.ts";
import { type HostState, nothing } from "../host-state.ts";
import type { FabricNode } from "../model.ts";
import { wireguardTransport, type WireguardOptions } from "../transport/wireguard.ts";
import { openReconciler } from "./reconciler.ts";
import type { Report } from "./report.ts";

const LINK = "flannel-wg";
const usual: WireguardOptions = {
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
const node = (n: number, { key = n, at4 = `192.0.2.${n}` }: NodeWords = {}): FabricNode =>
  fabricNode(`host${n}`, {
    v4: `10.0.${n}.0/24`,
    at4,
    backend: { type: "wireguard", v4: { PublicKey: keyText(key), Port: 51_820 } },
  });

/** What host `n` wants with these peers. */
function desiredOn(
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

const told = ({ changes }: Report): readonly string[] =>
  changes.map(({ action, object, key }) => `${action} ${object} ${key}`).toSorted();
const failed = ({ failures }: Report): readonly string[] =>
  failures.map(({ object, key, error }) => `${object} ${key}: ${error.message}`);
const isQuiet = (report: Report): void =>
  expect(report).toEqual({ full: report.full, changes: [], failures: [], fights: [], waiting: 0 });

function reconcile(host: FabricHost, state: HostState): Report {
  const report = host.reconciler.reconcile(state);
  expect(failed(report)).toEqual([]);
  return report;
}

/** All hosts know each other, and each has an address as of a container. */
async function joined(lan: FabricLan): Promise<readonly HostState[]> {
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

/** Asks of the kernel of a host, by generic netlink. */
const ask = <T>(
  { handle }: FabricHost,
  work: (socket: ReturnType<typeof openNetlink>, family: number) => T,
): T =>
  inNetns(handle, () => {
    using socket = openNetlink("generic");
    return work(socket, findFamily(socket, "wireguard"));
  });
const indexOf = ({ handle }: FabricHost, name: string): number =>
  inNetns(handle, () => {
    using socket = openNetlink("route");
    return getLink(socket, { name }).index;
  });
const device = (host: FabricHost): WireguardDevice =>
  ask(host, (socket, family) => getWireguard(socket, family, indexOf(host, LINK)));
/** As somebody else would change it. */
const meddle = (host: FabricHost, make: (family: number, index: number) => Request): void =>
  ask(host, (socket, family) => void socket.request(make(family, indexOf(host, LINK))));

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
async function answers(
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
function sniffOn(host: FabricHost, link: string) {
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
function portsOf(frame: Buffer): string | undefined {
  if (frame.readUInt16BE(12) !== 0x0800) return undefined;
  const udp = 14 + (frame.readUInt8(14) & 15) * 4;
  return `${frame.readUInt8(23)} ${frame.readUInt16BE(udp)} ${frame.readUInt16BE(udp + 2)}`;
}

onKernelWith(["wireguard"], () => {
  describe("between two hosts", () => {
    test("nothing can be read that their containers say", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      const text = "it is said in clear words, and long enough that it cannot be by chance";
      using underlay = sniffOn(one, "eth0");
      using tunnel = sniffOn(one, LINK);
      expect(await answers(lan, 1, 2, text)).toBeTrue();
      expect(tunnel.seen().some((packet) => packet.includes(text))).toBeTrue();
      const frames = underlay.seen();
      expect(frames.filter((frame) => frame.includes(text.slice(0, 16)))).toEqual([]);
      const all = frames.map(portsOf).filter((ports) => ports !== undefined);
      // An initiation and its answer, then data both ways.
      expect(all.length).toBeGreaterThanOrEqual(4);
      expect(new Set(all)).toEqual(new Set(["17 51820 51820"]));
    });

    test("what is for a host that left, or for nobody, goes nowhere", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one, two] = lan.hosts as [FabricHost, FabricHost];
      expect(await answers(lan, 1, 2)).toBeTrue();
      expect(told(reconcile(one, desiredOn(one, 1, [])))).toEqual([`removed peer ${keyText(2)} ${LINK}`]);
      expect(device(one).peers).toEqual([]);
      await one.ip("route add default via 192.0.2.2");
      const text = "for somebody who is not there any more";
      using leaves = sniffOn(one, "eth0");
      using arrives = sniffOn(two, "eth0");
      expect(await answers(lan, 1, 2, text, 500)).toBeFalse();
      for (const frames of [leaves.seen(), arrives.seen()])
        expect(frames.filter((frame) => frame.includes(text) || portsOf(frame)?.endsWith(" 7007"))).toEqual(
          [],
        );
    });

    test("a new key of one of them is taken in, and the old one goes", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one, two] = lan.hosts as [FabricHost, FabricHost];
      expect(await answers(lan, 1, 2)).toBeTrue();
      const index = indexOf(two, LINK);
      expect(told(reconcile(two, desiredOn(two, 2, [node(1)], { key: 22 })))).toEqual([
        `replaced tunnel ${LINK}`,
      ]);
      expect(indexOf(two, LINK)).toBe(index);
      expect(told(reconcile(one, desiredOn(one, 1, [node(2, { key: 22 })])))).toEqual([
        `added peer ${keyText(22)} ${LINK}`,
        `removed peer ${keyText(2)} ${LINK}`,
      ]);
      expect(await answers(lan, 1, 2)).toBeTrue();
      expect(await answers(lan, 2, 1)).toBeTrue();
    });

    test("a preshared key that only one of them has lets nothing pass", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      const options = { presharedKey: keyPair(99).privateKey };
      expect(told(reconcile(one, desiredOn(one, 1, [node(2)], { options })))).toEqual([
        `replaced peer ${keyText(2)} ${LINK}`,
      ]);
      expect(await answers(lan, 1, 2, "hello", 500)).toBeFalse();
      reconcile(one, desiredOn(one, 1, [node(2)]));
      // Who tried in vain waits a few seconds before the next try (REKEY_TIMEOUT).
      expect(await answers(lan, 2, 1)).toBeTrue();
    });

    test("a reconciler that ends and another one that begins lose no packet", async () => {
      await using lan = await fabricLan(2);
      const [state = nothing] = await joined(lan);
      const [one, two] = lan.hosts as [FabricHost, FabricHost];
      expect(await answers(lan, 1, 2)).toBeTrue();
      const before = { index: indexOf(one, LINK), device: device(one) };
      await using load = await numberedLoad(one.net, { net: two.net, address: "10.0.2.1" }, 200);
      one.reconciler[Symbol.dispose]();
      using next = openReconciler(testOwner, { place: placeIn(one.handle) });
      isQuiet(next.reconcile(state));
      const { sent, last, gaps, lost, dropped } = await load.count();
      expect({ gaps, lost }).toEqual({ gaps, lost: dropped });
      expect(last).toBe(sent - 1);
      expect({ index: indexOf(one, LINK), device: device(one) }).toEqual(before);
    });
  });

  describe("a host that is heard of from elsewhere", () => {
    test("is answered there, also with others at the same address, until it is silent for long", async () => {
      await using lan = await fabricLan(3);
      await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      // Both say that they are where neither is, as behind a translation.
      const behind = [2, 3].map((n) => node(n, { at4: "192.0.2.99" }));
      const state = desiredOn(one, 1, behind);
      let today = Date.now();
      using reconciler = openReconciler(testOwner, { place: placeIn(one.handle), today: () => today });
      const places = () =>
        device(one)
          .peers.map(({ publicKey, endpoint }) => [publicKey, endpoint?.ip.text])
          .toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
      const at = (two: string, three: string) =>
        [
          [keyPair(2).publicKey, two],
          [keyPair(3).publicKey, three],
        ].toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
      reconciler.reconcile(state);
      expect(places()).toEqual(at("192.0.2.99", "192.0.2.99"));
      expect(await answers(lan, 2, 1)).toBeTrue();
      expect(await answers(lan, 3, 1)).toBeTrue();
      expect(places()).toEqual(at("192.0.2.2", "192.0.2.3"));
      expect(await answers(lan, 1, 2)).toBeTrue();
      today = Date.now();
      reconciler.relist();
      isQuiet(reconciler.reconcile(state));
      using other = openReconciler(testOwner, { place: placeIn(one.handle), today: () => today });
      isQuiet(other.reconcile(state));
      expect(places()).toEqual(at("192.0.2.2", "192.0.2.3"));
      today += 600_000;
      reconciler.relist();
      expect(told(reconciler.reconcile(state))).toEqual(
        [2, 3].map((n) => `repaired peer ${keyText(n)} ${LINK}`).toSorted(),
      );
    });
  });

  describe("a tunnel", () => {
    test("that others change is put right at the next look", async () => {
      let now = 0;
      await using lan = await fabricLan(2, () => now);
      const [state = nothing] = await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      /** But for when it was heard of: a keepalive that somebody asks for is sent. */
      const settings = () => {
        const { peers, ...rest } = device(one);
        return { ...rest, peers: peers.map(({ handshakeMs: _, ...peer }) => peer) };
      };
      const before = settings();
      const [two, stranger] = [keyPair(2).publicKey, keyPair(77).publicKey];
      const looked = (): readonly string[] => {
        // Less often than what would be a fight.
        now += 60_000;
        one.reconciler.relist();
        return told(reconcile(one, state));
      };
      const wrongs: readonly [(family: number, index: number) => Request, readonly string[]][] = [
        [(f, i) => peerRemoval(f, i, two), [`repaired peer ${two} ${LINK}`]],
        [(f, i) => peerSetting(f, i, { publicKey: stranger }), [`removed peer ${stranger} ${LINK}`]],
        [
          (f, i) => peerSetting(f, i, { publicKey: stranger, allowed: [cidr("10.0.2.0/24")] }),
          [`removed peer ${stranger} ${LINK}`, `repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, allowed: [cidr("10.0.9.0/24")] }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, endpoint: { ip: ip("192.0.2.66"), port: 1 } }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, keepaliveSeconds: 9 }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, presharedKey: keyPair(9).privateKey }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => wireguardSetting(f, i, { privateKey: keyPair(50).privateKey, listenPort: 999 }),
          [`repaired tunnel ${LINK}`],
        ],
      ];
      for (const [wrong, repairs] of wrongs) {
        meddle(one, wrong);
        expect(looked()).toEqual(repairs);
        expect(settings()).toEqual(before);
        expect(looked()).toEqual([]);
      }
      expect(await answers(lan, 1, 2)).toBeTrue();
    });

    test("that somebody else made is taken over as it is", async () => {
      await using lan = await fabricLan(1);
      const [one] = lan.hosts as [FabricHost];
      const state = desiredOn(one, 1, [node(2)]);
      await one.ip(`link add ${LINK} mtu 1420 type wireguard`, `link set ${LINK} up`);
      const index = indexOf(one, LINK);
      meddle(one, (f, i) => wireguardSetting(f, i, { ...keyPair(1), listenPort: 51_820 }));
      meddle(one, (f, i) =>
        peerSetting(f, i, {
          publicKey: keyPair(2).publicKey,
          endpoint: { ip: ip("192.0.2.2"), port: 51_820 },
          allowed: [cidr("10.0.2.0/24")],
        }),
      );
      expect(told(reconcile(one, state))).toEqual([
        "added address 10.0.1.0/32 flannel-wg",
        "added route 10.0.0.0/8",
        `adopted link ${LINK}`,
      ]);
      expect(indexOf(one, LINK)).toBe(index);
    });

    test("whose port is taken says so, and gets it when it is free", async () => {
      let now = 0;
      await using lan = await fabricLan(1, () => now);
      const [one] = lan.hosts as [FabricHost];
      const state = desiredOn(one, 1, [node(2)]);
      {
        const hold = `await Bun.udpSocket({ hostname: "192.0.2.1", port: 51820 }); console.log("held");`;
        await using other = one.net.start([process.execPath, "-e", hold]);
        await other.printed("held");
        const report = one.reconciler.reconcile(state);
        expect(failed(report)).toEqual([
          `tunnel ${LINK}: host port 51820/udp of ${LINK} is taken by somebody else on this host`,
        ]);
      }
      now += 2_000;
      expect(told(reconcile(one, state))).toEqual([`added tunnel ${LINK}`]);
      expect(device(one).peers).toHaveLength(1);
    });

    test("with a thousand peers takes several messages, and one more peer is one request", async () => {
      await using lan = await fabricLan(1);
      const [one] = lan.hosts as [FabricHost];
      const COUNT = 1_000;
      const facts = { ...one.facts, keys: keyPair(1) };
      const nodes = Array.from({ length: COUNT + 1 }, (_, i): FabricNode => {
        const told = { PublicKey: keyText(i + 2) };
        return { ...numbered(i + 2, [4, 6]), backend: { type: "wireguard", v4: told, v6: told } };
      });
      const transport = wireguardTransport({ ...usual, mode: "auto" });
      const desired = (count: number): HostState =>
        transport.desired(
          { network: numberedNetwork, self: numbered(1, [4, 6]), peers: nodes.slice(0, count) },
          facts,
        ).state;
      reconcile(one, desired(COUNT));
      const { peers } = device(one);
      expect(peers).toHaveLength(COUNT);
      expect(peers.every(({ allowed }) => allowed.length === 2)).toBeTrue();
      one.reconciler.relist();
      isQuiet(reconcile(one, desired(COUNT)));
      expect(told(reconcile(one, desired(COUNT + 1)))).toEqual([`added peer ${keyText(COUNT + 2)} ${LINK}`]);
      reconcile(one, desired(2));
      expect(device(one).peers).toHaveLength(2);
      reconcile(one, nothing);
      expect(() => indexOf(one, LINK)).toThrow("ENODEV");
    });
  });
});

const lacking = whyNot({ root: true, programs: ["ip", "unshare"] }) === undefined && !kernelHas("wireguard");
plainTest.skipIf(!lacking)("a kernel without wireguard is told in plain words, once", async () => {
  await using lan = await fabricLan(1);
  const [one] = lan.hosts as [FabricHost];
  const report = one.reconciler.reconcile(desiredOn(one, 1, [node(2), node(3)]));
  expect(failed(report)).toEqual([
    `link ${LINK}: the kind wireguard of links is not available: needs the kernel's module wireguard (modprobe wireguard)`,
  ]);
});
