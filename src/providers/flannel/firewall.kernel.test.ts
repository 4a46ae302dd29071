import { expect, test } from "bun:test";
import type { ForwardKeeper } from "../../firewall/forward-keeper.ts";
import type { LegacyChain } from "../../sys/legacy-tables.ts";
import { cidr } from "../../testing/address.ts";
import { runIn, type Variant } from "../../testing/iptables.ts";
import { describeWith, whyNot } from "../../testing/needs.ts";
import { type TestNetns, testNetns } from "../../testing/netns.ts";
import { listRuleset, netfilterSocketIn } from "../../testing/nftables.ts";
import { firewallKind, type HostFirewall, keepFirewall } from "./firewall.ts";
import type { FirewallWish } from "./masquerade.ts";

const wish: FirewallWish = {
  v4: { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") },
  v6: { network: cidr("fd00:10::/48"), subnet: cidr("fd00:10:0:3::/64") },
  masquerade: { fullyRandom: true },
  acceptForwarded: true,
};
const other = { network: cidr("10.99.0.0/16"), subnet: cidr("10.99.3.0/24") };

/** The firewall of a namespace. `calls`: the programs that were run; `sources`: what firewalld trusts. */
function firewallIn(netns: TestNetns, variant: Variant = "nft", keeper: ForwardKeeper = "nobody") {
  const calls: string[] = [];
  const sources = new Set<string>();
  const host: HostFirewall = {
    run: runIn(netns.name, variant, calls),
    openRules: () => netfilterSocketIn(netns),
    findForwardKeeper: async () => keeper,
    legacyLoaded: () => variant === "legacy",
    listLegacyChains: () => [],
    trust: async (networks) => networks.filter(({ text }) => !sources.has(text) && sources.add(text)),
  };
  return { host, calls, sources };
}
const rulesOf = async (netns: TestNetns, program = "iptables-nft-save"): Promise<readonly string[]> =>
  (await netns.exec([program])).stdout.split("\n").filter((l) => l.startsWith("-A"));

const withIptables = describeWith({ root: true, programs: ["ip", "nft", "iptables-nft-restore"] });

withIptables("the firewall in iptables", () => {
  test("is what flanneld makes, and is right at the second look, which runs nothing", async () => {
    await using netns = await testNetns();
    const { host, calls } = firewallIn(netns);
    const firewall = keepFirewall(wish, "iptables", { host });
    expect(await firewall.ensure()).toEqual(["rules of iptables", "rules of ip6tables"]);
    expect(await rulesOf(netns)).toEqual([
      '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
      '-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
      '-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
      '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
      '-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN',
      '-A FLANNEL-POSTRTG -s 10.244.3.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN',
      '-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.3.0/24 -m comment --comment "flanneld masq" -j RETURN',
      '-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.3.0/24 -m comment --comment "flanneld masq" -j RETURN',
      '-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully',
      '-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully',
    ]);
    expect(await rulesOf(netns, "ip6tables-nft-save")).toContain(
      '-A FLANNEL-POSTRTG -s fd00:10::/48 ! -d ff00::/8 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully',
    );
    expect(await firewall.ensure()).toEqual([]);
    calls.length = 0;
    expect(await firewall.ensure()).toEqual([]);
    expect(calls).toEqual([]);
  });

  test("takes over flanneld's own rules without a change", async () => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns);
    await keepFirewall(wish, "iptables", { host }).ensure();
    const before = await listRuleset(netns);
    expect(await keepFirewall(wish, "iptables", { host }).ensure()).toEqual([]);
    expect(await listRuleset(netns)).toBe(before);
  });

  test.each([
    ["a rule", ["iptables-nft", "-t", "nat", "-D", "FLANNEL-POSTRTG", "3"]],
    ["the jump", ["iptables-nft", "-t", "nat", "-D", "POSTROUTING", "1"]],
    ["the order", ["iptables-nft", "-t", "nat", "-I", "FLANNEL-POSTRTG", "1", "-j", "ACCEPT"]],
    ["the chain's rules", ["iptables-nft", "-F", "FLANNEL-FWD"]],
    ["everything", ["nft", "flush", "ruleset"]],
  ])("is mended when somebody takes away %s, and other rules stay", async (_what, argv) => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns);
    const firewall = keepFirewall(wish, "iptables", { host });
    await firewall.ensure();
    await firewall.ensure();
    const wanted = await rulesOf(netns);
    await netns.exec(argv);
    if (argv[0] !== "nft") await netns.exec(["iptables-nft", "-A", "INPUT", "-j", "ACCEPT"]);
    expect(await firewall.ensure()).not.toEqual([]);
    const now = await rulesOf(netns);
    expect(now.filter((l) => l !== "-A INPUT -j ACCEPT").toSorted()).toEqual(wanted.toSorted());
    expect(now.filter((l) => l.startsWith("-A FLANNEL-POSTRTG"))).toEqual(
      wanted.filter((l) => l.startsWith("-A FLANNEL-POSTRTG")),
    );
    expect(await firewall.ensure()).toEqual([]);
  });

  test("has the rules of the subnet that the host has now, and nothing once it is removed", async () => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns);
    await keepFirewall(wish, "iptables", { host }).ensure();
    const moved = keepFirewall({ ...wish, v4: other }, "iptables", { host, before: wish });
    await moved.ensure();
    const text = (await rulesOf(netns)).join("\n");
    expect(text).toContain("10.99.3.0/24");
    expect(text).not.toContain("10.244.");
    await moved.remove();
    expect(await rulesOf(netns)).toEqual([]);
    expect(await rulesOf(netns, "ip6tables-nft-save")).toEqual([]);
    expect(await listRuleset(netns)).not.toContain("FLANNEL");
  });
});

withIptables.each(["iptables", "nftables"] as const)("two fabrics of one host in %s", (kind) => {
  test("have their rules beside one another, and one that ends leaves those of the other", async () => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns);
    const one = keepFirewall(wish, kind, { host });
    const two = keepFirewall(
      { v4: other, masquerade: { fullyRandom: true }, acceptForwarded: true, fabric: "two" },
      kind,
      { host },
    );
    const bare = keepFirewall({ v4: other, acceptForwarded: false, fabric: "two" }, kind, { host });
    await one.ensure();
    const alone = (await listRuleset(netns)).split("\n").toSorted();
    await two.ensure();
    for (const each of [one, two, one, two]) expect(await each.ensure()).toEqual([]);
    await two.remove();
    expect((await listRuleset(netns)).split("\n").toSorted()).toEqual(alone);
    expect(await bare.ensure()).toEqual([]);
    await two.ensure();
    await one.remove();
    expect(await two.ensure()).toEqual([]);
  });
});

const legacyWorks =
  whyNot({ root: true, programs: ["iptables-legacy-save"] }) === undefined &&
  Bun.spawnSync(["iptables-legacy", "-t", "nat", "-S"], { stdout: "ignore", stderr: "ignore" }).exitCode ===
    0;
describeWith({
  root: true,
  programs: ["ip", "iptables-legacy-restore"],
  feature: legacyWorks ? true : "needs ip_tables in the kernel",
})("the firewall in the older iptables", () => {
  test("is made, mended and removed, though the kernel does not tell of changes there", async () => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns, "legacy");
    const firewall = keepFirewall(wish, "iptables", { host });
    await firewall.ensure();
    expect(await firewall.ensure()).toEqual([]);
    const wanted = await rulesOf(netns, "iptables-legacy-save");
    expect(wanted).toHaveLength(7 + 3);
    await netns.exec(["iptables-legacy", "-t", "nat", "-F", "FLANNEL-POSTRTG"]);
    expect(await firewall.ensure()).toEqual(["rules of iptables"]);
    expect(await rulesOf(netns, "iptables-legacy-save")).toEqual(wanted);
    await firewall.remove();
    expect(await rulesOf(netns, "iptables-legacy-save")).toEqual([]);
  });
});

withIptables("the firewall in nftables", () => {
  const flannelds = `table ip flannel-ipv4 {
    chain postrtg {
      type nat hook postrouting priority srcnat; policy accept;
      ip saddr 10.244.0.0/16 masquerade
    }
  }
`;

  test("is a chain for each family in Heddle's table, and no program runs where nobody drops", async () => {
    await using netns = await testNetns();
    await using copy = await testNetns();
    const { host, calls } = firewallIn(netns);
    const firewall = keepFirewall(wish, "nftables", { host });
    expect(await firewall.ensure()).toEqual([
      "nftables chain flannel_10.244.0.0/16",
      "nftables chain flannel_fd00-10--/48",
    ]);
    expect(await firewall.ensure()).toEqual([]);
    expect(calls).toEqual([]);
    const text = await listRuleset(netns);
    for (const line of [
      'comment "heddle layout 1"',
      "type nat hook postrouting priority srcnat + 6; policy accept;",
      "meta mark & 0x00004000 == 0x00004000 return",
      "ip saddr != 10.244.0.0/16 ip daddr 10.244.3.0/24 return",
      "ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
      "ip6 saddr != fd00:10::/48 ip6 daddr fd00:10::/48 masquerade fully-random",
    ])
      expect(text).toContain(line);
    await copy.exec(["nft", "-f", "-"], { stdin: text });
    expect(await listRuleset(copy)).toBe(text);
  });

  test("accepts in iptables where FORWARD drops, and masquerades there no longer", async () => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns, "nft", "iptables");
    await keepFirewall(wish, "iptables", { host }).ensure();
    const mended = await keepFirewall(wish, "nftables", { host }).ensure();
    expect(mended).toContain("rules of iptables");
    expect(await rulesOf(netns)).toEqual([
      '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
      '-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
      '-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
    ]);
  });

  test.each(["nftables", "iptables"] as const)(
    "in %s has firewalld trust the networks where that drops",
    async (kind) => {
      await using netns = await testNetns();
      const { host, sources } = firewallIn(netns, "nft", "firewalld");
      const firewall = keepFirewall(wish, kind, { host });
      expect(await firewall.ensure()).toContain("source 10.244.0.0/16 of firewalld's zone trusted");
      expect(await firewall.ensure()).toEqual([]);
      expect([...sources]).toEqual(["10.244.0.0/16", "fd00:10::/48"]);
    },
  );

  test.each([
    ["a rule is flushed", "flush chain inet heddle flannel_10.244.0.0/16"],
    ["a rule is added", "insert rule inet heddle flannel_10.244.0.0/16 accept"],
    ["the chain is gone", "delete chain inet heddle flannel_fd00-10--/48"],
    ["the table is gone", "delete table inet heddle"],
    ["everything is gone", "flush ruleset"],
  ])("is mended when %s", async (_what, command) => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns);
    const firewall = keepFirewall(wish, "nftables", { host });
    await firewall.ensure();
    const wanted = await listRuleset(netns);
    await firewall.ensure();
    await netns.exec(["nft", command]);
    expect(await firewall.ensure()).not.toEqual([]);
    const lines = (text: string): readonly string[] => text.split("\n").toSorted();
    expect(lines(await listRuleset(netns))).toEqual(lines(wanted));
    expect(await firewall.ensure()).toEqual([]);
  });

  test("leaves the table of a flanneld of another network", async () => {
    await using netns = await testNetns();
    await netns.exec(["nft", "-f", "-"], { stdin: flannelds });
    const { host } = firewallIn(netns);
    const firewall = keepFirewall(
      { v4: other, masquerade: { fullyRandom: true }, acceptForwarded: true },
      "nftables",
      { host },
    );
    expect(await firewall.ensure()).toEqual(["nftables chain flannel_10.99.0.0/16"]);
    await firewall.remove();
    expect(await listRuleset(netns)).toContain("flannel-ipv4");
  });

  test("takes away flanneld's tables and the chain of a network that the host has left", async () => {
    await using netns = await testNetns();
    await netns.exec(["nft", "-f", "-"], { stdin: flannelds });
    const { host } = firewallIn(netns);
    await keepFirewall(wish, "nftables", { host }).ensure();
    expect(await listRuleset(netns)).not.toContain("flannel-ipv4");
    const moved = keepFirewall({ ...wish, v4: other }, "nftables", { host, before: wish });
    await moved.ensure();
    const text = await listRuleset(netns);
    expect(text).toContain("flannel_10.99.0.0/16");
    expect(text).not.toContain("flannel_10.244.0.0/16");
    await moved.remove();
    expect(await listRuleset(netns)).not.toContain("flannel_");
  });

  test("leaves nothing behind when the configuration goes to iptables", async () => {
    await using netns = await testNetns();
    const { host } = firewallIn(netns);
    await keepFirewall(wish, "nftables", { host }).ensure();
    const mended = await keepFirewall(wish, "iptables", { host }).ensure();
    expect(mended).toContain("nftables chain flannel_10.244.0.0/16, which was stale");
    expect(await listRuleset(netns)).not.toContain("flannel_");
  });
});

withIptables("the firewall of a host whose programs of iptables are elsewhere", () => {
  /** As in an image without them; `loaded` is a table of the older kind. */
  function bareIn(netns: TestNetns, loaded?: LegacyChain) {
    const { host } = firewallIn(netns);
    return {
      ...host,
      run: () => undefined,
      legacyLoaded: () => loaded !== undefined,
      listLegacyChains: (family: number) => (loaded === undefined || family === 6 ? [] : [loaded]),
    };
  }
  const DROPPING =
    "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
  /** What a sentence tells to run. */
  const commandsIn = (text: string, program: string): readonly string[] =>
    text.match(new RegExp(`${program} [^;]+`, "g")) ?? [];

  test("says which chain drops what it forwards, and nothing more when that was done", async () => {
    await using netns = await testNetns();
    const firewall = keepFirewall(wish, "nftables", { host: bareIn(netns) });
    await firewall.ensure();
    expect(firewall.hindrances()).toEqual([]);
    await netns.exec(["nft", DROPPING]);
    await firewall.ensure();
    const [told = "", ...more] = firewall.hindrances();
    expect(more).toEqual([]);
    expect(told).toStartWith(
      "chain FORWARD of table ip filter drops by its policy what no rule accepts, and none names 10.244.0.0/16: " +
        "allow it on the host: iptables -I FORWARD -s 10.244.0.0/16 -j ACCEPT; ",
    );
    await firewall.ensure();
    expect(firewall.hindrances()).toEqual([told]);
    for (const command of commandsIn(told, "iptables -I"))
      await netns.exec([command.replace("iptables", "iptables-nft")].flatMap((text) => text.split(" ")));
    await firewall.ensure();
    expect(firewall.hindrances()).toEqual([]);
  });

  test("says so of a chain that is not of iptables, for each family that it drops", async () => {
    await using netns = await testNetns();
    await netns.exec(["nft", "add table inet site"]);
    await netns.exec([
      "nft",
      "add chain inet site routed { type filter hook forward priority 0; policy drop; }",
    ]);
    const firewall = keepFirewall(wish, "nftables", { host: bareIn(netns) });
    await firewall.ensure();
    const told = firewall.hindrances();
    expect(told).toHaveLength(2);
    for (const command of told.flatMap((text) => commandsIn(text, "nft")))
      await netns.exec(["nft", command.slice(4)]);
    await firewall.ensure();
    expect(firewall.hindrances()).toEqual([]);
  });

  test("says so of the older iptables, of which only the policy is known", async () => {
    await using netns = await testNetns();
    const forward = { table: "filter", hook: "forward", hasRules: false } as const;
    const drops = keepFirewall(wish, "nftables", { host: bareIn(netns, { ...forward, policy: "drop" }) });
    await drops.ensure();
    expect(drops.hindrances()).toEqual([
      expect.stringMatching(/^chain FORWARD of the older iptables may drop .* 10\.244\.0\.0\/16: allow it/),
    ]);
    const passes = keepFirewall(wish, "nftables", { host: bareIn(netns, { ...forward, policy: "accept" }) });
    await passes.ensure();
    expect(passes.hindrances()).toEqual([]);
  });

  test("says how flanneld's chains go, but for the one that lets through what would be dropped", async () => {
    await using netns = await testNetns();
    await keepFirewall(wish, "iptables", { host: firewallIn(netns).host }).ensure();
    const v4 = { v4: wish.v4, masquerade: wish.masquerade, acceptForwarded: true } as FirewallWish;
    const firewall = keepFirewall(v4, "nftables", { host: bareIn(netns), before: wish });
    await firewall.ensure();
    const of = (): readonly string[] => firewall.hindrances().map((text) => text.split(" ")[1] ?? "");
    expect(of().toSorted()).toEqual(["FLANNEL-FWD", "FLANNEL-FWD", "FLANNEL-POSTRTG", "FLANNEL-POSTRTG"]);
    await netns.exec(["iptables-nft", "-P", "FORWARD", "DROP"]);
    await firewall.ensure();
    expect(of().toSorted()).toEqual(["FLANNEL-FWD", "FLANNEL-POSTRTG", "FLANNEL-POSTRTG"]);
    for (const text of firewall.hindrances())
      for (const command of commandsIn(text, "ip6?tables -t"))
        await netns.exec(["sh", "-c", command.replace("tables", "tables-nft")]);
    await firewall.ensure();
    expect(firewall.hindrances()).toEqual([]);
    expect(await listRuleset(netns)).toContain("FLANNEL-FWD");
  });
});

test.each([
  [false, [4, 6], "iptables"],
  [true, [4, 6], "nftables"],
  [false, [4], "nftables"],
  [false, [], "nftables"],
] as const)("asked for nftables: %p, programs for %j: %s", (asked, programs, kind) => {
  const has = (family: number): boolean => programs.some((f) => f === family);
  expect(firewallKind(asked, wish, has)).toBe(kind);
});
