/** Pools and addresses as pure functions. */
import { describe, expect, test } from "bun:test";
import { cidr, ip } from "../testing/address.ts";
import { chooseAddress, makePool, type Pool, POOLS, poolOf, rawPool, type Taken } from "./pools.ts";

const random = Uint8Array.of(0xff, 1, 2, 3, 4, 5, 6, 7);
const wish = (pool?: string, range?: string, family: 4 | 6 = 4) => ({
  space: "s",
  family,
  ...(pool ? { pool: cidr(pool) } : {}),
  ...(range ? { range: cidr(range) } : {}),
});
const make = (
  w: Parameters<typeof makePool>[0],
  present: readonly Pool[] = [],
  inUse: readonly string[] = [],
) => makePool(w, present, inUse.map(cidr), random);

describe("a pool", () => {
  test("is what was asked for, without host bits", () => {
    expect(make(wish("10.7.0.9/24")).pool.text).toBe("10.7.0.0/24");
    expect(make(wish("fd07::/64", undefined, 6)).pool.text).toBe("fd07::/64");
    const part = make(wish("10.7.0.0/24", "10.7.0.128/25"));
    expect(part.range?.text).toBe("10.7.0.128/25");
    expect(poolOf(rawPool(part), "")).toEqual(part);
  });

  test("that nobody named keeps out of the way of others, and of what the host can reach", () => {
    const first = make(wish());
    expect(first.pool.text).toBe("10.213.0.0/24");
    expect(make(wish(), [first], ["10.213.1.0/25", "0.0.0.0/0"]).pool.text).toBe("10.213.2.0/24");
    expect(make(wish(undefined, undefined, 6)).pool.text).toBe("fd01:203:405:607::/64");
    expect(() => make(wish(), [], ["10.213.0.0/16"])).toThrow("say one");
  });

  test.each([
    ["overlaps another one", wish("10.7.0.0/16"), "overlaps 10.7.3.0/24 of another network; choose another"],
    ["is too small", wish("10.9.0.0/31"), "too small"],
    ["is of the other family", wish("fd00::/64"), "say --ipv6"],
    ["has a part outside of it", wish("10.9.0.0/24", "10.8.0.0/25"), "is not a part of 10.9.0.0/24"],
    ["has a part that is larger", wish("10.9.0.0/24", "10.9.0.0/16"), "is not a part of"],
    ["is a part of nothing", wish(undefined, "10.9.0.0/25"), "say --subnet as well"],
  ])("is refused if it %s", (_, asked, why) => {
    expect(() => make(asked, [make(wish("10.7.3.0/24"))])).toThrow(why);
  });

  test("of another address space may overlap", () => {
    expect(make({ ...wish("10.7.0.0/16"), space: "other" }, [make(wish("10.7.3.0/24"))]).id).toBe(
      "other/10.7.0.0/16",
    );
  });

  test("is refused if there are too many", () => {
    const many = Array.from({ length: POOLS }, () => make(wish("10.7.3.0/24")));
    expect(() => make(wish("10.8.0.0/24"), many)).toThrow("remove networks");
  });
});

describe("an address", () => {
  const pool = make(wish("10.7.0.0/29"));
  const taken = (...texts: readonly string[]): ReadonlyMap<string, Taken> =>
    new Map(texts.map((t, i) => [t, { poolId: pool.id, ip: ip(t), gateway: i === 0 }]));
  const choose = (
    held: ReadonlyMap<string, Taken>,
    more: { readonly ip?: string; gateway?: boolean } = {},
    after?: string,
  ) =>
    chooseAddress(
      pool,
      held,
      { gateway: more.gateway ?? false, ...(more.ip ? { ip: ip(more.ip) } : {}) },
      after === undefined ? undefined : ip(after),
    ).text;

  test("of a gateway is the first one, unless another is named", () => {
    expect(choose(taken(), { gateway: true })).toBe("10.7.0.1");
    expect(choose(taken(), { gateway: true, ip: "10.7.0.6" })).toBe("10.7.0.6");
    // Docker did not get the answer, and asks again.
    expect(choose(taken("10.7.0.6"), { gateway: true, ip: "10.7.0.6" })).toBe("10.7.0.6");
  });

  test("is the next free one after the last, and then from the beginning", () => {
    expect(choose(taken("10.7.0.1"))).toBe("10.7.0.2");
    expect(choose(taken("10.7.0.1", "10.7.0.3"), {}, "10.7.0.2")).toBe("10.7.0.4");
    expect(choose(taken("10.7.0.1"), {}, "10.7.0.6")).toBe("10.7.0.2");
    expect(() => choose(taken(...[1, 2, 3, 4, 5, 6].map((n) => `10.7.0.${n}`)))).toThrow("no IP addresses");
  });

  test("comes from the part that was asked for, and by name from the whole", () => {
    const part = make(wish("10.7.0.0/24", "10.7.0.252/30"));
    const next = (...held: readonly string[]) =>
      chooseAddress(part, taken(...held), { gateway: false }, undefined).text;
    expect(next()).toBe("10.7.0.252");
    expect(next("10.7.0.252", "10.7.0.253")).toBe("10.7.0.254");
    expect(() => next("10.7.0.252", "10.7.0.253", "10.7.0.254")).toThrow("10.7.0.252/30");
    expect(chooseAddress(part, taken(), { ip: ip("10.7.0.9"), gateway: false }, undefined).text).toBe(
      "10.7.0.9",
    );
  });

  test("of IPv6 is found among more than could be listed", () => {
    const six = make(wish("fd07::/64", undefined, 6));
    expect(chooseAddress(six, taken(), { gateway: false }, undefined).text).toBe("fd07::1");
    expect(chooseAddress(six, taken(), { gateway: false }, ip("fd07::ffff:ffff:ffff:fffe")).text).toBe(
      "fd07::ffff:ffff:ffff:ffff",
    );
  });

  test.each([
    ["that is taken", "10.7.0.2", "already reserved for another container; choose another one"],
    ["of the gateway", "10.7.0.1", "already reserved for the gateway"],
    ["of another network", "10.8.0.1", "is not in 10.7.0.0/29"],
    ["of the network itself", "10.7.0.0", "is the network or the broadcast address"],
    ["of everybody", "10.7.0.7", "is the network or the broadcast address"],
  ])("%s is refused", (_, asked, why) => {
    expect(() => choose(taken("10.7.0.1", "10.7.0.2"), { ip: asked })).toThrow(why);
  });
});
