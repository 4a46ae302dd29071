import { expect, test } from "bun:test";
import { isNetError } from "../errors.ts";
import { addTable, commit, deleteElements, deleteTable } from "../nft/batch.ts";
import { findElement, listChains, listTables } from "../nft/list.ts";
import { describeWith } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import {
  allLive,
  listRuleset,
  macCheck,
  mapping,
  markOf,
  masquerade,
  netfilterSocketIn,
  nftablesIn,
  nobodyLives,
  stateOf,
} from "../testing/nftables.ts";
import { tempDir } from "../testing/temp-dir.ts";
import type { FirewallBackend } from "./model.ts";
import { bridgeTable, inetTable, sets4 } from "./nftables-layout.ts";

/** The nftables backend in the kernel: what is there afterwards, who gets a host port, and what is gone again. */
const kernel = describeWith({ root: true, programs: ["ip", "nft"] });

interface Bench extends AsyncDisposable {
  readonly netns: TestNetns;
  readonly firewall: FirewallBackend;
  readonly socket: ReturnType<typeof netfilterSocketIn>;
}

async function bench(): Promise<Bench> {
  const netns = await testNetns();
  const folder = tempDir("nftables");
  const firewall = nftablesIn(netns, folder.path);
  const socket = netfilterSocketIn(netns);
  return {
    netns,
    firewall,
    socket,
    [Symbol.asyncDispose]: async () => {
      socket[Symbol.dispose]();
      firewall[Symbol.dispose]();
      folder[Symbol.dispose]();
      await netns[Symbol.asyncDispose]();
    },
  };
}

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
const marks = async (b: Bench): Promise<number> => (await listRuleset(b.netns)).split(A).length - 1;

kernel("the nftables backend", () => {
  test("lists as commands that nft takes back", async () => {
    await using b = await bench();
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
    await using b = await bench();
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

  test("replaces what is there under the same mark", async () => {
    await using b = await bench();
    b.firewall.apply(everything, A, nobodyLives);
    const once = await listRuleset(b.netns);
    b.firewall.apply(everything, A, allLive);
    expect((await listRuleset(b.netns)).split("\n").toSorted()).toEqual(once.split("\n").toSorted());
    b.firewall.verify(everything, A);
  });

  test("replaces what the same mark had under other keys", async () => {
    await using b = await bench();
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
    b.firewall.verify(after, A);
    const text = await listRuleset(b.netns);
    expect(text).not.toContain("02:00:00:00:00:01");
    expect(text).not.toContain("tcp . 9090");
  });

  test("DEL takes out exactly its own, by state and by mark alone", async () => {
    for (const state of [everything, undefined]) {
      await using b = await bench();
      b.firewall.apply(everything, A, nobodyLives);
      const other = stateOf(masquerade("10.99.0.3/24"), local("9091/tcp", 3));
      b.firewall.apply(other, B, nobodyLives);
      expect(await marks(b)).toBe(11);
      b.firewall.remove(A, state);
      expect(await marks(b)).toBe(0);
      b.firewall.verify(other, B);
      b.firewall.remove(A, state);
      b.firewall.remove(B, state && other);
      const left = listChains(b.socket).map((c) => c.chain);
      expect(left.filter((c) => c.startsWith("masq_") || c.startsWith("hairpin_"))).toEqual([]);
    }
  });

  test("DEL leaves an element that somebody else has under the same key", async () => {
    await using b = await bench();
    b.firewall.apply(everything, B, nobodyLives);
    b.firewall.remove(A, everything);
    b.firewall.verify(everything, B);
  });

  test("DEL with another configuration than ADD had leaves nothing", async () => {
    const contradiction = stateOf(local("1/tcp", 2), local("1/tcp", 3));
    for (const changed of [stateOf(masquerade("10.99.0.9/24")), contradiction]) {
      await using b = await bench();
      b.firewall.apply(everything, A, nobodyLives);
      b.firewall.remove(A, changed);
      expect(await marks(b)).toBe(0);
    }
  });

  test("DEL and prune of nothing succeed and make nothing", async () => {
    await using b = await bench();
    b.firewall.remove(A, everything);
    b.firewall.remove(A);
    b.firewall.prune("heddle-", new Set());
    expect(await listRuleset(b.netns)).toBe("");
  });

  test("prune removes what is not valid, in its own network alone", async () => {
    await using b = await bench();
    const elsewhere = markOf(1, "ffffffffffff");
    b.firewall.apply(stateOf(masquerade("10.99.0.2/24"), local("127.0.0.1:1000/tcp")), A, nobodyLives);
    b.firewall.apply(stateOf(masquerade("10.98.0.2/24"), local("1001/tcp", 3)), B, nobodyLives);
    b.firewall.apply(stateOf(masquerade("10.97.0.2/24")), elsewhere, nobodyLives);
    b.firewall.prune("heddle-portmap-0123456789ab-", new Set([B]));
    const text = await listRuleset(b.netns);
    expect(text).not.toContain(A);
    expect(text).not.toContain("masq_10.99.0.0/24");
    expect(text).not.toContain("127.0.0.1");
    b.firewall.verify(stateOf(masquerade("10.98.0.2/24"), local("1001/tcp", 3)), B);
    b.firewall.verify(stateOf(masquerade("10.97.0.2/24")), elsewhere);
  });

  test("many attachments share a subnet's chain, which goes with the last", async () => {
    await using b = await bench();
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

const taken = (work: () => void): unknown => {
  try {
    work();
  } catch (e) {
    if (isNetError(e, "port/taken")) return e.detail;
    throw e;
  }
  return "not taken";
};

kernel("a host port", () => {
  test.each([
    ["the same address", "127.0.0.1:9090/tcp", "127.0.0.1:9090/tcp"],
    ["every address against every address", "9090/tcp", "0.0.0.0:9090/tcp"],
    ["one address against every address", "9090/tcp", "192.0.2.1:9090/tcp"],
    ["every address against one address", "192.0.2.1:9090/tcp", "0.0.0.0:9090/tcp"],
  ])("of a live owner is refused by name: %s", async (_, first, second) => {
    await using b = await bench();
    b.firewall.apply(stateOf(local(first)), A, nobodyLives);
    const before = await listRuleset(b.netns);
    const detail = taken(() =>
      b.firewall.apply(stateOf(masquerade("10.99.0.3/24"), local(second, 3)), B, allLive),
    );
    expect(detail).toEqual({ port: second, owner: `container behind ${A}` });
    expect(await listRuleset(b.netns)).toBe(before);
  });

  test.each([
    ["the same address", "127.0.0.1:9090/tcp", "127.0.0.1:9090/tcp"],
    ["every address against every address", "9090/tcp", "9090/tcp"],
    ["one address against every address", "9090/tcp", "192.0.2.1:9090/tcp"],
    ["every address against one address", "192.0.2.1:9090/tcp", "9090/tcp"],
  ])("of a dead owner is taken over: %s", async (_, first, second) => {
    await using b = await bench();
    b.firewall.apply(stateOf(local(first)), A, nobodyLives);
    b.firewall.apply(stateOf(local(second, 3)), B, nobodyLives);
    b.firewall.verify(stateOf(local(second, 3)), B);
    expect(await listRuleset(b.netns)).not.toContain(`${A}" : 10.99.0.2 . 80`);
  });

  test("of a dead owner is taken over for one address and for all of them at once", async () => {
    await using b = await bench();
    b.firewall.apply(stateOf(local("9090/tcp")), A, nobodyLives);
    const both = stateOf(local("192.0.2.1:9090/tcp", 3), local("9090/tcp", 3));
    b.firewall.apply(both, B, nobodyLives);
    b.firewall.verify(both, B);
    expect(await marks(b)).toBe(1);
  });

  test.each([
    ["another protocol", "9090/tcp", "9090/udp"],
    ["another port", "9090/tcp", "9091/tcp"],
    ["another address", "192.0.2.1:9090/tcp", "192.0.2.2:9090/tcp"],
  ])("is free beside %s", async (_, first, second) => {
    await using b = await bench();
    b.firewall.apply(stateOf(local(first)), A, nobodyLives);
    b.firewall.apply(stateOf(local(second, 3)), B, allLive);
    b.firewall.verify(stateOf(local(first)), A);
    b.firewall.verify(stateOf(local(second, 3)), B);
  });

  test("is free in the other address family", async () => {
    await using b = await bench();
    b.firewall.apply(stateOf(local("9090/tcp")), A, nobodyLives);
    const six = stateOf(mapping("9090/tcp", "[fd00:99::3]:80", "fd00:99::/64"));
    b.firewall.apply(six, B, allLive);
    b.firewall.verify(six, B);
  });

  test("on one address and on every address go together in one attachment", async () => {
    await using b = await bench();
    const both = stateOf(local("9090/tcp"), mapping("127.0.0.1:9090/tcp", "10.99.0.2:81", SUBNET));
    b.firewall.apply(both, A, allLive);
    b.firewall.apply(both, A, allLive);
    b.firewall.verify(both, A);
  });

  test("that a person put into the map by hand is not taken", async () => {
    await using b = await bench();
    b.firewall.apply(stateOf(local("1/tcp")), A, nobodyLives);
    await b.netns.exec(["nft", "add element inet heddle ports4 { tcp . 9090 : 10.99.0.9 . 80 }"]);
    const detail = taken(() => b.firewall.apply(stateOf(local("9090/tcp")), B, nobodyLives));
    expect(detail).toEqual({ port: "0.0.0.0:9090/tcp", owner: "an element without an owner" });
  });

  test("that is mapped twice to different places in one configuration is refused", async () => {
    await using b = await bench();
    const twice = stateOf(local("9090/tcp", 2), local("9090/tcp", 3));
    expect(() => b.firewall.apply(twice, A, nobodyLives)).toThrow(
      "host port 0.0.0.0:9090/tcp is mapped twice",
    );
    const mixed = stateOf(mapping("[fd00::1]:9090/tcp", "10.99.0.2:80", SUBNET));
    expect(() => b.firewall.apply(mixed, A, nobodyLives)).toThrow("different families");
  });

  test("is won by one of many processes that want it at the same moment", async () => {
    await using netns = await testNetns();
    using folder = tempDir("race");
    const wishes = ["9090/tcp", "127.0.0.1:9090/tcp", "192.0.2.1:9090/tcp", "9090/tcp"];
    const script = (host: string, n: number): string => `
      import { mapping, markOf, stateOf, allLive } from ${JSON.stringify(`${import.meta.dir}/../testing/nftables.ts`)};
      import { openNftables } from ${JSON.stringify(`${import.meta.dir}/nftables.ts`)};
      using firewall = openNftables({ lockDir: ${JSON.stringify(folder.path)} });
      try {
        firewall.apply(stateOf(mapping("${host}", "10.99.0.${n}:80", "10.99.0.0/24")), markOf(${n}), allLive);
        process.stdout.write("won");
      } catch (e) { process.stdout.write(e.code); }`;
    const outcomes = await Promise.all(
      wishes.map((host, i) => netns.exec([process.execPath, "-e", script(host, i + 2)])),
    );
    const words = outcomes.map((o) => o.stdout);
    // Two different addresses may both win; a wildcard wins alone.
    const winners = wishes.filter((_, i) => words[i] === "won");
    expect(words.every((w) => w === "won" || w === "port/taken")).toBe(true);
    if (winners.includes("9090/tcp")) expect(winners).toHaveLength(1);
    else expect(winners).toHaveLength(2);
    const text = await listRuleset(netns);
    expect(text.split("jump hostports")).toHaveLength(3);
    expect(text.split("dnat ip to meta l4proto")).toHaveLength(2);
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
    await using b = await bench();
    b.firewall.apply(everything, A, nobodyLives);
    b.firewall.verify(everything, A);
    await b.netns.exec(["nft", "-f", "-"], { stdin: `${commands.join("\n")}\n` });
    expect(() => b.firewall.verify(everything, A)).toThrow("want");
  });
});

kernel("after others changed the rule set", () => {
  test.each([
    ["flush ruleset", "everything is gone"],
    ["flush table inet heddle", "the rules are gone and the maps are full"],
    ["delete table inet heddle", "one table is gone"],
  ])("'nft %s': the next ADD mends the layout for all", async (command) => {
    await using b = await bench();
    b.firewall.apply(everything, A, nobodyLives);
    await b.netns.exec(["nft", command]);
    b.firewall.apply(stateOf(masquerade("10.99.0.3/24"), local("9091/tcp", 3)), B, allLive);
    b.firewall.apply(everything, A, allLive);
    b.firewall.verify(everything, A);
    b.firewall.verify(stateOf(masquerade("10.99.0.3/24"), local("9091/tcp", 3)), B);
    const text = await listRuleset(b.netns);
    expect(text.split("ip saddr vmap @masquerade4")).toHaveLength(2);
    expect(text.split("ip daddr != 10.99.0.0/24 masquerade")).toHaveLength(2);
  });

  test("a table of another layout is refused and left alone", async () => {
    await using b = await bench();
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
    await using b = await bench();
    const state = stateOf(local("9090/tcp"));
    b.firewall.apply(state, A, nobodyLives);
    // While the owner is asked for, the mapping that is in the way goes: deleting it again fails, and nothing is lost.
    b.firewall.apply(stateOf(local("9090/tcp", 3)), B, () => {
      const element = { key: [6, 9090] };
      if (findElement(b.socket, inetTable, sets4.wildcard, element.key))
        commit(b.socket, [deleteElements(inetTable, sets4.wildcard, [element])]);
      return undefined;
    });
    b.firewall.verify(stateOf(local("9090/tcp", 3)), B);
  });

  test("an address that a live attachment has is refused by name", async () => {
    await using b = await bench();
    b.firewall.apply(stateOf(masquerade("10.99.0.2/24")), A, nobodyLives);
    expect(() => b.firewall.apply(stateOf(masquerade("10.99.0.2/24")), B, allLive)).toThrow(
      `container behind ${A}`,
    );
  });

  test("our tables can be taken away as a whole", async () => {
    await using b = await bench();
    b.firewall.apply(everything, A, nobodyLives);
    commit(b.socket, [deleteTable(inetTable), deleteTable(bridgeTable)]);
    expect(await listRuleset(b.netns)).toBe("");
    b.firewall.remove(A, everything);
  });
});
