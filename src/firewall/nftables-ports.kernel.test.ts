import { expect, test } from "bun:test";
import { isNetError } from "../errors.ts";
import { describeWith } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import {
  allLive,
  listRuleset,
  mapping,
  markOf,
  masquerade,
  nftablesBench,
  type NftablesBench,
  nobodyLives,
  sameContainer,
  stateOf,
} from "../testing/nftables.ts";
import { tempDir } from "../testing/temp-dir.ts";

/** Who gets a host port, by nftables: one live owner, whatever the others do at the same moment. */
const kernel = describeWith({ root: true, programs: ["ip", "nft"] });

const [A, B] = [markOf(1), markOf(2)];
const SUBNET = "10.99.0.0/24";
const local = (host: string, container = 2) => mapping(host, `10.99.0.${container}:80`, SUBNET);
const marks = async (b: NftablesBench): Promise<number> => (await listRuleset(b.netns)).split(A).length - 1;

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
    await using b = await nftablesBench();
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
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(local(first)), A, nobodyLives);
    b.firewall.apply(stateOf(local(second, 3)), B, nobodyLives);
    b.firewall.verify(stateOf(local(second, 3)), B, nobodyLives);
    expect(await listRuleset(b.netns)).not.toContain(`${A}" : 10.99.0.2 . 80`);
  });

  test("of a dead owner is taken over for one address and for all of them at once", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(local("9090/tcp")), A, nobodyLives);
    const both = stateOf(local("192.0.2.1:9090/tcp", 3), local("9090/tcp", 3));
    b.firewall.apply(both, B, nobodyLives);
    b.firewall.verify(both, B, nobodyLives);
    expect(await marks(b)).toBe(1);
  });

  test.each([
    ["another protocol", "9090/tcp", "9090/udp"],
    ["another port", "9090/tcp", "9091/tcp"],
    ["another address", "192.0.2.1:9090/tcp", "192.0.2.2:9090/tcp"],
  ])("is free beside %s", async (_, first, second) => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(local(first)), A, nobodyLives);
    b.firewall.apply(stateOf(local(second, 3)), B, allLive);
    b.firewall.verify(stateOf(local(first)), A, nobodyLives);
    b.firewall.verify(stateOf(local(second, 3)), B, nobodyLives);
  });

  test("is free in the other address family", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(local("9090/tcp")), A, nobodyLives);
    const six = stateOf(mapping("9090/tcp", "[fd00:99::3]:80", "fd00:99::/64"));
    b.firewall.apply(six, B, allLive);
    b.firewall.verify(six, B, nobodyLives);
  });

  test("on one address and on every address go together in one attachment", async () => {
    await using b = await nftablesBench();
    const both = stateOf(local("9090/tcp"), mapping("127.0.0.1:9090/tcp", "10.99.0.2:81", SUBNET));
    b.firewall.apply(both, A, allLive);
    b.firewall.apply(both, A, allLive);
    b.firewall.verify(both, A, nobodyLives);
  });

  test("of the same container in another network stays with the first, and is the second's once it goes", async () => {
    await using b = await nftablesBench();
    const first = stateOf(local("9090/tcp", 2), local("127.0.0.1:9091/tcp", 2));
    const second = stateOf(local("9090/tcp", 3), local("127.0.0.1:9091/tcp", 3), local("9092/tcp", 3));
    expect(b.firewall.apply(first, A, sameContainer)).toEqual([]);
    expect(b.firewall.apply(second, B, sameContainer)).toEqual([A]);
    expect(b.firewall.apply(second, B, sameContainer)).toEqual([A]);
    b.firewall.verify(first, A, sameContainer);
    b.firewall.verify(second, B, sameContainer);
    expect(() => b.firewall.verify(second, B, allLive)).toThrow("host port 0.0.0.0:9090/tcp");
    b.firewall.remove(A, first);
    expect(b.firewall.apply(second, B, sameContainer)).toEqual([]);
    b.firewall.verify(second, B, nobodyLives);
    b.firewall.remove(B, second);
    expect(await marks(b)).toBe(0);
    expect(await listRuleset(b.netns)).not.toContain(B);
  });

  test("of one address and of every address stand side by side for the same container", async () => {
    await using b = await nftablesBench();
    const first = stateOf(local("127.0.0.1:9090/tcp", 2));
    const second = stateOf(local("9090/tcp", 3));
    expect(b.firewall.apply(first, A, sameContainer)).toEqual([]);
    expect(b.firewall.apply(second, B, sameContainer)).toEqual([]);
    b.firewall.verify(first, A, nobodyLives);
    b.firewall.verify(second, B, nobodyLives);
  });

  test("that a person put into the map by hand is not taken", async () => {
    await using b = await nftablesBench();
    b.firewall.apply(stateOf(local("1/tcp")), A, nobodyLives);
    await b.netns.exec(["nft", "add element inet heddle ports4 { tcp . 9090 : 10.99.0.9 . 80 }"]);
    const detail = taken(() => b.firewall.apply(stateOf(local("9090/tcp")), B, nobodyLives));
    expect(detail).toEqual({ port: "0.0.0.0:9090/tcp", owner: "an element without an owner" });
  });

  test("that is mapped twice to different places in one configuration is refused", async () => {
    await using b = await nftablesBench();
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
