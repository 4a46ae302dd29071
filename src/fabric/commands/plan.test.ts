import { describe, expect, test } from "bun:test";
import { subnets } from "../../testing/fabric.ts";
import { type Known, type KnownPeer, nameOfStep, nextSteps, type Prepared, type Step } from "./plan.ts";
import {
  type CommandPeer,
  type CommandWish,
  keyOfPeer,
  readCommands,
  sameWish,
  valuesOf,
  wishOf,
} from "./wish.ts";

const never = (_: string, why: string): never => {
  throw new Error(why);
};
const set = readCommands({ SubnetAddCommand: "add $SUBNET", SubnetRemoveCommand: "del $SUBNET" }, never);
const whole = subnets({ v4: "10.244.0.0/16" });
const host = valuesOf(whole, {}, {});
const ownOf = (n: number) => valuesOf(whole, subnets({ v4: `10.244.${n}.0/24` }), {});
const peer = (n: number, data = "", id = `host${n}`): CommandPeer => ({ id, values: ownOf(n), data });
const wish = (peers: readonly CommandPeer[], n = 1): CommandWish =>
  wishOf(set, host, { values: ownOf(n), peers });
const prepared = (n?: number, state: Prepared["state"] = "prepared"): Prepared => ({
  state,
  set,
  host,
  key: wish([]).key,
  said: "",
  ...(n === undefined ? {} : { own: ownOf(n) }),
});
const known = (peers: readonly CommandPeer[], unsure: readonly CommandPeer[] = []): Known => ({
  prepared: prepared(1),
  peers: new Map([
    ...peers.map((one): [string, KnownPeer] => [keyOfPeer(one), { peer: one, state: "added" }]),
    ...unsure.map((one): [string, KnownPeer] => [keyOfPeer(one), { peer: one, state: "adding" }]),
  ]),
});
const show = (steps: readonly Step[]): readonly string[] =>
  steps.map((step) =>
    step.kind === "add"
      ? `add ${step.peer.id}${step.again ? " again" : ""}`
      : step.kind === "remove"
        ? `remove ${step.peer.id}`
        : step.kind,
  );
const nobody = new Map();

describe("the steps to a wish", () => {
  test("prepare the host, start it when it has a subnet, and add the others", () => {
    const peers = [peer(2), peer(3)];
    expect(show(nextSteps({ peers: nobody }, wishOf(set, host)))).toEqual(["prepare"]);
    expect(show(nextSteps({ peers: nobody, prepared: prepared() }, wishOf(set, host)))).toEqual([]);
    expect(show(nextSteps({ peers: nobody, prepared: prepared() }, wish(peers)))).toEqual(["start"]);
    expect(show(nextSteps(known([]), wish(peers)))).toEqual(["add host2", "add host3"]);
    expect(show(nextSteps(known(peers), wish(peers)))).toEqual([]);
  });

  test("leave everything while nothing is known of the others", () => {
    expect(nextSteps(known([peer(2)]), wishOf(set, host))).toEqual([]);
  });

  test("take away what went before they add what came", () => {
    expect(show(nextSteps(known([peer(2)]), wish([peer(3)])))).toEqual(["remove host2", "add host3"]);
  });

  test.each([
    ["says something else", peer(2, "b")],
    ["has another subnet", peer(3, "", "host2")],
    ["has given its subnet to another host", peer(2, "", "host9")],
  ])("wait until a peer that %s is removed", (_, now) => {
    expect(show(nextSteps(known([peer(2)]), wish([now])))).toEqual(["remove host2"]);
    expect(show(nextSteps(known([]), wish([now])))).toEqual([`add ${now.id}`]);
  });

  test("do again what was begun and did not end", () => {
    expect(show(nextSteps(known([], [peer(2)]), wish([peer(2)])))).toEqual(["add host2 again"]);
    expect(show(nextSteps(known([], [peer(2)]), wish([])))).toEqual(["remove host2"]);
    for (const state of ["preparing", "ending"] as const)
      expect(nextSteps({ peers: nobody, prepared: prepared(undefined, state) }, wish([]))).toMatchObject([
        { kind: "prepare", again: true },
      ]);
    const removing = new Map([[keyOfPeer(peer(2)), { peer: peer(2), state: "removing" }]] as const);
    expect(show(nextSteps({ peers: removing, prepared: prepared(1) }, wish([peer(2)])))).toEqual([
      "add host2 again",
    ]);
  });

  test.each([
    ["nothing is wished", undefined],
    ["the host has another subnet", wish([peer(2)], 7)],
    ["there are other commands", wishOf(readCommands({ SubnetAddCommand: "other" }, never), host)],
    ["the host has another address", wishOf(set, { ...host, PUBLIC_IP: "192.0.2.9" })],
  ])("take down what is there if %s", (_, now) => {
    const steps = nextSteps(known([peer(2), peer(3)], [peer(4)]), now);
    expect(show(steps)).toEqual(["remove host2", "remove host3", "remove host4"]);
    expect(show(nextSteps(known([]), now))).toEqual(["shut-down"]);
    expect(show(nextSteps({ peers: nobody }, now))).toEqual(now === undefined ? [] : ["prepare"]);
  });

  test("have each a name of their own", () => {
    const steps = nextSteps(known([peer(2)]), wish([peer(3), peer(4), peer(5, "x")]));
    expect(new Set(steps.map(nameOfStep)).size).toBe(4);
  });
});

test("two wishes are the same if they say the same of the host and have the same peers", () => {
  const one = peer(2);
  expect(sameWish(wish([one]), wish([one]))).toBe(true);
  expect(sameWish(wish([one]), wish([peer(2, "x")]))).toBe(false);
  expect(sameWish(wish([one]), wish([one], 3))).toBe(false);
  expect(sameWish(wish([one]), wishOf(set, host))).toBe(false);
  expect(sameWish(wishOf(set, host), wishOf(set, host))).toBe(true);
  expect(sameWish(undefined, wish([]))).toBe(false);
  expect(sameWish(undefined, undefined)).toBe(true);
});
