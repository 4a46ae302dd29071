import { describe, expect, test } from "bun:test";
import { contains, type Ip } from "../net/ip.ts";
import { cidr, ip } from "../testing/address.ts";
import { diceOf, seed } from "../testing/seed.ts";
import { findPeer4, findPeer6, type Peer, peerTable, socketAddress } from "./peers.ts";

const peer = (id: string, ...subnets: readonly string[]): Peer => ({
  id,
  subnets: subnets.map(cidr),
  ip: ip("192.0.2.1"),
  port: 8285,
  heddle: false,
});
const find = (peers: readonly Peer[], address: Ip): number => {
  const table = peerTable(peers, 4);
  const view = new DataView(Uint8Array.from(address.bytes).buffer);
  return address.family === 4 ? findPeer4(table.v4, view, 0) : findPeer6(table.v6, view, 0);
};
const nameOf = (peers: readonly Peer[], address: string): string =>
  peers[find(peers, ip(address))]?.id ?? "nobody";

describe("the table of peers", () => {
  const peers = [
    peer("a", "10.1.0.0/16", "fd00:1::/64"),
    peer("inner", "10.1.7.0/24", "fd00:1::8000/113"),
    peer("last", "255.255.255.0/24", "ffff::/16"),
    peer("first", "0.0.0.0/8", "::/64"),
  ];
  test.each([
    ["10.1.0.0", "a"],
    ["10.1.6.255", "a"],
    ["10.1.7.0", "inner"],
    ["10.1.7.255", "inner"],
    ["10.1.8.0", "a"],
    ["10.2.0.0", "nobody"],
    ["255.255.255.255", "last"],
    ["0.255.255.255", "first"],
    ["1.0.0.0", "nobody"],
    ["fd00:1::7fff", "a"],
    ["fd00:1::ffff", "inner"],
    ["fd00:1::1:0", "a"],
    ["fd00:1:0:1::", "nobody"],
    ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "last"],
    ["::ffff", "first"],
  ])("%s is behind %s", (address, name) => expect(nameOf(peers, address)).toBe(name));

  test("without peers nobody is found", () => expect(find([], ip("10.0.0.1"))).toBe(-1));

  test("finds what a search for the longest prefix finds", () => {
    const dice = diceOf(seed, "peers");
    for (let round = 0; round < 200; round++) {
      const some = Array.from({ length: 1 + dice(12) }, (_, i) =>
        peer(
          String(i),
          `10.${dice(2)}.${dice(256)}.${dice(256)}/${8 + dice(25)}`,
          `fd00::${dice(4)}/${100 + dice(29)}`,
        ),
      );
      const table = peerTable(some, 4);
      for (let tries = 0; tries < 40; tries++) {
        const v6 = tries % 2 === 1;
        const at = ip(v6 ? `fd00::${dice(6)}` : `10.${dice(2)}.${dice(256)}.${dice(256)}`);
        const view = new DataView(Uint8Array.from(at.bytes).buffer);
        const found = v6 ? findPeer6(table.v6, view, 0) : findPeer4(table.v4, view, 0);
        const fitting = some.flatMap(({ subnets }) =>
          subnets.filter((s) => contains(s, at)).map((s) => s.bits),
        );
        const bits = some[found]?.subnets.filter((s) => contains(s, at)).map((s) => s.bits) ?? [];
        expect([at.text, Math.max(-1, ...bits)]).toEqual([at.text, Math.max(-1, ...fitting)]);
      }
    }
  });

  test("takes 5,000 peers in any order", () => {
    const many = Array.from({ length: 5000 }, (_, i) => {
      const n = (i * 2357) % 5000;
      return peer(String(n), `10.${n >> 8}.${n & 255}.0/24`);
    });
    expect(nameOf(many, "10.19.135.9")).toBe("4999");
    expect(nameOf(many, "10.19.136.9")).toBe("nobody");
  });
});

describe("socketAddress", () => {
  const hex = (text: string, family: 4 | 6): string =>
    socketAddress({ ip: ip(text), port: 8285 }, family).toHex();
  test("is sockaddr_in for an IPv4 socket", () =>
    expect(hex("192.0.2.1", 4)).toBe("0200205dc00002010000000000000000"));
  test("maps IPv4 for an IPv6 socket", () =>
    expect(hex("192.0.2.1", 6)).toBe(`0a00205d00000000${"00".repeat(10)}ffffc000020100000000`));
  test("is sockaddr_in6 for an IPv6 address", () =>
    expect(hex("2001:db8::1", 6)).toBe("0a00205d0000000020010db800000000000000000000000100000000"));
  test("refuses an IPv6 address for an IPv4 socket", () => {
    expect(() => socketAddress({ ip: ip("2001:db8::1"), port: 1 }, 4)).toThrow(RangeError);
  });
});
