/** What tunnels take: the parameters of vxlan and ipip links, their forwarding entries, and routes with far gateways. */
import { describe, expect, test } from "bun:test";
import { parseMac } from "../net/mac.ts";
import type { Request } from "../netlink/message.ts";
import { cidr, ip } from "../testing/address.ts";
import { decodeTunnelEntry, removeTunnelEntry, setTunnelEntry } from "./forwarding-entry.ts";
import { encodeLinkType, linkTypeOf, type LinkType } from "./kinds.ts";
import type { Link } from "./link.ts";
import { decodeNeighbour, neighbourRemoval, neighbourSetting } from "./neighbour.ts";
import { decodeRoute, routeAddition, routeRemoval, routeReplacement } from "./route.ts";
import { routeType } from "./route-lookup.ts";

const parsed = parseMac("02:00:00:00:00:07");
if (!parsed.ok) throw new TypeError(parsed.why);
const mac = parsed.value;

const hex = (bytes: Uint8Array): string => bytes.toHex();
const words = (text: string): string => text.replaceAll(/\s/g, "");
const read = (kind: string, kindData: Uint8Array): LinkType | undefined =>
  linkTypeOf({ kind, kindData } as Partial<Link> as Link);
const same = (request: Request, flags: number, body: string): void =>
  expect([request.flags, hex(request.body)]).toEqual([flags, words(body)]);

const CREATE_EXCL = 0x600;
const CREATE_REPLACE = 0x500;

describe("a vxlan link", () => {
  const full = {
    kind: "vxlan",
    id: 0xabcdef,
    port: 8472,
    lower: 2,
    local: ip("192.0.2.1"),
    group: ip("192.0.2.9"),
    ttl: 7,
    learning: false,
    gbp: true,
    l2miss: false,
    l3miss: true,
    udpChecksum: true,
    udp6ZeroChecksumSend: false,
    udp6ZeroChecksumReceive: true,
  } as const;

  test("is written as the kernel has it, the port in network order", () => {
    expect(hex(encodeLinkType(full))).toBe(
      words(`0800 0100 efcdab00  0800 0200 c0000209  0800 0300 02000000  0800 0400 c0000201
             0500 0500 07000000  0500 0700 00000000  0500 0d00 00000000  0500 0e00 01000000
             0600 0f00 21180000  0500 1200 01000000  0500 1300 00000000  0500 1400 01000000
             0400 1700`),
    );
  });

  test("says nothing of what is left to the kernel", () => {
    expect(hex(encodeLinkType({ kind: "vxlan", id: 1, gbp: false }))).toBe(words("0800 0100 01000000"));
  });

  test.each([
    ["over IPv4", full],
    ["over IPv6", { ...full, gbp: false, local: ip("2001:db8::1"), group: ip("ff05::1") }],
  ])("%s is read as it was written", (_, type) => {
    expect(read("vxlan", encodeLinkType(type))).toEqual(type);
  });

  test("without a number is nothing that is known", () => {
    expect(read("vxlan", new Uint8Array(0))).toBeUndefined();
  });
});

describe("an ipip link", () => {
  const many = { kind: "ipip", local: ip("192.0.2.1"), ttl: 0, pathMtuDiscovery: true } as const;

  test("is written as the kernel has it, and read again", () => {
    const raw = encodeLinkType(many);
    expect(hex(raw)).toBe(words("0800 0200 c0000201  0500 0400 00000000  0500 0a00 01000000"));
    expect(read("ipip", raw)).toEqual(many);
    const single = { ...many, lower: 3, remote: ip("192.0.2.2"), ttl: 9 } as const;
    expect(read("ipip", encodeLinkType(single))).toEqual(single);
  });

  test("has no far end if the kernel shows it as all zeros", () => {
    expect(read("ipip", Uint8Array.fromHex(words("0800 0200 c0000201 0800 0300 00000000")))).toEqual({
      ...many,
      pathMtuDiscovery: false,
    });
  });
});

describe("a forwarding entry of a tunnel", () => {
  const entry = { link: 5, mac, to: ip("192.0.2.1") };

  test("is permanent and the link's own", () => {
    same(
      setTunnelEntry(entry),
      CREATE_REPLACE,
      "07000000 05000000 8000 02 00  0800 0100 c0000201  0a00 0200 0200 0000 0007 0000",
    );
    expect(decodeTunnelEntry(setTunnelEntry(entry))).toEqual({ ...entry, static: true });
  });

  test("is removed by all that it says", () => {
    same(
      removeTunnelEntry({ ...entry, to: ip("2001:db8::1") }),
      0,
      "07000000 05000000 0000 02 00  1400 0100 20010db8 00000000 00000000 00000001  0a00 0200 0200 0000 0007 0000",
    );
  });

  test("is no neighbour, and a neighbour no forwarding entry", () => {
    const neighbour = neighbourSetting({ link: 5, mac, ip: ip("10.0.0.1") });
    expect(decodeTunnelEntry(neighbour)).toBeUndefined();
    expect(decodeNeighbour(neighbour)).toEqual({ link: 5, mac, ip: ip("10.0.0.1"), state: "permanent" });
    same(
      neighbourRemoval({ link: 5, ip: ip("10.0.0.1") }),
      0,
      "02000000 05000000 0000 00 00 0800 0100 0a000001",
    );
  });
});

describe("a route", () => {
  const far = {
    dst: cidr("10.1.2.0/24"),
    oif: 5,
    gateway: ip("10.1.2.0"),
    onLink: true,
    protocol: 73,
  } as const;

  test("leads to a gateway that is on the link because the route says so", () => {
    const body =
      "02 18 00 00 fe 49 00 01 04000000  0800 0100 0a010200  0800 0400 05000000  0800 0500 0a010200";
    same(routeAddition(far), CREATE_EXCL, body);
    same(routeReplacement(far), CREATE_REPLACE, body);
    same(routeRemoval(far), 0, body);
    expect(decodeRoute(routeAddition(far))).toMatchObject({ ...far, type: routeType.unicast, table: 254 });
  });

  test.each([
    [{ ...far, dst: cidr("10.1.3.0/24"), gateway: ip("10.1.3.0") }],
    [{ ...far, dst: cidr("10.1.3.0/25"), gateway: ip("10.1.3.0") }],
    [{ ...far, oif: 6 }],
    [{ ...far, protocol: 3 }],
    [{ ...far, dst: cidr("fd00:1::/64"), gateway: ip("fd00:1::") }],
    [{ ...far, src: ip("10.9.9.9") }],
    [{ ...far, priority: 7 }],
    [{ ...far, mtu: 1400 }],
    [{ ...far, table: 1000 }],
    [{ ...far, scope: 253 }],
    [{ dst: far.dst, oif: 5, gateway: far.gateway, protocol: 73 }],
  ])("says all that it is, whatever was said of another before: %j", (route) => {
    expect(decodeRoute(routeAddition(far))).toMatchObject(far);
    const { onLink, ...rest } = decodeRoute(routeAddition(route));
    expect({ ...rest, ...(onLink ? { onLink } : {}) }).toMatchObject(route);
    expect(onLink).toBe("onLink" in route ? true : undefined);
  });

  test("may be a hole, in which packets vanish", () => {
    const hole = { dst: cidr("fd00:1::/64"), type: routeType.blackhole, protocol: 73 };
    same(
      routeAddition(hole),
      CREATE_EXCL,
      "0a 40 00 00 fe 49 00 06 00000000  1400 0100 fd000001 00000000 00000000 00000000",
    );
    expect(decodeRoute(routeAddition(hole))).toMatchObject(hole);
  });
});
