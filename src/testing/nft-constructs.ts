/**
 * Every kind of rule that the compiler of `nft/statement.ts` can make, beside the text that a person types for it. Used
 * against the captures of `nft/golden` and against the kernel.
 */
import type { NftFamily } from "../nft/attrs.ts";
import type { SetSpec } from "../nft/model.ts";
import type { Statement } from "../nft/statement.ts";
import { cidr } from "./address.ts";

export interface Construct {
  readonly family: NftFamily;
  readonly text: string;
  readonly statements: readonly Statement[];
}

const drop: Statement = { verdict: "drop" };
const port = ["meta l4proto", "th dport"] as const;

const inet = (text: string, ...statements: readonly Statement[]): Construct => ({
  family: "inet",
  text,
  statements,
});

/** Sets that the rules name, with the text of their type. */
export const constructSets: readonly { readonly set: SetSpec; readonly type: string }[] = [
  { set: { name: "addresses4", key: ["ipv4_addr"] }, type: "ipv4_addr" },
  { set: { name: "addresses6", key: ["ipv6_addr"] }, type: "ipv6_addr" },
  { set: { name: "links", key: ["ifname"] }, type: "ifname" },
  { set: { name: "pairs", key: ["ifname", "ether_addr"] }, type: "ifname . ether_addr" },
  { set: { name: "verdicts4", key: ["ipv4_addr"], data: "verdict" }, type: "ipv4_addr : verdict" },
  { set: { name: "verdicts6", key: ["ipv6_addr"], data: "verdict" }, type: "ipv6_addr : verdict" },
  { set: { name: "owners", key: ["ether_addr"], data: ["ifname"] }, type: "ether_addr : ifname" },
  { set: { name: "sources", key: ["ipv4_addr"], data: ["ipv4_addr"] }, type: "ipv4_addr : ipv4_addr" },
  {
    set: {
      name: "ports4",
      key: ["inet_proto", "inet_service"],
      data: ["ipv4_addr", "inet_service"],
    },
    type: "inet_proto . inet_service : ipv4_addr . inet_service",
  },
  {
    set: {
      name: "hostip_ports6",
      key: ["ipv6_addr", "inet_proto", "inet_service"],
      data: ["ipv6_addr", "inet_service"],
    },
    type: "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
  },
  {
    set: { name: "translated4", key: ["ipv4_addr", "inet_proto", "inet_service"], data: "verdict" },
    type: "ipv4_addr . inet_proto . inet_service : verdict",
  },
];

export const constructs: readonly Construct[] = [
  inet("accept", { verdict: "accept" }),
  inet("drop", drop),
  inet("continue", { verdict: "continue" }),
  inet("return", { verdict: "return" }),
  inet("jump other", { verdict: { jump: "other" } }),
  inet("goto other", { verdict: { goto: "other" } }),
  inet("counter packets 0 bytes 0", { do: "counter" }),
  inet("masquerade", { do: "masquerade" }),
  inet("ip saddr 10.0.0.1 drop", { prefix: "ip saddr", op: "==", in: cidr("10.0.0.1/32") }, drop),
  inet("ip daddr != 10.244.10.0/24 drop", { prefix: "ip daddr", op: "!=", in: cidr("10.244.10.0/24") }, drop),
  inet("ip daddr 224.0.0.0/4 drop", { prefix: "ip daddr", op: "==", in: cidr("224.0.0.0/4") }, drop),
  inet("ip saddr 10.1.2.0/25 drop", { prefix: "ip saddr", op: "==", in: cidr("10.1.2.3/25") }, drop),
  inet("ip6 saddr fd00::1 drop", { prefix: "ip6 saddr", op: "==", in: cidr("fd00::1/128") }, drop),
  inet("ip6 daddr ff00::/8 drop", { prefix: "ip6 daddr", op: "==", in: cidr("ff00::/8") }, drop),
  inet("ip6 daddr != fd00:10::/61 drop", { prefix: "ip6 daddr", op: "!=", in: cidr("fd00:10::1/61") }, drop),
  inet(
    "ip saddr 10.0.0.0/8 ip daddr 10.1.0.0/16 drop",
    { prefix: "ip saddr", op: "==", in: cidr("10.0.0.0/8") },
    { prefix: "ip daddr", op: "==", in: cidr("10.1.0.0/16") },
    drop,
  ),
  {
    family: "ip",
    text: "ip saddr 10.0.0.0/8 drop",
    statements: [{ prefix: "ip saddr", op: "==", in: cidr("10.0.0.0/8") }, drop],
  },
  inet('iifname "lo" drop', { ifname: "iifname", op: "==", is: "lo" }, drop),
  inet('oifname != "fifteen-letters" drop', { ifname: "oifname", op: "!=", is: "fifteen-letters" }, drop),
  inet(
    'iifname != "lo" ip daddr 127.0.0.0/8 counter packets 0 bytes 0 drop',
    { ifname: "iifname", op: "!=", is: "lo" },
    { prefix: "ip daddr", op: "==", in: cidr("127.0.0.0/8") },
    { do: "counter" },
    drop,
  ),
  inet("meta nfproto ipv4 drop", { nfproto: "ip" }, drop),
  inet("meta nfproto ipv6 drop", { nfproto: "ip6" }, drop),
  inet(
    "iifname @links ip daddr vmap @verdicts4",
    { member: ["iifname"], of: "links" },
    { vmap: ["ip daddr"], map: "verdicts4" },
  ),
  inet("ct status dnat drop", { ctStatus: "dnat" }, drop),
  inet("fib daddr type local jump other", { fibType: "local" }, { verdict: { jump: "other" } }),
  inet("ip saddr @addresses4 drop", { member: ["ip saddr"], of: "addresses4" }, drop),
  inet("ip6 daddr != @addresses6 drop", { member: ["ip6 daddr"], of: "addresses6", not: true }, drop),
  inet("oifname @links drop", { member: ["oifname"], of: "links" }, drop),
  {
    family: "bridge",
    text: "iifname @links iifname . ether saddr != @pairs drop",
    statements: [
      { member: ["iifname"], of: "links" },
      { member: ["iifname", "ether saddr"], of: "pairs", not: true },
      drop,
    ],
  },
  inet("ip saddr vmap @verdicts4", { vmap: ["ip saddr"], map: "verdicts4" }),
  inet("ip6 saddr vmap @verdicts6", { vmap: ["ip6 saddr"], map: "verdicts6" }),
  inet(
    "ct status dnat ip daddr . meta l4proto . th dport vmap @translated4",
    { ctStatus: "dnat" },
    { vmap: ["ip daddr", "meta l4proto", "th dport"], map: "translated4" },
  ),
  inet("dnat ip to meta l4proto . th dport map @ports4", {
    nat: "dnat",
    family: "ip",
    by: port,
    map: "ports4",
    port: true,
  }),
  inet("dnat ip6 to ip6 daddr . meta l4proto . th dport map @hostip_ports6", {
    nat: "dnat",
    family: "ip6",
    by: ["ip6 daddr", ...port],
    map: "hostip_ports6",
    port: true,
  }),
  inet("snat ip to ip saddr map @sources", { nat: "snat", family: "ip", by: ["ip saddr"], map: "sources" }),
];

/** Where a rule can stand: translations each need their own hook. */
export function chainOf(text: string): {
  name: string;
  type: "nat" | "filter";
  hook: "postrouting" | "prerouting";
} {
  if (/masquerade|snat/.test(text)) return { name: "post", type: "nat", hook: "postrouting" };
  if (/dnat .*to/.test(text)) return { name: "pre", type: "nat", hook: "prerouting" };
  return { name: "plain", type: "filter", hook: "prerouting" };
}
