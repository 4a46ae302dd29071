import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { ip } from "../testing/address.ts";
import { encodeName } from "./domain-names.ts";
import { FOREVER } from "./model.ts";
import {
  answerOf,
  decode6,
  encode6,
  identityOf,
  isAnswer6,
  type Message6,
  OPTION6,
  question6,
  TYPE6,
} from "./v6-message.ts";

const who = identityOf("00aa");
const server = Uint8Array.of(0, 3, 0, 1, 2);
const be32 = (n: number): readonly number[] => [n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];
const option = (code: number, value: readonly number[]): readonly number[] => [
  code >> 8,
  code & 0xff,
  value.length >> 8,
  value.length & 0xff,
  ...value,
];
const iaAddress = (address = "fd00::5", preferred = 600, valid = 1000): readonly number[] =>
  option(OPTION6.iaAddress, [...ip(address).bytes, ...be32(preferred), ...be32(valid)]);
const ia = (inner: readonly number[], t1 = 0, t2 = 0, iaid = who.iaid) =>
  [OPTION6.iaNa, Uint8Array.from([...be32(iaid), ...be32(t1), ...be32(t2), ...inner])] as const;
const reply = (...options: readonly (readonly [number, Uint8Array])[]): Message6 => ({
  type: TYPE6.reply,
  xid: 5,
  options: [[OPTION6.clientId, who.duid], [OPTION6.serverId, server], ...options],
});
const status = (code: number): readonly number[] => option(OPTION6.statusCode, [0, code]);

describe("a DHCPv6 message", () => {
  const solicit = question6({ type: TYPE6.solicit, xid: 0xabcdef, who, elapsedMs: 1230, more: [] });

  test("comes out of its bytes as it went in", () => {
    const back = decode6(encode6(solicit));
    expect(back).toEqual({ ...solicit, options: solicit.options.map(([c, v]) => [c, new Uint8Array(v)]) });
    expect(encode6(solicit).subarray(0, 4).toHex()).toBe("01abcdef");
    expect(solicit.options.find(([c]) => c === OPTION6.elapsed)?.[1].toHex()).toBe("007b");
  });

  test.each(["", "07abcd", "07abcdef0001", "07abcdef00010005ff", "07abcdef0001ffff"])(
    "is refused: %p",
    (hex) => {
      expect(() => decode6(Uint8Array.fromHex(hex))).toThrow(NetError);
    },
  );

  test("is an answer only with our number, our DUID and a server", () => {
    const good = reply();
    expect(isAnswer6(good, TYPE6.reply, 5, who)).toBe(true);
    expect(isAnswer6(good, TYPE6.advertise, 5, who)).toBe(false);
    expect(isAnswer6(good, TYPE6.reply, 6, who)).toBe(false);
    expect(isAnswer6(good, TYPE6.reply, 5, identityOf("00ab"))).toBe(false);
    expect(isAnswer6({ ...good, options: good.options.slice(0, 1) }, TYPE6.reply, 5, who)).toBe(false);
    expect(isAnswer6({ ...good, options: good.options.slice(1) }, TYPE6.reply, 5, who)).toBe(false);
  });
});

describe("what a DHCPv6 answer grants", () => {
  test("is one address with the server's times, DNS and search list", () => {
    const dns = [OPTION6.nameservers, Uint8Array.from([...ip("fd00::53").bytes])] as const;
    const names = [OPTION6.domainSearch, encodeName("lan.test")] as const;
    expect(answerOf(reply(ia(iaAddress(), 100, 200), dns, names), who)).toEqual({
      kind: "granted",
      preference: 0,
      terms: {
        family: 6,
        address: "fd00::5/128",
        server: server.toHex(),
        nameservers: ["fd00::53"],
        search: ["lan.test"],
        leaseSeconds: 1000,
        renewSeconds: 100,
        rebindSeconds: 200,
      },
    });
  });

  test("is renewed at half and rebound at four fifths of the preferred time if the server leaves it open", () => {
    expect(answerOf(reply(ia(iaAddress("fd00::5", 500, 1000))), who)).toMatchObject({
      terms: { renewSeconds: 250, rebindSeconds: 400 },
    });
    expect(answerOf(reply(ia(iaAddress("fd00::5", FOREVER, FOREVER))), who)).toMatchObject({
      terms: { leaseSeconds: FOREVER, renewSeconds: FOREVER },
    });
  });

  test("is the first address that is valid", () => {
    const two = [...iaAddress("fd00::1", 0, 0), ...iaAddress("fd00::2")];
    expect(answerOf(reply(ia(two)), who)).toMatchObject({ terms: { address: "fd00::2/128" } });
  });

  test.each<[string, Message6, boolean]>([
    ["no association", reply(), false],
    ["another association", reply(ia(iaAddress(), 0, 0, who.iaid ^ 1)), false],
    ["an association without an address", reply(ia([])), false],
    ["no free address", reply(ia(status(2))), false],
    ["a server that has forgotten the lease", reply(ia(status(3))), true],
    [
      "a server that refuses the whole",
      reply([OPTION6.statusCode, Uint8Array.of(0, 1)], ia(iaAddress())),
      false,
    ],
  ])("is nothing with %s", (_, message, forgotten) => {
    expect(answerOf(message, who)).toMatchObject({ kind: "refused", forgotten });
  });

  test.each<[string, readonly (readonly [number, Uint8Array])[]]>([
    ["an address that is cut off", [ia(option(OPTION6.iaAddress, [1, 2, 3]))]],
    ["an option beyond the association's end", [ia([0, 5, 0, 24, 1])]],
    ["a link-local address", [ia(iaAddress("fe80::1"))]],
    ["a group's address", [ia(iaAddress("ff02::1"))]],
    ["this host's address", [ia(iaAddress("::1"))]],
    [
      "an IPv4 address",
      [ia(option(OPTION6.iaAddress, [...new Uint8Array(10), 255, 255, 10, 0, 0, 1, ...new Uint8Array(8)]))],
    ],
    ["no address at all", [ia(iaAddress("::"))]],
    ["more preferred than valid time", [ia(iaAddress("fd00::1", 11, 10))]],
    ["half a name server", [ia(iaAddress()), [OPTION6.nameservers, new Uint8Array(15)]]],
    ["a compressed name", [ia(iaAddress()), [OPTION6.domainSearch, Uint8Array.of(0xc0, 0)]]],
    ["a status of one byte", [[OPTION6.statusCode, new Uint8Array(1)]]],
  ])("is refused with %s", (_, options) => {
    expect(() => answerOf(reply(...options), who)).toThrow(NetError);
  });
});

test("a client is the same whenever it asks, and another one another", () => {
  expect(identityOf("00aa")).toEqual(who);
  expect(identityOf("00ab").duid.toHex()).not.toBe(who.duid.toHex());
  expect(who.duid.toHex()).toMatch(/^0004[0-9a-f]{12}8[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
});
