import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { ip } from "../testing/address.ts";
import { FOREVER } from "./model.ts";
import { macOf } from "./place.ts";
import { encodeName } from "./domain-names.ts";
import type { Message4 } from "./v4-message.ts";
import { OPTION, renewalTimes, termsOf } from "./v4-options.ts";

const mac = macOf("02:00:00:00:00:01");
const bytes = (...b: readonly number[]): Uint8Array => Uint8Array.from(b);
const u32 = (n: number): Uint8Array => bytes(n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);
const text = (s: string): Uint8Array => new TextEncoder().encode(s);

const usual: readonly (readonly [number, Uint8Array])[] = [
  [OPTION.messageType, bytes(5)],
  [OPTION.serverId, bytes(10, 0, 0, 1)],
  [OPTION.subnetMask, bytes(255, 255, 254, 0)],
  [OPTION.leaseTime, u32(1000)],
];

const ack = (
  more: readonly (readonly [number, Uint8Array | undefined])[] = [],
  yiaddr = "10.0.1.5",
): Message4 => {
  const options = new Map(usual);
  for (const [code, value] of more)
    if (value) options.set(code, value);
    else options.delete(code);
  return {
    from: "server",
    xid: 1,
    seconds: 0,
    broadcast: false,
    ciaddr: ip("0.0.0.0"),
    yiaddr: ip(yiaddr),
    giaddr: ip("0.0.0.0"),
    mac,
    options,
  };
};
const terms = (...more: readonly (readonly [number, Uint8Array | undefined])[]) =>
  termsOf(ack(more), mac).terms;
const refused = (work: () => unknown): boolean => {
  try {
    work();
    return false;
  } catch (e) {
    return e instanceof NetError && e.is("decode/malformed");
  }
};

describe("what an acknowledgement grants", () => {
  test("is the address with its mask, the server, and times of which the client makes what is missing", () => {
    expect(terms()).toMatchObject({
      address: "10.0.1.5/23",
      server: "10.0.0.1",
      serverMac: mac,
      leaseSeconds: 1000,
      renewSeconds: 500,
      rebindSeconds: 875,
      routers: [],
      nameservers: [],
    });
  });

  test("has the mask of the address's class if the server sends none", () => {
    expect(terms([OPTION.subnetMask, undefined]).address).toBe("10.0.1.5/8");
    expect(termsOf(ack([[OPTION.subnetMask, undefined]], "192.0.2.7"), mac).terms.address).toBe(
      "192.0.2.7/24",
    );
  });

  test("lasts an hour if the server does not say, and for ever if it says so", () => {
    expect(terms([OPTION.leaseTime, undefined]).leaseSeconds).toBe(3600);
    expect(terms([OPTION.leaseTime, u32(FOREVER)])).toMatchObject({
      leaseSeconds: FOREVER,
      renewSeconds: FOREVER,
      rebindSeconds: FOREVER,
    });
  });

  test("has DNS, MTU and time servers", () => {
    const search = bytes(...encodeName("a.example"), 1, 98, 0xc0, 2);
    expect(
      terms(
        [OPTION.nameservers, bytes(10, 0, 0, 2, 10, 0, 0, 3)],
        [OPTION.domainName, text("example.test\0")],
        [OPTION.domainSearch, search],
        [OPTION.interfaceMtu, bytes(5, 120)],
        [OPTION.timeServers, bytes(10, 0, 0, 4)],
      ),
    ).toMatchObject({
      nameservers: ["10.0.0.2", "10.0.0.3"],
      domain: "example.test",
      search: ["a.example", "b.example"],
      mtu: 1400,
      timeServers: ["10.0.0.4"],
    });
  });

  test("has routes by class or for one host (option 33), and by prefix (option 121)", () => {
    expect(
      terms([OPTION.staticRoutes, bytes(10, 0, 0, 0, 10, 0, 0, 9, 192, 168, 7, 5, 10, 0, 0, 9)]).staticRoutes,
    ).toEqual([
      { dst: "10.0.0.0/8", gw: "10.0.0.9" },
      { dst: "192.168.7.5/32", gw: "10.0.0.9" },
    ]);
    const routes = bytes(0, 10, 0, 0, 1, 17, 172, 16, 0xff, 10, 0, 0, 2, 32, 1, 2, 3, 4, 0, 0, 0, 0);
    expect(terms([OPTION.classlessRoutes, routes]).classlessRoutes).toEqual([
      { dst: "0.0.0.0/0", gw: "10.0.0.1" },
      { dst: "172.16.128.0/17", gw: "10.0.0.2" },
      { dst: "1.2.3.4/32" },
    ]);
  });

  test.each([
    ["no server", [OPTION.serverId, undefined]],
    ["a mask with holes", [OPTION.subnetMask, bytes(255, 0, 255, 0)]],
    ["a mask of three bytes", [OPTION.subnetMask, bytes(255, 255, 255)]],
    ["a lease of no time", [OPTION.leaseTime, u32(0)]],
    ["half a router", [OPTION.routers, bytes(10, 0)]],
    ["a default route in option 33", [OPTION.staticRoutes, bytes(0, 0, 0, 0, 10, 0, 0, 1)]],
    ["a route of 33 bits", [OPTION.classlessRoutes, bytes(33, 1, 2, 3, 4, 5, 6, 7, 8, 9)]],
    ["a route that is cut off", [OPTION.classlessRoutes, bytes(24, 10, 0, 0, 10, 0)]],
  ] as const)("is nothing with %s", (_, option) => {
    expect(refused(() => terms(option))).toBe(true);
  });

  test.each(["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255"])(
    "is nothing with the address %s",
    (address) => {
      expect(refused(() => termsOf(ack([], address), mac))).toBe(true);
    },
  );

  test.each([
    ["names that are none", OPTION.domainName, text("a b; rm")],
    ["an MTU that is too small", OPTION.interfaceMtu, bytes(0, 67)],
    ["five bytes of name servers", OPTION.nameservers, bytes(1, 2, 3, 4, 5)],
    ["a pointer to itself", OPTION.domainSearch, bytes(0xc0, 0)],
    ["a pointer forwards", OPTION.domainSearch, bytes(0xc0, 3, 0, 1, 97, 0)],
    ["a label that is cut off", OPTION.domainSearch, bytes(5, 97)],
  ] as const)("leaves out what only informs and is malformed, and says so: %s", (_, code, value) => {
    const granted = termsOf(ack([[code, value]]), mac);
    expect(granted.ignored.length).toBe(1);
    expect(granted.terms).toMatchObject({ nameservers: [], search: [] });
    expect(granted.terms.mtu).toBeUndefined();
  });
});

test("times of the server count only in their order", () => {
  expect(renewalTimes(1000, 100, 200, 0.5, 0.875)).toEqual({ renewSeconds: 100, rebindSeconds: 200 });
  expect(renewalTimes(1000, 300, 200, 0.5, 0.875)).toEqual({ renewSeconds: 200, rebindSeconds: 200 });
  expect(renewalTimes(1000, 0, 2000, 0.5, 0.875)).toEqual({ renewSeconds: 500, rebindSeconds: 875 });
});
