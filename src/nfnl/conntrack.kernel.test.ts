import { expect } from "bun:test";
import { NLM_F } from "../netlink/message.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { kernelTest, testWith } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { decodeEntry, flushMapping, type MappedPort, toFlow } from "./conntrack.ts";
import { CT, ctAttrs, type Tuple } from "./ctnetlink.ts";
import { ip } from "../testing/address.ts";

/** Flows are put into connection tracking through netlink, so that no packet has to be sent for them. */
const NUMBER = { tcp: 6, udp: 17, sctp: 132 } as const;
/** IPS_CONFIRMED and IPS_SEEN_REPLY (linux/netfilter/nf_conntrack_common.h). */
const STATUS = 0xa;

const tuple = (
  protocol: keyof typeof NUMBER,
  from: string,
  fromPort: number,
  to: string,
  toPort: number,
): Tuple => ({
  ip:
    ip(from).family === 4
      ? { v4Source: ip(from).bytes, v4Destination: ip(to).bytes }
      : { v6Source: ip(from).bytes, v6Destination: ip(to).bytes },
  proto: { number: NUMBER[protocol], sourcePort: fromPort, destinationPort: toPort },
});

let client = 20_000;
/** A flow from a client to `to`, answered from `at`. */
function makeFlow(
  socket: NetlinkSocket,
  protocol: "udp" | "sctp",
  to: [string, number],
  at: [string, number],
): void {
  const from = ip(to[0]).family === 4 ? "198.51.100.7" : "2001:db8::7";
  const port = client++;
  const body = ctAttrs.encode({
    original: tuple(protocol, from, port, ...to),
    reply: tuple(protocol, at[0], at[1], from, port),
    status: STATUS,
    timeoutSeconds: 600,
  });
  socket.request({
    type: CT.NEW,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    body: Buffer.concat([Uint8Array.of(ip(from).family === 4 ? 2 : 10, 0, 0, 0), body]),
    what: "a flow",
  });
}

const list = (socket: NetlinkSocket): string[] =>
  [2, 10]
    .flatMap((family) =>
      socket.dump({ type: CT.GET, flags: 0, body: Uint8Array.of(family, 0, 0, 0), what: "flows" }),
    )
    .map((m) => toFlow(decodeEntry(m)))
    .map((f) => `${f?.original.destination.text} ${f?.original.destinationPort} > ${f?.reply.source.text}`)
    .sort();

/** Runs in the namespace, with a socket of it. */
function inside<T>(netns: TestNetns, work: (socket: NetlinkSocket) => T): T {
  using handle = openNetns(netns.path);
  return inNetns(handle, () => {
    using socket = openNetlink("netfilter");
    return work(socket);
  });
}

const mapping: MappedPort = { protocol: "udp", hostPort: 53, target: ip("10.0.0.2"), targetPort: 5353 };

kernelTest("a new mapping ends the flows that bypass it and no others", async () => {
  await using netns = await testNetns();
  await netns.exec(["ip", "address", "add", "192.0.2.1/24", "dev", "lo"]);
  const { deleted, left } = inside(netns, (socket) => {
    makeFlow(socket, "udp", ["192.0.2.1", 53], ["192.0.2.1", 53]);
    makeFlow(socket, "udp", ["192.0.2.1", 53], ["10.0.0.9", 5353]);
    makeFlow(socket, "udp", ["192.0.2.1", 53], ["10.0.0.2", 5353]);
    makeFlow(socket, "udp", ["203.0.113.8", 53], ["203.0.113.8", 53]);
    makeFlow(socket, "udp", ["192.0.2.1", 54], ["192.0.2.1", 54]);
    makeFlow(socket, "sctp", ["192.0.2.1", 53], ["192.0.2.1", 53]);
    return { deleted: flushMapping(socket, mapping, "added"), left: list(socket) };
  });
  expect(deleted).toBe(2);
  expect(left).toEqual([
    "192.0.2.1 53 > 10.0.0.2",
    "192.0.2.1 53 > 192.0.2.1",
    "192.0.2.1 54 > 192.0.2.1",
    "203.0.113.8 53 > 203.0.113.8",
  ]);
});

kernelTest("a removed mapping ends the flows that still go to its container and no others", async () => {
  await using netns = await testNetns();
  const v6: MappedPort = { protocol: "sctp", hostPort: 99, target: ip("fd00::2"), targetPort: 99 };
  const { counts, left } = inside(netns, (socket) => {
    makeFlow(socket, "udp", ["192.0.2.1", 53], ["10.0.0.2", 5353]);
    makeFlow(socket, "udp", ["127.0.0.1", 53], ["10.0.0.2", 5353]);
    makeFlow(socket, "udp", ["192.0.2.1", 53], ["10.0.0.3", 5353]);
    makeFlow(socket, "sctp", ["2001:db8::1", 99], ["fd00::2", 99]);
    makeFlow(socket, "sctp", ["fd00::2", 99], ["fd00::2", 99]);
    const counts = [mapping, v6, { ...mapping, protocol: "tcp" as const }].map((m) =>
      flushMapping(socket, m, "removed"),
    );
    return { counts: [...counts, flushMapping(socket, mapping, "removed")], left: list(socket) };
  });
  expect(counts).toEqual([2, 1, 0, 0]);
  expect(left).toEqual(["192.0.2.1 53 > 10.0.0.3", "fd00::2 99 > fd00::2"]);
});

kernelTest("the kernel lists only the flows of the port", async () => {
  await using netns = await testNetns();
  const listed = inside(netns, (socket) => {
    for (let i = 0; i < 500; i++) makeFlow(socket, "udp", ["192.0.2.1", 1000 + i], ["192.0.2.1", 1000 + i]);
    let count = 0;
    const spy = {
      dump: (...args: Parameters<NetlinkSocket["dump"]>) => {
        const all = socket.dump(...args);
        count = all.length;
        return all;
      },
      tryRequest: socket.tryRequest.bind(socket),
    };
    const hostIp = ip("192.0.2.1");
    const deleted = flushMapping(spy, { ...mapping, hostIp, hostPort: 1200 }, "added");
    return { deleted, count };
  });
  expect(listed).toEqual({ deleted: 1, count: 1 });
});

testWith({ root: true, programs: ["ip", "conntrack"] })(
  "the conntrack program sees the same flows",
  async () => {
    await using netns = await testNetns();
    inside(netns, (socket) => {
      makeFlow(socket, "udp", ["192.0.2.1", 53], ["10.0.0.2", 5353]);
      makeFlow(socket, "udp", ["192.0.2.1", 54], ["10.0.0.2", 5353]);
    });
    const seen = async (): Promise<string[]> =>
      [...(await netns.exec(["conntrack", "-L"])).stdout.matchAll(/dst=192\S+ sport=\d+ dport=(\d+)/g)].map(
        (m) => m[1] ?? "",
      );
    expect((await seen()).sort()).toEqual(["53", "54"]);
    inside(netns, (socket) => flushMapping(socket, mapping, "removed"));
    expect(await seen()).toEqual(["54"]);
  },
);
