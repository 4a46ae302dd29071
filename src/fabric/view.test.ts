import { describe, expect, test } from "bun:test";
import { fabricNode, numbered, numberedNetwork, publics, subnets } from "../testing/fabric.ts";
import type { FabricNode, UnreadableNode } from "./model.ts";
import { viewOf } from "./view.ts";

const network = subnets({ v4: "10.0.0.0/8", v6: "fd00:10::/32" });
const self = fabricNode("m", { v4: "10.0.1.0/24", at4: "192.0.2.1", v6: "fd00:10:1::/64" });

const look = (
  nodes: readonly (FabricNode | UnreadableNode)[],
  options: { self?: FabricNode; publics?: "distinct" | "shared" } = {},
) => {
  const own = options.self ?? self;
  const { view, troubles } = viewOf({ network, self: own, nodes, publics: options.publics ?? "distinct" });
  return {
    peers: view.peers.map(({ id, subnets: { v4, v6 } }) =>
      [id, v4?.text, v6?.text].filter((x) => x).join(" "),
    ),
    troubles: troubles.map(({ code, node, why }) => `${node}: ${code}: ${why}`),
    view,
  };
};

describe("what each node says by itself", () => {
  test("is taken as it is if it is good, and this host is no peer of its own", () => {
    const a = fabricNode("a", { v4: "10.0.2.0/24", at4: "192.0.2.2" });
    const { view, troubles } = look([self, a]);
    expect(view.peers).toEqual([a]);
    expect(view.peers[0]).toBe(a);
    expect(view.self).toBe(self);
    expect(troubles).toEqual([]);
  });

  const odd: readonly (readonly [string, FabricNode | UnreadableNode, string])[] = [
    ["cannot be read", { id: "x", why: "its value is no JSON" }, "node-malformed: its value is no JSON"],
    ["has no subnet", fabricNode("x", { at4: "192.0.2.2" }), "node-malformed: it has no subnet"],
    [
      "has a subnet with host bits",
      fabricNode("x", { v4: "10.0.2.5/24" }),
      "node-malformed: its subnet 10.0.2.5/24 has host bits",
    ],
    [
      "has a subnet with host bits inside of a byte",
      fabricNode("x", { v6: "fd00:10:2:f::/60" }),
      "node-malformed: its subnet fd00:10:2:f::/60 has host bits",
    ],
    [
      "confuses the families of subnets",
      { ...self, id: "x", subnets: { v4: subnets({ v6: "fd00:10:9::/64" }).v6 as never } },
      "node-malformed: its IPv4 subnet is fd00:10:9::/64",
    ],
    [
      "confuses the families of addresses",
      { ...self, id: "x", publics: { v6: publics({ at4: "192.0.2.9" }).v4 as never } },
      "node-malformed: its public IPv6 address is 192.0.2.9",
    ],
    ...["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"].map(
      (at4) =>
        [
          `is at ${at4}`,
          fabricNode("x", { v4: "10.0.2.0/24", at4 }),
          `node-malformed: its public address ${at4} is not that of one host`,
        ] as const,
    ),
    [
      "is said to be in its own subnet",
      fabricNode("x", { v4: "10.0.2.0/24", at4: "10.0.2.7" }),
      "node-malformed: its public address 10.0.2.7 is in its own subnet 10.0.2.0/24",
    ],
    [
      "is said to be in its own IPv6 subnet",
      fabricNode("x", { v6: "fd00:10:2::/64", at6: "fd00:10:2::1" }),
      "node-malformed: its public address fd00:10:2::1 is in its own subnet fd00:10:2::/64",
    ],
    [
      "is outside of the network",
      fabricNode("x", { v4: "11.0.2.0/24" }),
      "subnet-outside: 11.0.2.0/24 is not in the network 10.0.0.0/8",
    ],
    [
      "takes more than the network",
      fabricNode("x", { v4: "8.0.0.0/6" }),
      "subnet-outside: 8.0.0.0/6 is not in the network 10.0.0.0/8",
    ],
  ];
  test.each(odd)("leaves out one that %s", (_, node, why) => {
    const good = fabricNode("good", { v4: "10.0.3.0/24", at4: "192.0.2.3" });
    expect(look([node, good])).toMatchObject({ peers: ["good 10.0.3.0/24"], troubles: [`x: ${why}`] });
  });

  test("loses only the family that is not the network's", () => {
    const only4 = subnets({ v4: "10.0.0.0/8" });
    const both = fabricNode("b", { v4: "10.0.2.0/24", v6: "fd00:10:2::/64" });
    const { view, troubles } = viewOf({ network: only4, self, nodes: [both], publics: "distinct" });
    expect(view.peers).toEqual([{ ...both, subnets: subnets({ v4: "10.0.2.0/24" }) }]);
    expect(troubles.map((t) => t.why)).toEqual(["fd00:10:2::/64: the network has no IPv6"]);
  });
});

describe("subnets that overlap", () => {
  test("of all nodes with the whole network leave out that one alone", () => {
    const [wide, n, o] = [node("0", "10.0.0.0/8"), node("n", "10.0.2.0/24"), node("o", "10.0.3.0/24")];
    const seen = (nodes: readonly FabricNode[]): readonly string[] => {
      const { peers, troubles } = look(nodes);
      return [...peers, ...troubles];
    };
    const wrong = "0: subnet-overlap: its subnet 10.0.0.0/8 overlaps with";
    expect(seen([wide, n, o])).toEqual(["n 10.0.2.0/24", "o 10.0.3.0/24", `${wrong} 10.0.3.0/24 of o`]);
    expect(seen([wide, n])).toEqual(["n 10.0.2.0/24", `${wrong} 10.0.2.0/24 of n`]);
    expect(seen([wide])).toEqual([`${wrong} 10.0.1.0/24 of m`]);
  });

  const node = (id: string, v4: string, v6?: string): FabricNode =>
    fabricNode(id, { v4, ...(v6 === undefined ? {} : { v6 }) });
  const shuffles = <T>([a, b, c]: readonly [T, T, T]): T[][] => [
    [a, b, c],
    [a, c, b],
    [b, a, c],
    [b, c, a],
    [c, a, b],
    [c, b, a],
  ];

  test("stay with the node whose id comes first, in whatever order they were heard of", () => {
    const nodes = [node("a", "10.0.2.0/24"), node("b", "10.0.2.0/25"), node("c", "10.0.2.128/25")] as const;
    for (const order of shuffles(nodes)) {
      const { peers, troubles } = look([...order, node("d", "10.0.4.0/24")]);
      expect(peers).toEqual(["a 10.0.2.0/24", "d 10.0.4.0/24"]);
      expect(troubles.toSorted()).toEqual([
        "b: subnet-overlap: its subnet 10.0.2.0/25 overlaps with 10.0.2.0/24 of a",
        "c: subnet-overlap: its subnet 10.0.2.128/25 overlaps with 10.0.2.0/24 of a",
      ]);
    }
  });

  test("count only against nodes that stay themselves", () => {
    const nodes = [node("a", "10.0.2.0/25"), node("b", "10.0.2.0/24"), node("c", "10.0.2.128/25")] as const;
    for (const order of shuffles(nodes))
      expect(look(order).peers.toSorted()).toEqual(["a 10.0.2.0/25", "c 10.0.2.128/25"]);
  });

  test("in one family leave the other alone", () => {
    const { peers, troubles } = look([
      node("a", "10.0.2.0/24", "fd00:10:2::/64"),
      node("b", "10.0.3.0/24", "fd00:10:2::/64"),
    ]);
    expect(peers).toEqual(["a 10.0.2.0/24 fd00:10:2::/64", "b 10.0.3.0/24"]);
    expect(troubles).toEqual(["b: subnet-overlap: its subnet fd00:10:2::/64 is also that of a"]);
  });

  test("with this host's are never a peer's here", () => {
    expect(look([node("z", "10.0.0.0/16")])).toMatchObject({
      peers: [],
      troubles: ["z: subnet-overlap: its subnet 10.0.0.0/16 overlaps with 10.0.1.0/24 of m"],
    });
  });

  test("that others give to somebody else are told of this host too", () => {
    const { peers, troubles } = look([node("a", "10.0.1.0/24"), node("b", "10.0.2.0/24")]);
    expect(peers).toEqual(["b 10.0.2.0/24"]);
    expect(troubles).toEqual([
      "m: subnet-overlap: its subnet 10.0.1.0/24 is also that of a",
      "a: subnet-overlap: its subnet 10.0.1.0/24 is also that of m",
    ]);
  });
});

describe("a public address of two nodes", () => {
  const a = fabricNode("a", { v4: "10.0.2.0/24", at4: "192.0.2.2" });
  const b = fabricNode("b", { v4: "10.0.3.0/24", at4: "192.0.2.2" });
  const mine = fabricNode("z", { v4: "10.0.4.0/24", at4: "192.0.2.1" });

  test("is told, and leaves both where they are: one of them may be gone", () => {
    const troubles = ["b: public-address-twice: its public address 192.0.2.2 is also that of a"];
    expect(look([a, b])).toMatchObject({ peers: ["a 10.0.2.0/24", "b 10.0.3.0/24"], troubles });
    expect(look([b, a])).toMatchObject({ peers: ["b 10.0.3.0/24", "a 10.0.2.0/24"], troubles });
  });

  test("is no peer's if it is this host's", () => {
    expect(look([mine, a])).toMatchObject({
      peers: ["a 10.0.2.0/24"],
      troubles: ["z: public-address-own: its public address 192.0.2.1 is also that of m"],
    });
  });

  test("is fine where a translation stands before several hosts", () => {
    expect(look([b, a, mine], { publics: "shared" })).toMatchObject({
      peers: ["b 10.0.3.0/24", "a 10.0.2.0/24", "z 10.0.4.0/24"],
      troubles: [],
    });
  });
});

describe("a network that holds the hosts' own addresses", () => {
  const inside = fabricNode("m", { v4: "10.0.1.0/24", at4: "10.1.0.1" });
  const b = fabricNode("b", { v4: "10.0.2.0/24", at4: "10.1.0.2" });

  test("is as good as any if no subnet has one of them", () => {
    expect(look([b], { self: inside })).toMatchObject({ peers: ["b 10.0.2.0/24"], troubles: [] });
  });

  test("leaves out a subnet that has one of another node or of this host", () => {
    const wide = fabricNode("x", { v4: "10.1.0.0/24", at4: "192.0.2.7" });
    expect(look([b, wide], { self: inside })).toMatchObject({
      peers: ["b 10.0.2.0/24"],
      troubles: ["x: subnet-overlap: its subnet 10.1.0.0/24 holds 10.1.0.2, the public address of b"],
    });
    expect(look([wide], { self: inside })).toMatchObject({
      peers: [],
      troubles: ["x: subnet-overlap: its subnet 10.1.0.0/24 holds 10.1.0.1, the public address of m"],
    });
  });

  test("leaves out a node whose address is in the subnet of one before it, whatever the lengths are", () => {
    const thief = fabricNode("x", { v4: "10.3.0.0/16", at4: "10.0.2.9" });
    expect(look([thief, b], { self: inside })).toMatchObject({
      peers: ["b 10.0.2.0/24"],
      troubles: ["x: subnet-overlap: its public address 10.0.2.9 is in 10.0.2.0/24, the subnet of b"],
    });
    const own = fabricNode("a", { v4: "10.4.0.0/24", at4: "10.0.1.9" });
    expect(look([own], { self: inside }).peers).toEqual([]);
  });

  test("keeps what such a node has of the other family", () => {
    const wide = fabricNode("x", { v4: "10.1.0.0/24", v6: "fd00:10:9::/64", at4: "192.0.2.7" });
    expect(look([b, wide], { self: inside }).peers).toEqual(["b 10.0.2.0/24", "x fd00:10:9::/64"]);
  });
});

test("five thousand nodes are looked through, and each is the object that was given", () => {
  const nodes = Array.from({ length: 5000 }, (_, i) => numbered(i + 2, [4, 6]));
  const { view, troubles } = viewOf({
    network: numberedNetwork,
    self: numbered(1, [4, 6]),
    nodes,
    publics: "distinct",
  });
  expect(view.peers.length).toBe(5000);
  expect(view.peers.every((peer, i) => peer === nodes[i])).toBeTrue();
  expect(troubles).toEqual([]);
});

describe("a cluster that is much like the last one", () => {
  const own = numbered(1, [4, 6]);
  const nodes = Array.from({ length: 300 }, (_, i) => numbered(i + 2, [4, 6]));
  const seen = (list: readonly (FabricNode | UnreadableNode)[], by = own) =>
    viewOf({ network: numberedNetwork, self: by, nodes: list, publics: "distinct" });
  /** The same answer as of one who never saw the first. */
  const same = (list: readonly (FabricNode | UnreadableNode)[], by = own): void => {
    seen(nodes);
    const quick = seen(list, by);
    seen([{ id: "x", why: "it cannot be read" }]);
    expect(quick).toEqual(seen(list, by));
  };
  const more = numbered(999, [4, 6]);
  const at = (n: number): FabricNode => nodes[n] as FabricNode;

  test.each<[string, readonly (FabricNode | UnreadableNode)[]]>([
    ["with one more", [...nodes, more]],
    ["with one less", nodes.toSpliced(7, 1)],
    ["with this host in it", [...nodes, own]],
    ["in another order", nodes.toReversed()],
    ["where one has what another one had", [...nodes.toSpliced(7, 1), { ...more, subnets: at(7).subnets }]],
    ["where one has what another one has", [...nodes, { ...more, subnets: at(7).subnets }]],
    ["where one is at the address of another one", [...nodes, { ...more, publics: at(7).publics }]],
    ["where one is at the address of this host", [...nodes, { ...more, publics: own.publics }]],
    ["where one has a smaller subnet", [...nodes, { ...more, subnets: subnets({ v4: "10.129.9.0/25" }) }]],
    ["where one is outside", [...nodes, { ...more, subnets: subnets({ v4: "10.9.9.0/24" }) }]],
    [
      "where one is at an address of the network",
      [...nodes, { ...more, publics: publics({ at4: "10.128.3.3" }) }],
    ],
    ["where one cannot be read", [...nodes, { id: "bad", why: "it is no JSON" }]],
    ["with none", []],
  ])("%s is seen as it would be alone", (_, list) => {
    same(list);
  });

  test("is seen as it would be alone by a host that has another subnet now", () => {
    same([...nodes, more], { ...own, subnets: at(3).subnets });
  });

  test("is right again after what contradicted is gone", () => {
    const twin = { ...more, subnets: at(7).subnets };
    seen(nodes);
    expect(seen([...nodes, twin]).troubles).not.toEqual([]);
    expect(seen([...nodes, more])).toEqual({
      view: { network: numberedNetwork, self: own, peers: [...nodes, more] },
      troubles: [],
    });
    expect(seen(nodes).troubles).toEqual([]);
  });
});
