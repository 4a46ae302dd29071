import { describe, expect, test } from "bun:test";
import { mapping, markOf, masquerade, macCheck } from "../testing/nftables.ts";
import type { FirewallRule } from "./model.ts";
import { missingFeature } from "./nftables-groups.ts";
import { plan, showData, showPort } from "./nftables-layout.ts";

/** What rules become, without a kernel. */
const planned = (...rules: readonly FirewallRule[]) => {
  const wanted = plan(rules, markOf(1));
  return {
    groups: wanted.groups.map((g) => g.name),
    chains: wanted.chains.map((c) => c.name),
    elements: wanted.elements.map(
      (p) => `${p.set.name} ${showData(p.element.key)} : ${showData(p.element.data)}`,
    ),
  };
};
const SUBNET = "10.99.0.7/24";

describe("plan", () => {
  test("makes one element and the subnet's chain of a masquerade", () => {
    expect(planned(masquerade("10.99.0.7/24"))).toEqual({
      groups: ["masquerade"],
      chains: ["masq_10.99.0.0/24"],
      elements: ["masquerade4 10.99.0.7 : goto masq_10.99.0.0/24"],
    });
  });

  test("writes no colon into the name of a chain", () => {
    expect(planned(masquerade("fd00:99::7/64")).chains).toEqual(["masq_fd00-99--/64"]);
  });

  test("makes an entry for the port and one for the way back of a mapping", () => {
    expect(planned(mapping("9090/tcp", "10.99.0.7:80", SUBNET))).toEqual({
      groups: ["portmap"],
      chains: ["hairpin_10.99.0.0/24"],
      elements: [
        "ports4 6 . 9090 : 10.99.0.7 . 80",
        "hairpin4 10.99.0.7 . 6 . 80 : goto hairpin_10.99.0.0/24",
      ],
    });
  });

  test("remembers the address of a mapping that has one, and takes 0.0.0.0 and :: for all", () => {
    expect(planned(mapping("127.0.0.1:53/udp", "10.99.0.7:53", SUBNET, "none")).elements).toEqual([
      "hostip_ports4 127.0.0.1 . 17 . 53 : 10.99.0.7 . 53",
      "host_addresses4 127.0.0.1 : present",
    ]);
    const all = ["ports4 132 . 53 : 10.99.0.7 . 53"];
    expect(planned(mapping("0.0.0.0:53/sctp", "10.99.0.7:53", SUBNET, "none")).elements).toEqual(all);
    expect(planned(mapping("[::]:53/tcp", "[fd00::7]:53", "fd00::/64", "none")).elements).toEqual([
      "ports6 6 . 53 : fd00::7 . 53",
    ]);
  });

  test("sends everything through one chain when all senders are hidden", () => {
    expect(planned(mapping("53/udp", "10.99.0.7:53", SUBNET, "all")).chains).toEqual(["hairpin_all"]);
  });

  test("wants once what is asked for twice", () => {
    const twice = planned(mapping("1/tcp", "10.99.0.7:80", SUBNET), mapping("2/tcp", "10.99.0.7:80", SUBNET));
    expect(twice.elements).toHaveLength(3);
    expect(planned(masquerade(SUBNET), masquerade(SUBNET)).elements).toHaveLength(1);
  });

  test("binds a port of the bridge to its MAC address", () => {
    expect(planned(macCheck("veth0", "02:00:00:00:00:01")).elements).toEqual([
      "checked_ports veth0 : present",
      "allowed_macs veth0 . 02:00:00:00:00:01 : present",
    ]);
  });

  test("refuses one port that leads to two places", () => {
    const contradiction = [
      mapping("1/tcp", "10.99.0.7:80", SUBNET),
      mapping("1/tcp", "10.99.0.8:80", SUBNET),
    ];
    expect(() => planned(...contradiction)).toThrow("host port 0.0.0.0:1/tcp is mapped twice");
  });
});

test.each([
  ["127.0.0.1:9090/tcp", "10.0.0.2:80", "127.0.0.1:9090/tcp"],
  ["9090/udp", "10.0.0.2:80", "0.0.0.0:9090/udp"],
  ["9090/tcp", "[fd00::2]:80", "[::]:9090/tcp"],
  ["[2001:db8::1]:9090/tcp", "[fd00::2]:80", "[2001:db8::1]:9090/tcp"],
])("host port %s to %s is shown as %s", (host, target, shown) => {
  expect(showPort(mapping(host, target, target.startsWith("[") ? "fd00::/64" : "10.0.0.0/24"))).toBe(shown);
});

describe("a refusal", () => {
  test.each([
    ["NFT_MSG_NEWRULE inet heddle hostports", "ENOENT", "an nftables rule"],
    ["NFT_MSG_NEWCHAIN inet heddle postrouting", "EOPNOTSUPP", "an nftables chain"],
    ["NFT_MSG_NEWSETELEM inet heddle ports4", "ENOENT", undefined],
    ["NFT_MSG_NEWCHAIN inet heddle postrouting", "EEXIST", undefined],
    ["NFT_MSG_DELCHAIN inet heddle masq_10.0.0.0/8", "ENOENT", undefined],
  ])("%s: %s tells of a missing feature or not", (request, errno, feature) => {
    const found = missingFeature({ request, errno })?.feature;
    if (feature === undefined) expect(found).toBeUndefined();
    else expect(found).toStartWith(feature);
  });
});
