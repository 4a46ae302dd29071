import { describe, expect, test } from "bun:test";
import { parseFlanneld } from "../providers/flannel/options.ts";
import { cidr, ip } from "../testing/address.ts";
import { keyPair } from "../testing/wireguard.ts";
import { hostLooker, type HostSource } from "./host.ts";

const call = parseFlanneld(["--iface=eth0"], {});
if (call.kind !== "run") throw new Error("no options");
const wish = call.options.external;
const whole = { v4: cidr("10.0.0.0/16") };

/** A host with eth0 and a bridge, whose addresses and routers are told here. */
function lan(addresses: readonly (readonly [number, string])[] = [[2, "192.0.2.1/24"]]) {
  const now = { addresses, direct: true, asked: 0 };
  const source = {
    read: () => ({
      links: [
        { index: 2, name: "eth0", altNames: [], mtuBytes: 1500, loopback: false },
        { index: 3, name: "cni0", altNames: [], mtuBytes: 1450, loopback: false },
      ],
      addresses: now.addresses.map(([index, text]) => ({ index, prefix: cidr(text), permanent: true })),
      routes: [],
    }),
    isDirect: () => {
      now.asked++;
      return now.direct;
    },
  };
  return { now, look: hostLooker(source as unknown as HostSource, wish) };
}

describe("hostLooker", () => {
  test("finds link, addresses and networks of a host, and the same again", () => {
    const { look } = lan([
      [2, "192.0.2.1/24"],
      [3, "10.0.1.1/24"],
    ]);
    const { facts, publics, locals, key } = look(whole);
    expect([facts.external, publics.v4?.text]).toEqual([{ name: "eth0", mtuBytes: 1500 }, "192.0.2.1"]);
    expect(locals.map(({ link, prefix }) => `${link} ${prefix.text}`)).toEqual([
      "eth0 192.0.2.0/24",
      "cni0 10.0.1.0/24",
    ]);
    expect(look(whole).key).toBe(key);
  });

  test("sees another address, and a bridge that came", () => {
    const { now, look } = lan();
    const first = look(whole).key;
    now.addresses = [[2, "192.0.2.7/24"]];
    const second = look(whole);
    expect(second.publics.v4?.text).toBe("192.0.2.7");
    now.addresses = [...now.addresses, [3, "10.0.1.1/24"]];
    expect(new Set([first, second.key, look(whole).key]).size).toBe(3);
  });

  test("keeps to the address before while it is there", () => {
    const { look } = lan([
      [2, "198.51.100.9/24"],
      [2, "192.0.2.1/24"],
    ]);
    expect(look(whole).publics.v4?.text).toBe("198.51.100.9");
    expect(look(whole, { before: { v4: ip("192.0.2.1") } }).publics.v4?.text).toBe("192.0.2.1");
  });

  test("asks the kernel once a look who is reached directly, and sees that an answer changed", () => {
    const { now, look } = lan();
    const { facts, key } = look(whole);
    expect([facts.isDirect(ip("192.0.2.2")), facts.isDirect(ip("192.0.2.2"))]).toEqual([true, true]);
    expect(now.asked).toBe(1);
    expect(look(whole).key).toBe(key);
    now.direct = false;
    const later = look(whole);
    expect(later.key).not.toBe(key);
    expect(later.facts.isDirect(ip("192.0.2.2"))).toBe(false);
  });

  test("sees another key", () => {
    const { look } = lan();
    const keys = [undefined, keyPair(1), keyPair(2), keyPair(1)].map((pair) => look(whole, { keys: pair }));
    expect(keys.map(({ facts }) => facts.keys?.publicKey)).toEqual([
      undefined,
      keyPair(1).publicKey,
      keyPair(2).publicKey,
      keyPair(1).publicKey,
    ]);
    expect(new Set(keys.map(({ key }) => key.split(" ")[5])).size).toBe(3);
    expect(Bun.inspect(keys, { depth: 9 })).not.toContain(keyPair(1).privateKey.reveal().toBase64());
  });

  test("announces what it is told instead of what it finds", () => {
    const { look } = lan();
    const { publics, facts } = look(whole, { told: { v4: ip("198.51.100.1") } });
    expect([publics.v4?.text, facts.local.v4?.text]).toEqual(["198.51.100.1", "192.0.2.1"]);
  });

  test("forgets the answers about nodes that have gone when there are very many", () => {
    const { now, look } = lan();
    const { facts, key } = look(whole);
    for (let i = 0; i < 32_769; i++) facts.isDirect(ip(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
    const after = look(whole);
    expect(after.key).not.toBe(key);
    after.facts.isDirect(ip("192.0.2.2"));
    now.asked = 0;
    expect(look(whole).key).toBe(after.key);
    expect(now.asked).toBe(1);
  });
});
