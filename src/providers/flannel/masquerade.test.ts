import { describe, expect, test } from "bun:test";
import { parseSave } from "../../firewall/iptables-save.ts";
import { printRule } from "../../nft/print.ts";
import { rule } from "../../nft/statement.ts";
import { cidr } from "../../testing/address.ts";
import { chainsOf, type FirewallWish, groupsOf, mendText } from "./masquerade.ts";

const wish: FirewallWish = {
  v4: { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") },
  v6: { network: cidr("fd00:10::/48"), subnet: cidr("fd00:10:0:3::/64") },
  masquerade: { fullyRandom: true },
  acceptForwarded: true,
};

/** What iptables-save prints on a host where flanneld has done its work, in flanneld's own words and order. */
const NAT4 = `*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -o eth0 -j MASQUERADE
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.3.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.3.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.3.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
`;
const FILTER4 = `*filter
:FORWARD DROP [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
`;
const EMPTY = `*nat
:POSTROUTING ACCEPT [0:0]
COMMIT
*filter
:FORWARD ACCEPT [0:0]
COMMIT
`;
const NETWORKS = [cidr("10.244.0.0/16"), cidr("fd00:10::/48")];
const mend = (saved: string, of: FirewallWish = wish, family: 4 | 6 = 4): readonly string[] =>
  mendText(parseSave(saved), chainsOf(of, family, NETWORKS))
    .split("\n")
    .filter((line) => line !== "");
/** The lines of a table that make a chain with what leads to it. */
const made = (saved: string): readonly string[] =>
  saved.split("\n").filter((line) => line.startsWith("-A") && line.includes("flanneld"));

describe("iptables", () => {
  test("is left alone where flanneld has made its rules", () => {
    expect(mend(NAT4 + FILTER4)).toEqual([]);
  });

  test("gets flanneld's rules in its words and order", () => {
    const [jump = "", ...rules] = made(NAT4);
    const [jumpForward = "", ...forward] = made(FILTER4);
    const words = (line: string): string => line.split(" ").toSorted().join(" ");
    const lines = mend(EMPTY);
    expect(lines.map(words)).toEqual(
      [
        "*nat",
        "-N FLANNEL-POSTRTG",
        ...rules,
        jump,
        "COMMIT",
        "*filter",
        "-N FLANNEL-FWD",
        ...forward,
        jumpForward,
        "COMMIT",
      ].map(words),
    );
    expect(lines[2]).toBe(
      '-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN',
    );
  });

  test("gets those of IPv6", () => {
    const lines = mend(EMPTY, wish, 6);
    expect(lines).toContain(
      '-A FLANNEL-POSTRTG -s fd00:10::/48 ! -d ff00::/8 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully',
    );
    expect(lines).toContain(
      '-A FLANNEL-FWD -d fd00:10::/48 -m comment --comment "flanneld forward" -j ACCEPT',
    );
  });

  test.each<[string, (saved: string) => string]>([
    ["a rule is gone", (s) => s.replace(/-A FLANNEL-POSTRTG -s 10.244.3.*\n/, "")],
    [
      "rules are in another order",
      (s) => s.replace(/(-A FLANNEL-POSTRTG -m mark.*\n)([^]*?)(COMMIT)/, "$2$1$3"),
    ],
    [
      "a rule of somebody else is among them",
      (s) =>
        s.replace("-A FLANNEL-POSTRTG -m mark", "-A FLANNEL-POSTRTG -j ACCEPT\n-A FLANNEL-POSTRTG -m mark"),
    ],
    ["they are those of another subnet", (s) => s.replaceAll("10.244.3.0/24", "10.244.4.0/24")],
    ["they are for ports in order", (s) => s.replaceAll(" --random-fully", "")],
    ["the chain is empty", (s) => s.replaceAll(/-A FLANNEL-POSTRTG.*\n/g, "")],
  ])("has the chain made anew, at once, when %s", (_what, change) => {
    const lines = mend(change(NAT4) + FILTER4);
    expect(lines[1]).toBe("-F FLANNEL-POSTRTG");
    expect(lines).toHaveLength(3 + 6);
    expect(lines.some((l) => l.includes("POSTROUTING"))).toBe(false);
  });

  test("gets back what leads to the chain, and nothing else", () => {
    const jump = /-A POSTROUTING -m comment.*\n/;
    expect(mend(NAT4.replace(jump, "") + FILTER4)).toEqual([
      "*nat",
      '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
      "COMMIT",
    ]);
    const twice = NAT4.replace(jump, "$&$&");
    expect(mend(twice + FILTER4).filter((l) => l.startsWith("-D POSTROUTING"))).toHaveLength(2);
    const elsewhere = NAT4.replace("-A POSTROUTING -m comment", "-A PREROUTING -m comment");
    expect(mend(elsewhere + FILTER4)[1]).toStartWith("-D PREROUTING");
  });

  test("loses what is not wanted, and only that", () => {
    const lines = mend(NAT4 + FILTER4, { ...wish, acceptForwarded: false });
    expect(lines).toEqual([
      "*filter",
      '-D FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
      "-F FLANNEL-FWD",
      "-X FLANNEL-FWD",
      "COMMIT",
    ]);
    expect(mend(EMPTY, { acceptForwarded: false })).toEqual([]);
    expect(mend(NAT4 + FILTER4, { acceptForwarded: true }).filter((l) => l.startsWith("-X"))).toHaveLength(2);
    const { v6: _six, ...four } = wish;
    expect(mend(EMPTY, four, 6)).toEqual([]);
  });
});

describe("two networks of one host in iptables", () => {
  const second: FirewallWish = {
    v4: { network: cidr("10.99.0.0/16"), subnet: cidr("10.99.3.0/24") },
    masquerade: { fullyRandom: true },
    acceptForwarded: true,
    fabric: "second",
  };
  const mendSecond = (saved: string, of: FirewallWish = second): readonly string[] =>
    mendText(parseSave(saved), chainsOf(of, 4, [cidr("10.99.0.0/16")])).split("\n");

  test("have chains of their own", () => {
    const lines = mendSecond(NAT4 + FILTER4);
    expect(lines.filter((l) => /^-[NFX]/.test(l))).toEqual([
      "-N FLANNEL-POSTRTG-second",
      "-N FLANNEL-FWD-second",
    ]);
    expect(lines).toContain('-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG-second');
    const long = mendSecond(EMPTY, { ...second, fabric: "n".repeat(80) }).filter((l) => l.startsWith("-N"));
    expect(long.map((l) => l.length - 3)).toEqual([24, 20]);
  });

  test("lose what is their own, and not what is the other's", () => {
    const nothing = { acceptForwarded: false };
    expect(mendText(parseSave(NAT4 + FILTER4), chainsOf(nothing, 4, [cidr("10.99.0.0/16")]))).toBe("");
    expect(mendSecond(NAT4 + FILTER4, { ...nothing, fabric: "second" })).toEqual([""]);
    const both = NAT4.replaceAll("FLANNEL-POSTRTG", "FLANNEL-POSTRTG-second").replaceAll("10.244.", "10.99.");
    expect(mend(both, nothing)).toEqual([]);
    expect(mendSecond(both, { ...nothing, fabric: "second" }).filter((l) => l.startsWith("-X"))).toEqual([
      "-X FLANNEL-POSTRTG-second",
    ]);
  });

  test("take over from a flanneld of the same network, under whatever name", () => {
    const lines = mendSecond((NAT4 + FILTER4).replaceAll("10.244.", "10.99."));
    expect(lines.filter((l) => l.startsWith("-X"))).toEqual(["-X FLANNEL-POSTRTG", "-X FLANNEL-FWD"]);
  });
});

describe("nftables", () => {
  const printed = (of: FirewallWish) =>
    groupsOf(of).flatMap(({ chains }) =>
      chains.map((c) => [c.name, ...c.rules.map((r) => printRule(rule("inet", r)))]),
    );

  test("has a chain for each family, with the same cases in the same order", () => {
    expect(printed(wish)).toEqual([
      [
        "flannel_10.244.0.0/16",
        "meta mark & 0x00004000 == 0x00004000 return",
        "ip saddr 10.244.3.0/24 ip daddr 10.244.0.0/16 return",
        "ip saddr 10.244.0.0/16 ip daddr 10.244.3.0/24 return",
        "ip saddr != 10.244.0.0/16 ip daddr 10.244.3.0/24 return",
        "ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random",
      ],
      [
        "flannel_fd00-10--/48",
        "meta mark & 0x00004000 == 0x00004000 return",
        "ip6 saddr fd00:10:0:3::/64 ip6 daddr fd00:10::/48 return",
        "ip6 saddr fd00:10::/48 ip6 daddr fd00:10:0:3::/64 return",
        "ip6 saddr != fd00:10::/48 ip6 daddr fd00:10:0:3::/64 return",
        "ip6 saddr fd00:10::/48 ip6 daddr != ff00::/8 masquerade fully-random",
        "ip6 saddr != fd00:10::/48 ip6 daddr fd00:10::/48 masquerade fully-random",
      ],
    ]);
  });

  test("leaves ports to the kernel if that is wanted, and has nothing where nothing is masqueraded", () => {
    expect(JSON.stringify(printed({ ...wish, masquerade: { fullyRandom: false } }))).not.toContain("random");
    const { masquerade: _none, ...rest } = wish;
    expect(groupsOf(rest)).toEqual([]);
  });
});
