import { expect, test } from "bun:test";
import { addTable, commit, deleteElements, deleteTable } from "../nft/batch.ts";
import { findElement, listChains, listTables } from "../nft/list.ts";
import { describeWith } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import {
  allLive,
  listRuleset,
  macCheck,
  mapping,
  markOf,
  masquerade,
  netfilterSocketIn,
  nftablesBench,
  type NftablesBench,
  nobodyLives,
  stateOf,
} from "../testing/nftables.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { sets4 } from "./nftables-layout.ts";
import { bridgeTable, inetTable } from "./nftables-parts.ts";

/** The nftables backend in the kernel: what is there afterwards, what is mended, and what is gone again. */
const kernel = describeWith({ root: true, programs: ["ip", "nft"] });

const [A, B] = [markOf(1), markOf(2)];
const SUBNET = "10.99.0.0/24";
const local = (host: string, container = 2) => mapping(host, `10.99.0.${container}:80`, SUBNET);
const everything = stateOf(
  masquerade("10.99.0.2/24"),
  masquerade("fd00:99::2/64"),
  local("127.0.0.1:9090/tcp"),
  mapping("5353/udp", "10.99.0.2:53", SUBNET),
  mapping("9090/sctp", "10.99.0.2:90", SUBNET, "none"),
  mapping("8080/tcp", "[fd00:99::2]:80", "fd00:99::/64", "all"),
  macCheck("veth0", "02:00:00:00:00:01"),
);
const marks = async (b: NftablesBench): Promise<number> => (await listRuleset(b.netns)).split(A).length - 1;

kernel("the nftables backend", () => {
  test("lists as commands that nft takes back", async () => {
    await using b = await nftablesBench();
    await using copy = await testNetns();
    b.firewall.apply(everything, A, nobodyLives);
    const text = await listRuleset(b.netns);
    await copy.exec(["nft", "-f", "-"], { stdin: text });
    expect(await listRuleset(copy)).toBe(text);
    for (const line of [
      `10.99.0.2 comment "${A}" : goto masq_10.99.0.0/24`,
      `fd00:99::2 comment "${A}" : goto masq_fd00-99--/64`,
      `127.0.0.1 . tcp . 9090 comment "${A}" : 10.99.0.2 . 80`,
      `udp . 5353 comment "${A}" : 10.99.0.2 . 53`,
      `"veth0" . 02:00:00:00:00:01 comment "${A}"`,
      "type nat hook postrouting priority srcnat + 5",
      "type nat hook prerouting priority dstnat + 5",
      'iifname != "lo" ip daddr 127.0.0.0/8 counter packets 0 bytes 0 drop',
      'comment "heddle layout 1"',
    ])
      expect(text).toContain(line);
  });

  test("makes what is needed and no more", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(), A, nobodyLives);
    expect(listTables(b.socket)).toEqual([]);
    b.firewall.apply(stateOf(masquerade("10.99.0.2/24")), A, nobodyLives);
    expect(listChains(b.socket).map((c) => c.chain)).toEqual(["postrouting", "masq_10.99.0.0/24"]);
    b.firewall.apply(stateOf(macCheck("veth0", "02:00:00:00:00:01")), A, nobodyLives);
    expect(
      listTables(b.socket)
        .map((t) => t.family)
        .toSorted(),
    ).toEqual(["bridge", "inet"]);
  });

  test("puts its rules in although somebody flushes the rule set between its look and its change", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(masquerade("10.99.0.2/24")), A, nobodyLives);
    let flushed = 0;
    // It is asked whether the owner of an address lives after the look and before the change.
    const flush = (): undefined => {
      if (flushed++ === 0) commit(b.socket, [deleteTable(inetTable)]);
      return undefined;
    };
    const two = stateOf(masquerade("10.98.0.3/24"), masquerade("10.99.0.2/24"));
    b.firewall.apply(two, B, flush);
    expect(flushed).toBe(1);
    b.firewall.verify(two, B, nobodyLives);
  });

  test("replaces what is there under the same mark", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(everything, A, nobodyLives);
    const once = await listRuleset(b.netns);
    b.firewall.apply(everything, A, allLive);
    expect((await listRuleset(b.netns)).split("\n").toSorted()).toEqual(once.split("\n").toSorted());
    b.firewall.verify(everything, A, nobodyLives);
  });

  test("replaces what the same mark had under other keys", async () => {
    await using b = await nftablesBench();
    const before = stateOf(
      masquerade("10.99.0.2/24"),
      local("9090/tcp"),
      macCheck("veth0", "02:00:00:00:00:01"),
    );
    const after = stateOf(
      masquerade("10.99.0.2/24"),
      local("9091/tcp"),
      macCheck("veth0", "02:00:00:00:00:02"),
    );
    b.firewall.apply(before, A, nobodyLives);
    b.firewall.apply(after, A, allLive);
    b.firewall.verify(after, A, nobodyLives);
    const text = await listRuleset(b.netns);
    expect(text).not.toContain("02:00:00:00:00:01");
    expect(text).not.toContain("tcp . 9090");
  });

  test("DEL takes out exactly its own, by state and by mark alone", async () => {
    for (const state of [everything, undefined]) {
      await using b = await nftablesBench();
      b.firewall.apply(everything, A, nobodyLives);
      const other = stateOf(masquerade("10.99.0.3/24"), local("9091/tcp", 3));
      b.firewall.apply(other, B, nobodyLives);
      expect(await marks(b)).toBe(11);
      b.firewall.remove(A, state);
      expect(await marks(b)).toBe(0);
      b.firewall.verify(other, B, nobodyLives);
      b.firewall.remove(A, state);
      b.firewall.remove(B, state && other);
      const left = listChains(b.socket).map((c) => c.chain);
      expect(left.filter((c) => c.startsWith("masq_") || c.startsWith("hairpin_"))).toEqual([]);
    }
  });

  test("DEL leaves an element that somebody else has under the same key", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(everything, B, nobodyLives);
    b.firewall.remove(A, everything);
    b.firewall.verify(everything, B, nobodyLives);
  });

  test("DEL with another configuration than ADD had leaves nothing", async () => {
    const contradiction = stateOf(local("1/tcp", 2), local("1/tcp", 3));
    for (const changed of [stateOf(masquerade("10.99.0.9/24")), contradiction]) {
      await using b = await nftablesBench();
      b.firewall.apply(everything, A, nobodyLives);
      b.firewall.remove(A, changed);
      expect(await marks(b)).toBe(0);
    }
  });

  test("DEL and prune of nothing succeed and make nothing", async () => {
    await using b = await nftablesBench();
    b.firewall.remove(A, everything);
    b.firewall.remove(A);
    b.firewall.prune("heddle-", new Set());
    expect(await listRuleset(b.netns)).toBe("");
  });

  test("prune removes what is not valid, in its own network alone", async () => {
    await using b = await nftablesBench();
    const elsewhere = markOf(1, "ffffffffffff");
    b.firewall.apply(stateOf(masquerade("10.99.0.2/24"), local("127.0.0.1:1000/tcp")), A, nobodyLives);
    b.firewall.apply(stateOf(masquerade("10.98.0.2/24"), local("1001/tcp", 3)), B, nobodyLives);
    b.firewall.apply(stateOf(masquerade("10.97.0.2/24")), elsewhere, nobodyLives);
    b.firewall.prune("heddle-portmap-0123456789ab-", new Set([B]));
    const text = await listRuleset(b.netns);
    expect(text).not.toContain(A);
    expect(text).not.toContain("masq_10.99.0.0/24");
    expect(text).not.toContain("127.0.0.1");
    b.firewall.verify(stateOf(masquerade("10.98.0.2/24"), local("1001/tcp", 3)), B, nobodyLives);
    b.firewall.verify(stateOf(masquerade("10.97.0.2/24")), elsewhere, nobodyLives);
  });

  test("many attachments share a subnet's chain, which goes with the last", async () => {
    await using b = await nftablesBench();
    const states = Array.from({ length: 20 }, (_, i) =>
      stateOf(masquerade(`10.99.0.${i + 2}/24`), local(`${2000 + i}/tcp`, i + 2)),
    );
    states.forEach((s, i) => b.firewall.apply(s, markOf(i), nobodyLives));
    const chains = () => listChains(b.socket).map((c) => c.chain);
    states.forEach((s, i) => {
      expect(chains()).toContain("masq_10.99.0.0/24");
      expect(chains()).toContain("hairpin_10.99.0.0/24");
      b.firewall.remove(markOf(i), s);
    });
    expect(chains().toSorted()).toEqual([
      "guard",
      "hairpin",
      "hostports",
      "output",
      "postrouting",
      "prerouting",
    ]);
  });
});

kernel("CHECK", () => {
  const breaks: [string, string[]][] = [
    ["an element is gone", ["delete element inet heddle hostip_ports4 { 127.0.0.1 . tcp . 9090 }"]],
    [
      "an element leads elsewhere",
      [
        "delete element inet heddle masquerade4 { 10.99.0.2 }",
        `add element inet heddle masquerade4 { 10.99.0.2 comment "${A}" : accept }`,
      ],
    ],
    [
      "an element belongs to another",
      [
        "delete element inet heddle masquerade4 { 10.99.0.2 }",
        `add element inet heddle masquerade4 { 10.99.0.2 comment "${B}" : goto masq_10.99.0.0/24 }`,
      ],
    ],
    ["the rules of a shared chain are gone", ["flush chain inet heddle hairpin"]],
    [
      "the rule of the subnet is another",
      [
        "flush chain inet heddle masq_10.99.0.0/24",
        "add rule inet heddle masq_10.99.0.0/24 ip daddr != 10.99.0.0/25 masquerade",
      ],
    ],
    [
      "a base chain stands elsewhere",
      [
        "delete chain inet heddle guard",
        "add chain inet heddle guard { type filter hook prerouting priority 0; }",
      ],
    ],
    ["the table is gone", ["delete table inet heddle"]],
    ["the bridge table is gone", ["delete table bridge heddle"]],
  ];
  test.each(breaks)("notices when %s", async (_, commands) => {
    await using b = await nftablesBench();
    b.firewall.apply(everything, A, nobodyLives);
    b.firewall.verify(everything, A, nobodyLives);
    await b.netns.exec(["nft", "-f", "-"], { stdin: `${commands.join("\n")}\n` });
    expect(() => b.firewall.verify(everything, A, nobodyLives)).toThrow("want");
  });
});

kernel("after others changed the rule set", () => {
  test.each([
    ["flush ruleset", "everything is gone"],
    ["flush table inet heddle", "the rules are gone and the maps are full"],
    ["delete table inet heddle", "one table is gone"],
  ])("'nft %s': the next ADD mends the layout for all", async (command) => {
    await using b = await nftablesBench();
    b.firewall.apply(everything, A, nobodyLives);
    await b.netns.exec(["nft", command]);
    b.firewall.apply(stateOf(masquerade("10.99.0.3/24"), local("9091/tcp", 3)), B, allLive);
    b.firewall.apply(everything, A, allLive);
    b.firewall.verify(everything, A, nobodyLives);
    b.firewall.verify(stateOf(masquerade("10.99.0.3/24"), local("9091/tcp", 3)), B, nobodyLives);
    const text = await listRuleset(b.netns);
    expect(text.split("ip saddr vmap @masquerade4")).toHaveLength(2);
    expect(text.split("ip daddr != 10.99.0.0/24 masquerade")).toHaveLength(2);
  });

  test("a table of another layout is refused and left alone", async () => {
    await using b = await nftablesBench();
    commit(b.socket, [addTable(inetTable, "heddle layout 99")]);
    const before = await listRuleset(b.netns);
    expect(() => b.firewall.apply(everything, A, nobodyLives)).toThrow("heddle layout 99");
    expect(await listRuleset(b.netns)).toBe(before);
  });

  test("a subnet's chain that goes while another needs it is made again", async () => {
    await using netns = await testNetns();
    using folder = tempDir("race");
    // Each process has the only container of the subnet, over and over, so that the chain comes and goes.
    const script = (n: number): string => `
      import { allLive, masquerade, markOf, stateOf } from ${JSON.stringify(`${import.meta.dir}/../testing/nftables.ts`)};
      import { openNftables } from ${JSON.stringify(`${import.meta.dir}/nftables.ts`)};
      using firewall = openNftables({ lockDir: ${JSON.stringify(folder.path)} });
      const state = stateOf(masquerade("10.99.0.${n}/24"));
      for (let i = 0; i < 150; i++) {
        firewall.apply(state, markOf(${n}), allLive);
        firewall.verify(state, markOf(${n}));
        firewall.remove(markOf(${n}), state);
      }`;
    await Promise.all([2, 3, 4].map((n) => netns.exec([process.execPath, "-e", script(n)])));
    const text = await listRuleset(netns);
    expect(text).not.toContain("heddle-portmap");
    using socket = netfilterSocketIn(netns);
    expect(listChains(socket).map((c) => c.chain)).toContain("postrouting");
  });

  test("an ADD whose view is stale decides anew", async () => {
    await using b = await nftablesBench();
    const state = stateOf(local("9090/tcp"));
    b.firewall.apply(state, A, nobodyLives);
    // While the owner is asked for, the mapping that is in the way goes: deleting it again fails, and nothing is lost.
    b.firewall.apply(stateOf(local("9090/tcp", 3)), B, () => {
      const element = { key: [6, 9090] };
      if (findElement(b.socket, inetTable, sets4.wildcard, element.key))
        commit(b.socket, [deleteElements(inetTable, sets4.wildcard, [element])]);
      return undefined;
    });
    b.firewall.verify(stateOf(local("9090/tcp", 3)), B, nobodyLives);
  });

  test("an address that a live attachment has is refused by name", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(masquerade("10.99.0.2/24")), A, nobodyLives);
    expect(() => b.firewall.apply(stateOf(masquerade("10.99.0.2/24")), B, allLive)).toThrow(
      `container behind ${A}`,
    );
  });

  test("our tables can be taken away as a whole", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(everything, A, nobodyLives);
    commit(b.socket, [deleteTable(inetTable), deleteTable(bridgeTable)]);
    expect(await listRuleset(b.netns)).toBe("");
    b.firewall.remove(A, everything);
  });
});
