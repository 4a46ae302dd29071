/**
 * `heddle trace` with rules that nobody chose: small rule sets are drawn from a vocabulary, each is traced and then met by a
 * real packet. An answer that is certain has to be true.
 */
import { expect, test } from "bun:test";
import type { Answer } from "../../src/cli/trace/answer.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { whyNot } from "../../src/testing/needs.ts";
import { isAll, seed } from "../../src/testing/seed.ts";
import { type Flow, traceSite } from "./trace-site.ts";

const heddle = heddleOfFile();
const needs = { root: true, programs: ["ip", "nft", "iptables", "nsenter", "unshare"] };

const ROUNDS = isAll ? 300 : 40;

/** A row of numbers that the same seed gives again (mulberry32). */
function numbers(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const matches: readonly string[] = [
  "tcp dport 80",
  "udp dport 80",
  "th dport { 79, 80, 100-200 }",
  "th dport != 80",
  "th sport 80",
  "th sport 32768-60999",
  "tcp flags & (syn | ack) == syn",
  "tcp flags ack",
  "meta l4proto { tcp, udp }",
  "meta l4proto udp",
  "ip saddr 10.60.0.0/24",
  "ip saddr != 10.60.0.0/25",
  "ip daddr 10.61.0.0-10.61.0.9",
  "ip daddr @mine",
  "ip saddr . th dport @pairs",
  "ip protocol tcp",
  "ip ttl 63",
  'iifname "one0"',
  'iifname != "two0"',
  'oifname "two0"',
  'iifname { "one0", "up0" }',
  "ct state new",
  "ct state established,related",
  "ct state != new",
  "ct direction reply",
  "ct original ip daddr 10.61.0.0/24",
  "ct original proto-dst 80",
  "ct status dnat",
  "ct mark 1",
  "meta mark 1",
  "meta mark & 3 != 0",
  "fib daddr type local",
  "fib saddr type unicast",
  "fib saddr . iif oif exists",
  "meta nfproto ipv4",
  "limit rate 1000/second",
  "meta length < 2000",
];
const verdicts: readonly string[] = [
  "accept",
  "drop",
  "drop",
  "reject",
  "jump side",
  "goto side",
  "return",
  "meta mark set 1",
  "meta mark set 2",
  "ct mark set 1",
  "counter",
  "th dport vmap { 80 : drop, 443 : accept }",
  "ip saddr vmap { 10.60.0.0/24 : jump side, 10.61.0.0/24 : accept }",
  "",
];

const incoming: readonly string[] = [
  "dnat ip to 10.61.0.3",
  "tcp dport 80 dnat ip to 10.61.0.3:81",
  "udp dport 80 dnat ip to 10.61.0.2:81",
  "udp dport 80 dnat ip to 10.61.0.77",
  "tcp dport 80 redirect to :82",
  "redirect",
  "ip daddr 10.61.0.0/30 accept",
  "th dport 80 drop",
  "dnat ip to ip daddr map { 10.61.0.2 : 10.61.0.3 }",
];
const outgoing: readonly string[] = [
  "masquerade",
  "masquerade random",
  'oifname "two0" snat ip to 10.61.0.9',
  "snat ip to 10.61.0.1",
  "tcp dport 81 drop",
  "accept",
];

/** Of iptables over nftables: what it has extensions for is not written as nft would. */
const forwarding: readonly string[] = [
  "-p tcp --dport 80",
  "-p udp --dport 79:81",
  "-p tcp -m multiport --dports 1,70:90",
  "-p udp -m multiport ! --sports 80,81",
  "-m conntrack --ctstate NEW",
  "-m conntrack --ctstate RELATED,ESTABLISHED",
  "-m conntrack ! --ctstate NEW",
  "-m conntrack --ctstate DNAT",
  "-m state --state NEW",
  "-m addrtype --dst-type UNICAST",
  "-m addrtype ! --src-type LOCAL",
  "-m mark --mark 0x1/0x3",
  "-m mark ! --mark 0x2",
  "-m comment --comment mine",
  "-m limit --limit 1000/s",
  "-s 10.60.0.0/24 -i one0",
  "-d 10.61.0.2 ! -i two0",
];
const targets: readonly string[] = [
  "ACCEPT",
  "DROP",
  "DROP",
  "REJECT",
  "RETURN",
  "MARK --set-xmark 0x1/0xff",
  "LOG",
];
const tables: readonly string[] = [
  "-t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.61.0.3:81",
  "-t nat -A PREROUTING -p udp -m addrtype --dst-type UNICAST -j DNAT --to-destination 10.61.0.3",
  "-t nat -A POSTROUTING -o two0 -j SNAT --to-source 10.61.0.9",
  "-t nat -A POSTROUTING -j MASQUERADE --random-fully",
  "-t mangle -A PREROUTING -m conntrack --ctstate NEW -j MARK --set-mark 1",
  "-t mangle -A FORWARD -j CONNMARK --save-mark",
  "-t raw -A PREROUTING -p udp -j NOTRACK",
];
const flushes: readonly string[] = ["-F FORWARD", ...["nat", "mangle", "raw"].map((t) => `-t ${t} -F`)];

/** Arguments of iptables, on half of the rounds. */
function iptablesRules(random: () => number): readonly string[] {
  const one = (list: readonly string[]): string => list[Math.floor(random() * list.length)] ?? "";
  if (random() < 0.5) return [];
  const rules = Array.from({ length: Math.floor(random() * 4) }, () => {
    const target = one(targets);
    // What rejects and what marks stands where it may.
    const chain = target.startsWith("MARK") ? "-t mangle -A FORWARD" : "-A FORWARD";
    return `${chain} ${random() < 0.8 ? one(forwarding) : ""} -j ${target}`;
  });
  return [...rules, ...(random() < 0.3 ? [one(tables)] : [])];
}

/** A rule set for `nft -f`; a rule that this kernel or nft does not take is left out by who loads it. */
function ruleSet(random: () => number): readonly string[] {
  const one = (list: readonly string[]): string => list[Math.floor(random() * list.length)] ?? "";
  const rule = (inside: boolean): string => {
    const tests = Array.from({ length: Math.floor(random() * 3) }, () => one(matches));
    let verdict = one(verdicts);
    if (inside && verdict.includes("side")) verdict = "drop";
    return [...tests, verdict].join(" ").trim();
  };
  const rules = (most: number, inside: boolean): readonly string[] =>
    Array.from({ length: Math.floor(random() * (most + 1)) }, () => rule(inside)).filter((r) => r !== "");
  const some = (list: readonly string[]): readonly string[] =>
    Array.from(
      { length: random() < 0.4 ? 1 : 0 },
      () => `${random() < 0.3 ? `${one(matches)} ` : ""}${one(list)}`,
    );
  const policy = random() < 0.15 ? "drop" : "accept";
  const places = [
    ["side", rules(3, true)],
    ["pre", rules(2, false)],
    ["through", rules(4, false)],
    ["post", rules(1, false)],
    ["incoming", some(incoming)],
    ["outgoing", some(outgoing)],
  ] as const;
  return [
    "add table inet mine",
    "delete table inet mine",
    "add table inet mine",
    "add set inet mine mine { type ipv4_addr; elements = { 10.61.0.2, 10.61.0.3 }; }",
    "add set inet mine pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.60.0.0/24 . 70-90 }; }",
    "add chain inet mine side",
    `add chain inet mine pre { type filter hook prerouting priority ${Math.floor(random() * 200) - 150}; }`,
    `add chain inet mine through { type filter hook forward priority ${Math.floor(random() * 20) - 10}; policy ${policy}; }`,
    "add chain inet mine post { type filter hook postrouting priority 50; }",
    `add chain inet mine incoming { type nat hook prerouting priority ${random() < 0.5 ? -101 : 200}; }`,
    "add chain inet mine outgoing { type nat hook postrouting priority 90; }",
    ...places.flatMap(([chain, list]) => list.map((text) => `add rule inet mine ${chain} ${text}`)),
  ];
}

const BASE = 11;

test.skipIf(whyNot(needs) !== undefined)(
  "what is certain is true, whatever the rules",
  async () => {
    await using site = await traceSite(heddle);
    const [a, b, c] = [await site.attach("one"), await site.attach("two"), await site.attach("two")];
    for (const port of [80, 81]) for (const at of [b, c]) await site.serve(at.netns.path, port);
    await site.serve(site.home, 82);
    const random = numbers(seed);
    const seen = new Map<Answer["outcome"], number>();
    for (let round = 0; round < ROUNDS; round++) {
      const commands = ruleSet(random);
      await site.nft(`${commands.slice(0, BASE).join("\n")}\n`);
      const loaded: string[] = [];
      for (const command of commands.slice(BASE)) {
        const { code } = await site.host.exec(["nft", command], { mustSucceed: false });
        if (code === 0) loaded.push(command);
      }
      for (const flush of flushes) await site.host.exec(["iptables", ...flush.split(" ")]);
      for (const line of iptablesRules(random)) {
        const argv = ["iptables", ...line.split(" ").filter((word) => word !== "")];
        if ((await site.host.exec(argv, { mustSucceed: false })).code === 0) loaded.push(argv.join(" "));
      }
      const flow: Flow = { from: a, to: b.address, port: 80, protocol: random() < 0.7 ? "udp" : "tcp" };
      const answer = await site.trace(flow);
      seen.set(answer.outcome, (seen.get(answer.outcome) ?? 0) + 1);
      if (answer.outcome === "cannot tell") continue;
      const fate = await site.send(flow);
      const told = `HEDDLE_SEED=${seed}, round ${round}, ${String(flow.protocol)}: ${answer.outcome}, ${answer.packet}: ${answer.by}\n${loaded.join("\n")}\n${commands.slice(6, BASE).join("\n")}`;
      expect(fate === "answered", `${fate} although ${told}`).toBe(
        answer.outcome === "passes" && answer.listening === true,
      );
    }
    // Rules that say nothing would prove nothing.
    expect(seen.get("passes") ?? 0).toBeGreaterThan(ROUNDS / 10);
    expect(seen.get("dropped") ?? 0).toBeGreaterThan(ROUNDS / 10);
  },
  600_000,
);
