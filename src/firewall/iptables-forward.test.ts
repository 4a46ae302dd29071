import { describe, expect, test } from "bun:test";
import { ip } from "../testing/address.ts";
import {
  applyForwardText,
  forwardRemovalText,
  forwardRulesOf,
  missingForward,
  referenceForwardText,
  undoForwardText,
} from "./iptables-forward.ts";
import { savedDrops } from "./iptables-drops.ts";
import { parseSave, type SavedTable } from "./iptables-save.ts";
import type { FirewallRule, FirewallState } from "./model.ts";

/** Table `filter` of the iptables backend without a kernel: a small iptables-restore applies the text to a table. */
const ONE = "heddle-firewall-0123456789ab-0000000000000001";
const TWO = "heddle-firewall-0123456789ab-0000000000000002";

const accept = (address: string): FirewallRule => ({ kind: "accept-forward", address: ip(address) });
const mapped = (address: string): FirewallRule => ({ kind: "accept-mapped", address: ip(address) });
const policy = (address: string, bridge: string, isolated = false): FirewallRule => ({
  kind: "ingress-policy",
  bridge,
  address: ip(address),
  isolated,
});
const state = (...rules: readonly FirewallRule[]): FirewallState => ({
  backend: "iptables",
  rules,
  network: "n",
  containerId: "c",
});
const rulesOf = (s: FirewallState) => {
  const rules = forwardRulesOf(s, 4);
  if (rules === undefined) throw new TypeError("no rules of IPv4");
  return rules;
};

const EMPTY = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
const tableOf = (text: string): SavedTable => parseSave(text).get("filter") ?? new Map();

/** Does what iptables-restore would do with these lines, and prints the table again. */
function restored(before: string, text: string): string {
  const chains = new Map<string, string[]>();
  const builtin = new Set(["INPUT", "FORWARD", "OUTPUT"]);
  for (const [name, rules] of tableOf(before))
    chains.set(
      name,
      rules.map((r) => r.text),
    );
  for (const line of text.split("\n")) {
    const [, verb = "", chain = "", rule = ""] = /^(-[NAIDFX]) (\S+) ?(.*)$/.exec(line) ?? [];
    const rules = chains.get(chain);
    if (verb === "-N" && rules === undefined) chains.set(chain, []);
    else if (verb !== "" && rules === undefined) throw new Error(`no chain for: ${line}`);
    else if (verb === "-A") rules?.push(rule);
    else if (verb === "-I") rules?.unshift(rule);
    else if (verb === "-D") {
      const at = rules?.indexOf(rule) ?? -1;
      if (at < 0) throw new Error(`no such rule: ${line}`);
      rules?.splice(at, 1);
    }
  }
  const heads = [...chains.keys()].map((c) => `:${c} ${builtin.has(c) ? "ACCEPT" : "-"} [0:0]`);
  const body = [...chains].flatMap(([c, rules]) => rules.map((r) => `-A ${c} ${r}`));
  return ["*filter", ...heads, ...body, "COMMIT", ""].join("\n");
}
const applied = (before: string, s: FirewallState, mark: string): string =>
  restored(before, applyForwardText(tableOf(before), s, rulesOf(s), mark));
const removed = (before: string, mark: string): string =>
  restored(
    before,
    forwardRemovalText(tableOf(before), (m) => m === mark),
  );
const rules = (text: string): string[] => text.split("\n").filter((l) => l.startsWith("-A"));

describe("what the reference and we write", () => {
  test("is the same but for the notes, an address and a policy at a time", () => {
    const after = applied(EMPTY, state(accept("10.1.2.3"), policy("10.1.2.3", "br0", true)), ONE);
    const quoted = (words: string): string => `-m comment --comment "CNI firewall plugin ${words}"`;
    expect(rules(after)).toEqual([
      `-A FORWARD ${quoted("rules (ingressPolicy: same-bridge|isolated)")} -j CNI-ISOLATION-STAGE-1`,
      `-A FORWARD ${quoted("rules")} -j CNI-FORWARD`,
      `-A CNI-FORWARD-OWNERS -s 10.1.2.3/32 -m comment --comment ${ONE}`,
      `-A CNI-FORWARD-OWNERS -s 10.1.2.3/32 -i br0 -o br0 -m comment --comment ${ONE}`,
      `-A CNI-FORWARD ${quoted("admin overrides")} -j CNI-ADMIN`,
      "-A CNI-FORWARD -d 10.1.2.3/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-A CNI-FORWARD -s 10.1.2.3/32 -j ACCEPT",
      `-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 ${quoted("rules (ingressPolicy: isolated)")} -j CNI-ISOLATION-STAGE-2`,
      `-A CNI-ISOLATION-STAGE-1 -i br0 -o br0 ${quoted("rules (ingressPolicy: isolated)")} -j DROP`,
      `-A CNI-ISOLATION-STAGE-1 ${quoted("rules (ingressPolicy: same-bridge|isolated)")} -j RETURN`,
      `-A CNI-ISOLATION-STAGE-2 -o br0 ${quoted("rules (ingressPolicy: same-bridge|isolated)")} -j DROP`,
      `-A CNI-ISOLATION-STAGE-2 ${quoted("rules (ingressPolicy: same-bridge|isolated)")} -j RETURN`,
    ]);
  });

  test("accepts without the chains of policies where there is none", () => {
    const after = applied(EMPTY, state(accept("10.1.2.3")), ONE);
    expect(after).not.toContain("ISOLATION");
    expect(forwardRulesOf(state(accept("fd00::3")), 4)).toBeUndefined();
  });
});

describe("applying", () => {
  test("again changes nothing, and another configuration replaces the first", () => {
    const wanted = state(accept("10.1.2.3"), policy("10.1.2.3", "br0"));
    const once = applied(EMPTY, wanted, ONE);
    expect(rules(applied(once, wanted, ONE)).sort()).toEqual(rules(once).sort());
    const other = applied(once, state(accept("10.1.2.4")), ONE);
    expect(other).not.toContain("10.1.2.3");
    expect(other).not.toContain("br0");
  });

  test("puts back a jump that somebody removed, and does not move one that is there", () => {
    const wanted = state(accept("10.1.2.3"));
    const once = applied(EMPTY, wanted, ONE);
    const flushed = once.replaceAll(/^-A FORWARD .*\n/gm, "");
    expect(rules(applied(flushed, wanted, ONE)).sort()).toEqual(rules(once).sort());
    const moved = once.replace("-A FORWARD", "-A FORWARD -i lo -j ACCEPT\n-A FORWARD");
    expect(rules(applied(moved, wanted, ONE))[0]).toBe("-A FORWARD -i lo -j ACCEPT");
  });

  test("makes one set of rules for a bridge, however many containers ask for it", () => {
    const first = applied(EMPTY, state(policy("10.1.2.3", "br0")), ONE);
    const second = applied(first, state(policy("10.1.2.4", "br0")), TWO);
    expect(rules(second).filter((l) => l.includes("br0") && !l.includes("OWNERS"))).toHaveLength(2);
  });
});

describe("removing", () => {
  test("leaves the chains, and nothing else", () => {
    const wanted = state(accept("10.1.2.3"), policy("10.1.2.3", "br0", true));
    const left = removed(applied(EMPTY, wanted, ONE), ONE);
    expect(left).not.toMatch(/10\.1\.2\.3|br0|heddle/);
    expect(forwardRemovalText(tableOf(left), () => true)).toBe("");
  });

  test("keeps the rules of a bridge for the next container, and those of each policy by themselves", () => {
    const first = applied(EMPTY, state(policy("10.1.2.3", "br0", true)), ONE);
    const both = applied(first, state(policy("10.1.2.4", "br0")), TWO);
    const lenient = removed(both, ONE);
    expect(lenient).not.toContain("-i br0 -o br0");
    expect(
      missingForward(tableOf(lenient), state(), rulesOf(state(policy("10.1.2.4", "br0")))),
    ).toBeUndefined();
    const strict = removed(both, TWO);
    expect(
      missingForward(tableOf(strict), state(), rulesOf(state(policy("10.1.2.3", "br0", true)))),
    ).toBeUndefined();
    expect(removed(strict, ONE)).not.toContain("br0");
  });

  test("of one of two attachments with one address leaves the other its rules", () => {
    const wanted = state(accept("10.1.2.3"));
    const both = applied(applied(EMPTY, wanted, ONE), wanted, TWO);
    const left = removed(both, ONE);
    expect(missingForward(tableOf(left), wanted, rulesOf(wanted))).toBeUndefined();
    expect(rules(left).filter((l) => l.includes("10.1.2.3"))).toHaveLength(3);
  });

  test("by the short way is exact, and is not taken for policies", () => {
    const wanted = state(accept("10.1.2.3"));
    const before = applied(EMPTY, wanted, ONE);
    const undo = undoForwardText(rulesOf(wanted), ONE) ?? "";
    expect(restored(before, undo)).toBe(removed(before, ONE));
    expect(() => restored(EMPTY, undo)).toThrow("no chain");
    expect(undoForwardText(rulesOf(state(policy("10.1.2.3", "br0"))), ONE)).toBeUndefined();
  });
});

describe("what host ports lead to", () => {
  const wanted = state(mapped("10.1.2.3"));

  test("is let through if it was translated, by one rule beside those of the address", () => {
    const both = applied(applied(EMPTY, state(accept("10.1.2.3")), ONE), wanted, TWO);
    expect(rules(both).filter((l) => l.includes("DNAT"))).toEqual([
      "-A CNI-FORWARD -d 10.1.2.3/32 -m conntrack --ctstate DNAT -j ACCEPT",
    ]);
    expect(missingForward(tableOf(both), wanted, rulesOf(wanted))).toBeUndefined();
    expect(missingForward(tableOf(removed(both, TWO)), wanted, rulesOf(wanted))?.words).toContain("DNAT");
    expect(rules(removed(both, TWO))).toEqual(rules(applied(EMPTY, state(accept("10.1.2.3")), ONE)));
  });

  test("goes by the short way, and is none of the reference's", () => {
    const before = applied(EMPTY, wanted, ONE);
    expect(restored(before, undoForwardText(rulesOf(wanted), ONE) ?? "")).toBe(removed(before, ONE));
    expect(removed(before, ONE)).not.toContain("10.1.2.3");
    expect(referenceForwardText(tableOf(before), [ip("10.1.2.3")], undefined)).toBe("");
  });
});

describe("what the reference left", () => {
  const theirs = applied(EMPTY, state(accept("10.1.2.3"), policy("10.1.2.3", "br0")), ONE).replaceAll(
    /^-A CNI-FORWARD-OWNERS .*\n/gm,
    "",
  );
  const taken = (before: string, bridge?: string): string =>
    restored(before, referenceForwardText(tableOf(before), [ip("10.1.2.3")], bridge));

  test("goes by address, and the policy with the bridge", () => {
    expect(taken(theirs)).toContain("br0");
    expect(taken(theirs)).not.toContain("10.1.2.3");
    expect(taken(theirs, "br0")).not.toContain("br0");
    expect(taken(EMPTY, "br0")).toBe(EMPTY);
  });

  test("goes alone: an attachment of ours with the same address and bridge keeps its rules", () => {
    const wanted = state(accept("10.1.2.3"), policy("10.1.2.3", "br0"));
    const mixed = applied(theirs, wanted, TWO);
    const left = taken(mixed, "br0");
    expect(missingForward(tableOf(left), wanted, rulesOf(wanted))).toBeUndefined();
    expect(rules(left)).toHaveLength(rules(applied(EMPTY, wanted, TWO)).length);
    expect(removed(mixed, TWO)).toContain("-i br0 ! -o br0");
  });
});

describe("savedDrops", () => {
  const withRule = (rule: string): string => EMPTY.replace("COMMIT", `-A FORWARD ${rule}\nCOMMIT`);
  test.each([
    ["the policy DROP", EMPTY.replace("FORWARD ACCEPT", "FORWARD DROP"), true],
    ["a last rule that rejects", withRule("-j REJECT --reject-with icmp-host-prohibited"), true],
    ["a last rule that drops, with a comment", withRule('-m comment --comment "end" -j DROP'), true],
    ["a chain of ufw", EMPTY.replace("COMMIT", ":ufw-user-forward - [0:0]\nCOMMIT"), true],
    ["a last rule for one source", withRule("-s 192.0.2.0/24 -j DROP"), false],
    ["an empty table", EMPTY, false],
    ["no table", "", false],
  ])("of %s", (_, text, drops) => {
    expect(savedDrops(text)).toBe(drops);
  });
});
