import { describe, expect, test } from "bun:test";
import { type ForeignRules, foreignRules } from "../testing/foreign-rules.ts";
import { describeWith } from "../testing/needs.ts";
import { testNetns, type TestNetns } from "../testing/netns.ts";
import {
  listRuleset,
  mapping,
  markOf,
  masquerade,
  netfilterSocketIn,
  nftablesIn,
  nobodyLives,
  stateOf,
} from "../testing/nftables.ts";
import { ask, smallNet } from "../testing/small-net.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { findForwardDrops } from "./foreign.ts";

/** Our tables beside those of Docker, firewalld and kube-proxy: each keeps what it has, and the order is no accident. */
const kernel = describeWith({ root: true, programs: ["ip", "nft", "sysctl", "iptables-nft"] });
const SUBNET = "10.99.0.0/24";
const cases = Object.entries<ForeignRules>(foreignRules);

const load = (host: TestNetns, rules: ForeignRules) =>
  host.exec(rules.program === "nft" ? ["nft", "-f", "-"] : [rules.program], { stdin: rules.text });
/** Their tables as nft prints them; counters count what packets did, and are left out. */
const theirs = async (host: TestNetns, rules: ForeignRules): Promise<string[]> =>
  Promise.all(
    rules.tables.map(async (t) =>
      (await listRuleset(host, "table", ...t)).replaceAll(/counter packets \d+ bytes \d+/g, "counter"),
    ),
  );
const drops = (host: TestNetns): string[] => {
  using socket = netfilterSocketIn(host);
  return findForwardDrops(socket).map((d) => `${d.family} ${d.table} ${d.chain} by ${d.by}`);
};

describe.each(cases)("beside the rules of %s", (_, rules) => {
  const wanted = stateOf(
    masquerade("10.99.0.2/24"),
    mapping("8080/tcp", "10.99.0.2:80", SUBNET),
    mapping("127.0.0.1:8081/tcp", "10.99.0.2:80", SUBNET),
  );
  const conflict = stateOf(mapping("9090/tcp", "10.99.0.2:80", SUBNET));

  kernel("with packets", () => {
    test("a host port and masquerading work, and no table of theirs changes", async () => {
      await using net = await smallNet();
      using folder = tempDir("coexistence");
      using firewall = nftablesIn(net.host, folder.path);
      await net.serve(net.one, "one", "0.0.0.0", 80);
      await net.serve(net.outside, "outside", "0.0.0.0", 80);
      await load(net.host, rules);
      const before = await theirs(net.host, rules);
      firewall.apply(wanted, markOf(1), nobodyLives);
      expect(await theirs(net.host, rules)).toEqual(before);
      await net.host.exec(rules.allow);
      const allowed = await theirs(net.host, rules);
      expect(await ask(net.outside, "192.0.2.1", 8080)).toBe("one saw 192.0.2.2");
      expect(await ask(net.host, "127.0.0.1", 8081)).toBe("one saw 10.99.0.1");
      expect(await ask(net.one, "192.0.2.1", 8080)).toBe("one saw 10.99.0.1");
      expect(await ask(net.one, "192.0.2.2", 80)).toBe("outside saw 192.0.2.1");
      firewall.remove(markOf(1), wanted);
      firewall.prune("heddle-", new Set());
      expect(await theirs(net.host, rules)).toEqual(allowed);
      expect(await ask(net.outside, "192.0.2.1", 8080)).toBe("ECONNREFUSED");
    });

    test.each(["theirs first", "ours first"])(
      "a host port that both have goes by priority: %s",
      async (order) => {
        await using net = await smallNet();
        using folder = tempDir("coexistence");
        using firewall = nftablesIn(net.host, folder.path);
        await net.serve(net.one, "ours", "0.0.0.0", 80);
        await net.serve(net.two, "theirs", "0.0.0.0", 81);
        if (order === "theirs first") await load(net.host, rules);
        firewall.apply(conflict, markOf(1), nobodyLives);
        if (order === "ours first") await load(net.host, rules);
        await net.host.exec(rules.allow);
        const answer = await ask(net.outside, "192.0.2.1", 9090);
        expect(answer.split(" ")[0]).toBe(rules.takes9090 === "before us" ? "theirs" : "ours");
      },
    );

    test("what they drop stays dropped, and their chain is named", async () => {
      await using net = await smallNet();
      using folder = tempDir("coexistence");
      using firewall = nftablesIn(net.host, folder.path);
      await net.serve(net.outside, "outside", "0.0.0.0", 80);
      await load(net.host, rules);
      firewall.apply(stateOf(masquerade("10.99.0.2/24")), markOf(1), nobodyLives);
      expect(drops(net.host)).toEqual(rules.forwardDrop === undefined ? [] : [rules.forwardDrop]);
      const answer = await ask(net.one, "192.0.2.2", 80);
      if (rules.forwardDrop === undefined) expect(answer).toBe("outside saw 192.0.2.1");
      else expect(answer).not.toContain("outside");
    });
  });
});

kernel("our tables", () => {
  test("allow nothing: every base chain accepts by policy, and no rule says accept", async () => {
    await using netns = await testNetns();
    using folder = tempDir("coexistence");
    using firewall = nftablesIn(netns, folder.path);
    firewall.apply(
      stateOf(masquerade("10.0.0.2/24"), mapping("80/tcp", "10.0.0.2:80", "10.0.0.0/24")),
      markOf(1),
      nobodyLives,
    );
    const text = await listRuleset(netns);
    expect(text.replaceAll("policy accept", "")).not.toContain("accept");
    expect(text).not.toContain("policy drop");
    expect(drops(netns)).toEqual([]);
  });
});

kernel("foreign chains that drop what is forwarded", () => {
  test.each([
    ["a policy", "type filter hook forward priority 0; policy drop; ct state established accept", ["policy"]],
    [
      "a final drop behind a log",
      'type filter hook forward priority 0; log prefix "x" counter drop',
      ["last rule"],
    ],
    ["a final reject", "type filter hook forward priority 0; counter reject", ["last rule"]],
    [
      "no more a policy that a final accept covers",
      "type filter hook forward priority 0; policy drop; accept",
      [],
    ],
    ["not a drop with a condition", "type filter hook forward priority 0; ip saddr 192.0.2.9 drop", []],
    ["not a drop at another hook", "type filter hook input priority 0; policy drop;", []],
  ])("are found: %s", async (_, chain, by) => {
    await using netns = await testNetns();
    await netns.exec(["nft", "-f", "-"], { stdin: `table inet x {\n chain c { ${chain}\n }\n}\n` });
    expect(drops(netns)).toEqual(by.map((b) => `inet x c by ${b}`));
  });
});
