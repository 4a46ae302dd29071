import { describe, expect, test } from "bun:test";
import { isNetError } from "../../errors.ts";
import { defaultRoute } from "../../net/ip.ts";
import type { Address } from "../../rtnl/address.ts";
import type { Link } from "../../rtnl/link.ts";
import type { Route } from "../../rtnl/route.ts";
import { cidr, ip } from "../../testing/address.ts";
import { chooseExternal, type HostNetwork } from "./external-interface.ts";
import { type ExternalWish, parseFlanneld } from "./options.ts";

const link = (index: number, name: string, more: Partial<Link> = {}): Link => ({
  index,
  name,
  altNames: [],
  mtuBytes: 1500,
  up: true,
  loopback: name === "lo",
  promiscuous: false,
  operState: "up",
  allMulticast: false,
  txQueueLength: 1000,
  ...more,
});
const address = (index: number, text: string, more: Partial<Address> = {}): Address => {
  const linkLocal = /^(?:fe80|169\.254)/.test(text);
  return {
    index,
    prefix: cidr(text),
    tentative: false,
    dadFailed: false,
    permanent: true,
    linkLocal,
    ...more,
  };
};
const viaDefault = (family: 4 | 6, oif: number, priority = 0): Route => ({
  dst: defaultRoute(family),
  oif,
  table: 254,
  scope: 0,
  type: 1,
  protocol: 3,
  ...(priority === 0 ? {} : { priority }),
});

/** Two interfaces with both families; the first has the default routes. */
const host: HostNetwork = {
  links: [link(1, "lo"), link(2, "eth0"), link(3, "eth1", { mtuBytes: 9000, altNames: ["enp3s0"] })],
  addresses: [
    address(1, "127.0.0.1/8"),
    address(1, "::1/128"),
    address(2, "192.0.2.10/24"),
    address(2, "2001:db8::10/64"),
    address(2, "fe80::10/64"),
    address(3, "10.0.0.10/24"),
    address(3, "fd00::10/64"),
  ],
  routes: [viaDefault(4, 2, 100), viaDefault(6, 2, 1024)],
};
const both = { v4: true, v6: true };
const four = { v4: true, v6: false };
const six = { v4: false, v6: true };

const wish = (...args: readonly string[]): ExternalWish => {
  const call = parseFlanneld(args, {});
  if (call.kind !== "run") throw new Error(call.kind);
  return call.options.external;
};
const chosen = (on: HostNetwork, args: readonly string[], families = both): unknown => {
  const { link: found, local, publics } = chooseExternal(on, wish(...args), families);
  const text = (p: typeof local): string => [p.v4?.text, p.v6?.text].filter((t) => t !== undefined).join(" ");
  return `${found.name} ${found.mtuBytes}: ${text(local)}, as ${text(publics)}`;
};

describe("the external interface", () => {
  test.each<[string, readonly string[], typeof both, string]>([
    [
      "is that of the default routes",
      [],
      both,
      "eth0 1500: 192.0.2.10 2001:db8::10, as 192.0.2.10 2001:db8::10",
    ],
    ["is that of the one default route", [], four, "eth0 1500: 192.0.2.10, as 192.0.2.10"],
    ["is that of the IPv6 default route", [], six, "eth0 1500: 2001:db8::10, as 2001:db8::10"],
    ["is the one that is named", ["--iface=eth1"], four, "eth1 9000: 10.0.0.10, as 10.0.0.10"],
    ["is named by another of its names", ["--iface=enp3s0"], four, "eth1 9000: 10.0.0.10, as 10.0.0.10"],
    [
      "is the first that is there",
      ["--iface=eth7", "--iface=10.0.0.10", "--iface=eth0"],
      four,
      "eth1 9000: 10.0.0.10, as 10.0.0.10",
    ],
    [
      "is named by its IPv6 address",
      ["--iface=fd00::10"],
      both,
      "eth1 9000: 10.0.0.10 fd00::10, as 10.0.0.10 fd00::10",
    ],
    [
      "has an address that fits",
      ["--iface-regex=^10\\."],
      both,
      "eth1 9000: 10.0.0.10 fd00::10, as 10.0.0.10 fd00::10",
    ],
    [
      "has a name that fits, if no address does",
      ["--iface-regex=1$"],
      four,
      "eth1 9000: 10.0.0.10, as 10.0.0.10",
    ],
    [
      "is asked for by name before expressions",
      ["--iface-regex=eth0", "--iface=eth1"],
      four,
      "eth1 9000: 10.0.0.10, as 10.0.0.10",
    ],
    [
      "has the public address",
      ["--public-ip=10.0.0.10"],
      both,
      "eth1 9000: 10.0.0.10 fd00::10, as 10.0.0.10 fd00::10",
    ],
    ["has the public IPv6 address", ["--public-ipv6=fd00::10"], six, "eth1 9000: fd00::10, as fd00::10"],
    [
      "may be behind a translation",
      ["--iface=eth1", "--public-ip=203.0.113.7"],
      four,
      "eth1 9000: 10.0.0.10, as 203.0.113.7",
    ],
    [
      "does not matter to a public address of a family that the network lacks",
      ["--public-ipv6=2001:db8::99"],
      four,
      "eth0 1500: 192.0.2.10, as 192.0.2.10",
    ],
  ])("%s", (_title, args, families, found) => {
    expect(chosen(host, args, families)).toBe(found);
  });

  test("is the one that the kernel would take", () => {
    const reach: Route = { ...viaDefault(4, 3), dst: defaultRoute(4), src: ip("10.0.0.10") };
    expect(chosen({ ...host, reach }, ["--iface-can-reach=10.9.9.9"], four)).toBe(
      "eth1 9000: 10.0.0.10, as 10.0.0.10",
    );
  });

  test("is that of the default route with the smallest metric", () => {
    const routes = [viaDefault(4, 2, 200), viaDefault(4, 3, 100), { ...viaDefault(4, 2), table: 7 }];
    expect(chosen({ ...host, routes }, [], four)).toBe("eth1 9000: 10.0.0.10, as 10.0.0.10");
  });

  test.each<[string, readonly Address[], string]>([
    [
      "a routed address before a link-local one",
      [address(2, "169.254.3.4/16"), address(2, "192.0.2.7/24")],
      "192.0.2.7",
    ],
    [
      "a lasting address before a leased one",
      [address(2, "192.0.2.7/24", { permanent: false }), address(2, "192.0.2.8/24")],
      "192.0.2.8",
    ],
    [
      "a first address before a second one",
      [address(2, "192.0.2.7/24", { secondary: true }), address(2, "192.0.2.8/24")],
      "192.0.2.8",
    ],
    [
      "an address before one that runs out",
      [address(2, "192.0.2.7/24", { deprecated: true }), address(2, "192.0.2.8/24", { permanent: false })],
      "192.0.2.8",
    ],
    ["a link-local address if there is no other", [address(2, "169.254.3.4/16")], "169.254.3.4"],
    ["the first of equals", [address(2, "192.0.2.9/24"), address(2, "192.0.2.8/24")], "192.0.2.9"],
  ])("takes %s", (_title, addresses, found) => {
    expect(chosen({ ...host, addresses }, [], four)).toBe(`eth0 1500: ${found}, as ${found}`);
  });

  describe("that was chosen before", () => {
    const before = { v4: ip("192.0.2.10"), v6: ip("2001:db8::10") };
    const eth0 = "eth0 1500: 192.0.2.10 2001:db8::10, as 192.0.2.10 2001:db8::10";

    test("keeps its address when a lasting one comes beside a leased one, or a newer one of IPv6", () => {
      const addresses = [
        address(2, "192.0.2.200/32"),
        address(2, "192.0.2.10/24", { permanent: false }),
        address(2, "2001:db8::99/64"),
        address(2, "2001:db8::10/64", { permanent: false }),
      ];
      const now = { ...host, addresses };
      for (const args of [[], ["--iface=eth0"], ["--iface-regex=^eth0$"], ["--iface-regex=2"]])
        expect(chosen({ ...now, before }, args)).toBe(eth0);
      expect(chosen(now, [])).toBe("eth0 1500: 192.0.2.200 2001:db8::99, as 192.0.2.200 2001:db8::99");
    });

    test("stays when a tunnel takes the default route, and goes when its own default route does", () => {
      const tunnel = [viaDefault(4, 3), viaDefault(6, 3)];
      expect(chosen({ ...host, routes: [...tunnel, ...host.routes], before }, [])).toBe(eth0);
      expect(chosen({ ...host, routes: tunnel, before }, [])).toStartWith("eth1");
    });

    test("goes when its address does, runs out, or never led to anybody", () => {
      const left = (more: readonly Address[], was = before) =>
        chosen({ ...host, addresses: [...more, address(2, "192.0.2.8/24")], before: was }, [], four);
      const eight = "eth0 1500: 192.0.2.8, as 192.0.2.8";
      expect(left([])).toBe(eight);
      expect(left([address(2, "192.0.2.10/24", { deprecated: true })])).toBe(eight);
      const local = { ...before, v4: ip("169.254.3.4") };
      expect(left([address(2, "169.254.3.4/16")], local)).toBe(eight);
    });
  });

  test("uses the announced address itself where the link has it", () => {
    const addresses = [...host.addresses, address(3, "10.0.0.11/24", { secondary: true })];
    expect(chosen({ ...host, addresses }, ["--iface=eth1", "--public-ip=10.0.0.11"], four)).toBe(
      "eth1 9000: 10.0.0.11, as 10.0.0.11",
    );
  });

  test.each<[string, HostNetwork, readonly string[], typeof both, string]>([
    [
      "nothing that was asked for is there",
      host,
      ["--iface=eth7", "--iface=10.9.9.9", "--iface-regex=^wlan"],
      four,
      "--iface: there is no eth7; --iface: no interface has 10.9.9.9; --iface-regex: ^wlan fits no address and no name. This host has eth0 (192.0.2.10, 2001:db8::10, fe80::10), eth1 (10.0.0.10, fd00::10)",
    ],
    [
      "no interface has the public address",
      host,
      ["--public-ip=203.0.113.7"],
      four,
      "--public-ip: no interface has 203.0.113.7: if it is translated on the way, name the interface with --iface",
    ],
    [
      "there is no default route",
      { ...host, routes: [] },
      [],
      four,
      "there is no default route of IPv4; name the interface",
    ],
    [
      "only one family has a default route",
      { ...host, routes: [viaDefault(4, 2)] },
      [],
      both,
      "there is no default route of IPv6",
    ],
    [
      "the families' default routes differ",
      { ...host, routes: [viaDefault(4, 2), viaDefault(6, 3)] },
      [],
      both,
      "the default route of IPv4 is over eth0, that of IPv6 over eth1",
    ],
    [
      "the interface lacks a family",
      { ...host, addresses: [address(2, "192.0.2.10/24")] },
      ["--iface=eth0"],
      both,
      "eth0 has no IPv6 address",
    ],
    [
      "nothing leads to the address",
      host,
      ["--iface-can-reach=10.9.9.9"],
      four,
      "--iface-can-reach: there is no route to 10.9.9.9",
    ],
    [
      "the host has nothing",
      { links: [], addresses: [], routes: [] },
      ["--iface=eth0"],
      four,
      "--iface: there is no eth0. This host has no interface",
    ],
  ])("is missed clearly when %s", (_title, on, args, families, why) => {
    try {
      chooseExternal(on, wish(...args), families);
      throw new Error("found");
    } catch (e) {
      if (!isNetError(e, "try-again")) throw e;
      expect(e.message).toStartWith(`no interface to the other hosts: ${why}`);
    }
  });
});
