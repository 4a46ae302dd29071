import { describe, expect, test } from "bun:test";
import { isNetError } from "../errors.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { describeWith } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { chainOf, type Construct, constructs, constructSets } from "../testing/nft-constructs.ts";
import type { NftFamily } from "./attrs.ts";
import {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  commit,
  deleteChain,
  deleteElements,
  deleteRules,
  deleteSet,
  deleteTable,
} from "./batch.ts";
import {
  findChain,
  findElement,
  findTable,
  generation,
  listChains,
  listElements,
  listRules,
  listSets,
  listTables,
} from "./list.ts";
import type { Element, SetSpec, TableRef } from "./model.ts";
import { rule } from "./statement.ts";
import { ip } from "../testing/address.ts";

/** What we load, and what nft loads from the text that a person types: the same text in the list, the same bytes. */
const kernel = describeWith({ root: true, programs: ["ip", "nft"] });

const socketIn = (netns: TestNetns): NetlinkSocket => {
  using handle = openNetns(netns.path);
  return inNetns(handle, () => openNetlink("netfilter"));
};
const listed = async (netns: TestNetns): Promise<string> =>
  (await netns.exec(["nft", "list", "ruleset"])).stdout;
const table: TableRef = { family: "inet", table: "t" };
const fittingSets = (c: Construct) => constructSets.filter(({ set }) => c.text.includes(`@${set.name}`));

function typed(c: Construct): string {
  const { name, type, hook } = chainOf(c.text);
  const sets = fittingSets(c).map(
    (s) => `${s.type.includes(":") ? "map" : "set"} ${s.set.name} { type ${s.type}; }`,
  );
  return `table ${c.family} t {
    ${sets.join("\n")}
    chain other { }
    chain ${name} { type ${type} hook ${hook} priority 7; policy accept; ${c.text} comment "why"; }
  }`;
}

function loaded(socket: NetlinkSocket, c: Construct): void {
  const t = { family: c.family, table: "t" };
  const { name, type, hook } = chainOf(c.text);
  commit(socket, [
    addTable(t),
    ...fittingSets(c).map(({ set }) => addSet(t, set)),
    addChain(t, { name: "other" }),
    addChain(t, { name, base: { type, hook, priority: 7, policy: "accept" } }),
    addRule(t, name, rule(c.family, c.statements, "why")),
  ]);
}

kernel("a rule that we load", () => {
  describe.each(constructs.map((c) => [`${c.family}: ${c.text}`, c] as const))("%s", (_, c) => {
    testBoth("lists as the text that a person types, and as the same expressions", async (ours, theirs) => {
      using a = socketIn(ours);
      using b = socketIn(theirs);
      loaded(a, c);
      await theirs.exec(["nft", "-f", "-"], { stdin: typed(c) });
      const text = await listed(ours);
      expect(text).toContain(`${c.text} comment "why"`);
      expect(text).toBe(await listed(theirs));
      const { name } = chainOf(c.text);
      const t = { family: c.family, table: "t" };
      const [mine, other] = [listRules(a, t, name), listRules(b, t, name)];
      expect(mine[0]?.expressions).toEqual(rule(c.family, c.statements).expressions);
      expect(mine[0]?.expressions).toEqual(other[0]?.expressions ?? []);
    });
  });
});

function testBoth(title: string, body: (ours: TestNetns, theirs: TestNetns) => Promise<void>): void {
  test(title, async () => {
    await using ours = await testNetns();
    await using theirs = await testNetns();
    await body(ours, theirs);
  });
}

const values = {
  ipv4_addr: ip("10.1.2.3"),
  ipv6_addr: ip("fd00::3"),
  ifname: "veth0",
  ether_addr: "02:00:00:00:00:01",
  inet_proto: 17,
  inet_service: 53,
} as const;
const texts: Record<keyof typeof values, string> = {
  ipv4_addr: "10.1.2.3",
  ipv6_addr: "fd00::3",
  ifname: '"veth0"',
  ether_addr: "02:00:00:00:00:01",
  inet_proto: "udp",
  inet_service: "53",
};

function sample(set: SetSpec): { element: Element; text: string } {
  const data = set.data === "verdict" ? { goto: "other" } : set.data?.map((t) => values[t]);
  const dataText = set.data === "verdict" ? "goto other" : set.data?.map((t) => texts[t]).join(" . ");
  return {
    element: { key: set.key.map((t) => values[t]), comment: "who", ...(data ? { data } : {}) },
    text: `${set.key.map((t) => texts[t]).join(" . ")} comment "who"${dataText ? ` : ${dataText}` : ""}`,
  };
}

kernel("a set that we load", () => {
  test.each(constructSets.map((s) => [s.type, s] as const))(
    "of type %s lists with its elements as the text that a person types, and reads back",
    async (_, { set, type }) => {
      await using ours = await testNetns();
      await using theirs = await testNetns();
      using socket = socketIn(ours);
      const { element, text } = sample(set);
      commit(socket, [
        addTable(table, "a comment"),
        addSet(table, set),
        addChain(table, { name: "other" }),
        addElements(table, set, [element], { mustBeNew: true }),
      ]);
      const keyword = type.includes(":") ? "map" : "set";
      await theirs.exec(["nft", "-f", "-"], {
        stdin: `table inet t { comment "a comment"; ${keyword} ${set.name} { type ${type}; }
chain other { }
}
          add element inet t ${set.name} { ${text} }`,
      });
      const list = await listed(ours);
      expect(list).toContain(text);
      expect(list).toBe(await listed(theirs));
      using other = socketIn(theirs);
      for (const s of [socket, other]) {
        expect(listElements(s, table, set)).toEqual([element]);
        expect(findElement(s, table, set, element.key)).toEqual(element);
      }
      expect(listSets(socket, table)).toEqual(listSets(other, table));
      commit(socket, [deleteElements(table, set, [element])]);
      expect(findElement(socket, table, set, element.key)).toBeUndefined();
      expect(listElements(socket, table, set)).toEqual([]);
    },
  );
});

const base = (priority: number) => ({ type: "filter", hook: "forward", priority, policy: "drop" }) as const;

kernel("the rule set", () => {
  test("happens wholly or not at all", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    commit(socket, [addTable(table)]);
    const broken = [addChain(table, { name: "a" }), addRule(table, "missing", rule("inet", []))];
    expect(() => commit(socket, broken)).toThrow("NFT_MSG_NEWRULE inet t missing: ENOENT");
    expect(findChain(socket, table, "a")).toBeUndefined();
  });

  test("refuses what must be new and is there", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const addresses: SetSpec = { name: "s", key: ["ipv4_addr"] };
    const once = [addTable(table), addSet(table, addresses), addChain(table, { name: "a" })];
    commit(socket, once);
    commit(socket, once);
    const element = [{ key: [ip("10.0.0.1")] }];
    commit(socket, [addElements(table, addresses, element)]);
    commit(socket, [addElements(table, addresses, element)]);
    for (const again of [
      addTable(table, undefined, { mustBeNew: true }),
      addChain(table, { name: "a" }, { mustBeNew: true }),
      addSet(table, addresses, { mustBeNew: true }),
      addElements(table, addresses, element, { mustBeNew: true }),
    ])
      expect(() => commit(socket, [again])).toThrow("EEXIST");
  });

  test("refuses a transaction that was decided on an older generation", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const seen = generation(socket);
    commit(socket, [addTable(table)], seen);
    expect(generation(socket)).not.toBe(seen);
    expect(() => commit(socket, [addChain(table, { name: "late" })], seen)).toThrow("ERESTART");
    expect(findChain(socket, table, "late")).toBeUndefined();
  });

  test("lists tables with comments and base chains with negative priorities, of every family", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    for (const family of ["ip", "ip6", "inet", "bridge", "arp"] satisfies NftFamily[])
      await netns.exec(["nft", `add table ${family} x { comment "of ${family}"; }`]);
    commit(socket, [addTable(table, "ours"), addChain(table, { name: "c", base: base(-150) })]);
    expect(listTables(socket)).toContainEqual({ ...table, comment: "ours" });
    expect(listTables(socket, "arp")).toEqual([{ family: "arp", table: "x", comment: "of arp" }]);
    expect(findTable(socket, { family: "ip6", table: "x" })?.comment).toBe("of ip6");
    expect(listChains(socket)).toMatchObject([{ ...table, chain: "c", base: base(-150), uses: 0 }]);
  });

  test("answers with nothing for what is not there", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const addresses: SetSpec = { name: "s", key: ["ipv4_addr"] };
    expect(findTable(socket, table)).toBeUndefined();
    expect(findChain(socket, table, "c")).toBeUndefined();
    expect(findElement(socket, table, addresses, [ip("10.0.0.1")])).toBeUndefined();
    expect(listElements(socket, table, addresses)).toEqual([]);
    expect(listRules(socket, table)).toEqual([]);
    expect(listSets(socket, table)).toEqual([]);
    expect(listTables(socket)).toEqual([]);
  });

  test("keeps expressions of others that nobody here knows, byte for byte", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    await netns.exec(["nft", "-f", "-"], {
      stdin:
        'table inet t { chain c { limit rate 5/second burst 5 packets log prefix "x" ct mark set 7 drop; }\nchain d { }\n}',
    });
    const [rules] = [listRules(socket, table, "c")];
    expect(rules[0]?.expressions.map((e) => e.kind)).toEqual([
      "opaque",
      "opaque",
      "opaque",
      "opaque",
      "immediate",
    ]);
    commit(socket, [addRule(table, "d", rules[0] ?? { expressions: [] })]);
    const [, copy] = (await listed(netns)).split("chain d");
    expect(copy).toContain('limit rate 5/second log prefix "x" ct mark set 0x00000007 drop');
  });

  test("gives back rules by handle, chains, sets and tables", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const addresses: SetSpec = { name: "s", key: ["ipv4_addr"] };
    const [a, b] = [rule("inet", [{ verdict: "accept" }], "a"), rule("inet", [{ verdict: "drop" }], "b")];
    commit(socket, [
      addTable(table),
      addSet(table, addresses),
      addChain(table, { name: "c" }),
      addRule(table, "c", a),
      addRule(table, "c", b),
    ]);
    const rules = listRules(socket, table, "c");
    expect(rules.map((r) => r.comment)).toEqual(["a", "b"]);
    commit(socket, [deleteRules(table, "c", rules[0]?.handle)]);
    expect(listRules(socket, table, "c").map((r) => r.comment)).toEqual(["b"]);
    commit(socket, [deleteRules(table, "c"), deleteChain(table, "c"), deleteSet(table, "s")]);
    expect(await listed(netns)).toBe("table inet t {\n}\n");
    commit(socket, [deleteTable(table)]);
    expect(await listed(netns)).toBe("");
  });

  test("lists thousands of elements", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const ports: SetSpec = { name: "s", key: ["inet_service"] };
    const all = Array.from({ length: 3000 }, (_, i): Element => ({ key: [i + 1], comment: `port ${i + 1}` }));
    const chunks = Array.from({ length: 15 }, (_, i) => all.slice(i * 200, i * 200 + 200));
    commit(socket, [
      addTable(table),
      addSet(table, ports),
      ...chunks.map((c) => addElements(table, ports, c)),
    ]);
    const back = listElements(socket, table, ports);
    expect(back.toSorted((x, y) => Number(x.key[0]) - Number(y.key[0]))).toEqual(all);
  });
});

kernel("a dump", () => {
  test("is whole or refused, never partial, while somebody else commits", async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const ports: SetSpec = { name: "s", key: ["inet_service"] };
    const chunks = Array.from({ length: 15 }, (_, i) =>
      Array.from({ length: 200 }, (_, j): Element => ({ key: [i * 200 + j + 1] })),
    );
    commit(socket, [
      addTable(table),
      addSet(table, ports),
      ...chunks.map((c) => addElements(table, ports, c)),
    ]);
    await using writer = netns.start([
      process.execPath,
      "-e",
      `import { openNetlink } from ${JSON.stringify(`${import.meta.dir}/../netlink/socket.ts`)};
       import { addChain, commit, deleteChain } from ${JSON.stringify(`${import.meta.dir}/batch.ts`)};
       const t = { family: "inet", table: "t" };
       using socket = openNetlink("netfilter");
       console.log("ready");
       // The pause gives the reader a chance: without one no list is ever whole.
       for (;;) {
         commit(socket, [addChain(t, { name: "flip" })]);
         commit(socket, [deleteChain(t, "flip")]);
         await Bun.sleep(5);
       }`,
    ]);
    await writer.printed("ready");
    const sizes = Array.from({ length: 40 }, () => {
      try {
        return listElements(socket, table, ports).length;
      } catch (e) {
        if (isNetError(e, "netlink/interrupted")) return "interrupted";
        throw e;
      }
    });
    expect(sizes).toContain(3000);
    expect(sizes.filter((s) => s !== 3000 && s !== "interrupted")).toEqual([]);
  });
});
