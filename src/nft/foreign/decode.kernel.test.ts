/** Rules of nft and of iptables are read back from the kernel and printed; what nft prints otherwise is given beside it. */
import { expect } from "bun:test";
import { testWith } from "../../testing/needs.ts";
import { testNetns } from "../../testing/netns.ts";
import { netfilterSocketIn } from "../../testing/nftables.ts";
import { listRules } from "../list.ts";
import { printRule } from "../print.ts";

const rules: Readonly<Record<string, string | undefined>> = {
  "ct state established,related accept": undefined,
  "ct state != new drop": undefined,
  "ct state invalid drop": undefined,
  'iifname "eth0" oifname != "br0" drop': undefined,
  "meta mark 0x00000004 accept": undefined,
  "meta mark set 0x00000007": undefined,
  "ct mark set 0x00000001": undefined,
  "tcp dport 80 drop": "meta l4proto tcp th dport 80 drop",
  "udp sport 1000-2000 accept": "meta l4proto udp th sport >= 1000 th sport <= 2000 accept",
  "ip saddr != 10.0.0.1-10.0.0.9 drop": "ip saddr != 10.0.0.1-10.0.0.9 drop",
  "limit rate 10/second accept": undefined,
  "limit rate over 5/minute drop": undefined,
  'log prefix "seen " reject with tcp reset': 'meta l4proto tcp log prefix "seen " reject with tcp reset',
  "fib saddr . iif oif missing drop": undefined,
  notrack: undefined,
  "meta l4proto tcp dnat ip to 10.0.0.2:80": undefined,
  "meta l4proto tcp redirect to :8080": undefined,
  "masquerade random": undefined,
  "numgen random mod 2 0 drop": "numgen 0x00000000 drop",
};

testWith({ root: true, programs: ["ip", "nft"] })("prints rules of others as nft does", async () => {
  await using netns = await testNetns();
  using socket = netfilterSocketIn(netns);
  await netns.exec(["nft", "-f", "-"], {
    stdin:
      "table inet t { chain plain { }\n chain pre { type nat hook prerouting priority 0; }\n chain post { type nat hook postrouting priority 0; }\n }",
  });
  for (const [text, shown] of Object.entries(rules)) {
    const chain = text.includes("masquerade") ? "post" : /dnat|redirect/.test(text) ? "pre" : "plain";
    await netns.exec(["nft", "flush", "chain", "inet", "t", chain]);
    await netns.exec(["nft", "add", "rule", "inet", "t", chain, text]);
    const [rule] = listRules(socket, { family: "inet", table: "t" }, chain);
    expect(rule && printRule(rule)).toBe(shown ?? text);
  }
});
