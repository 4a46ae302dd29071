/**
 * The runner against a host that refuses what is there twice or not at all, as a kernel does, with commands that fail before or
 * after they have done their work, and agents that are killed at any moment: in the end everything is as it was wished.
 */
import { expect, test } from "bun:test";
import {
  type CommandPeer,
  type CommandWish,
  readCommands,
  valuesOf,
  wishOf,
} from "../../fabric/commands/wish.ts";
import { publics, subnets } from "../../testing/fabric.ts";
import { diceOf, seed } from "../../testing/seed.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import type { CommandRun, Ran } from "./run-command.ts";
import { openCommandRunner } from "./runner.ts";

const whole = subnets({ v4: "10.244.0.0/16" });
const host = valuesOf(whole, {}, publics({ at4: "192.0.2.1" }));
const ownOf = (n: number) =>
  valuesOf(whole, subnets({ v4: `10.244.${n}.0/24` }), publics({ at4: `192.0.2.${n}` }));
const sets = ["one", "two"].map((word) =>
  readCommands(
    {
      PreStartupCommand: `make ${word}`,
      PostStartupCommand: "start $SUBNET",
      ShutdownCommand: `destroy ${word}`,
      SubnetAddCommand: "add $SUBNET",
      SubnetRemoveCommand: "del $SUBNET",
    },
    (_, why) => {
      throw new Error(why);
    },
  ),
);

class Killed extends Error {}

/** A host with one device and routes over it. */
function hostOf(dice: (below: number) => number) {
  const state = { device: "", made: 0, own: "", routes: new Map<string, string>() };
  /** How often a line failed in a row for no reason. */
  const failures = new Map<string, number>();
  const refuse = (why: string): Ran => ({ ok: false, why });
  const done = (stdout = ""): Ran => ({ ok: true, stdout });
  const perform = ({ argv: [verb, word = ""], stdin }: CommandRun): Ran => {
    if (verb === "make") {
      if (state.device !== "") return refuse("the device exists");
      state.device = `${word} ${++state.made}`;
      return done(state.device);
    }
    if (verb === "start") {
      state.own = word;
      return state.device === "" ? refuse("no device") : done();
    }
    if (verb === "destroy") {
      if (state.device.split(" ")[0] !== word) return refuse("no such device");
      [state.device, state.own] = ["", ""];
      state.routes.clear();
      return done();
    }
    if (verb === "del") return state.routes.delete(word) ? done() : refuse("no such route");
    if (state.own === "") return refuse("the device is down");
    if (state.routes.has(word)) return refuse("the route exists");
    state.routes.set(word, stdin.trim());
    return done();
  };
  return {
    state,
    calm: false,
    run(this: { readonly calm: boolean }, run: CommandRun): Promise<Ran> {
      const line = run.argv.join(" ");
      const before = failures.get(line) ?? 0;
      // What cannot be taken away three times is given up.
      const luck = this.calm || before === 2 ? 9 : dice(20);
      const kill = (): Promise<Ran> => Promise.reject(new Killed());
      failures.set(line, luck < 2 ? before + 1 : 0);
      if (luck === 0) return Promise.resolve(refuse("before"));
      if (luck === 2) return kill();
      const ran = perform(run);
      if (luck === 3) return kill();
      return Promise.resolve(luck === 1 ? refuse("after") : ran);
    },
  };
}

test(`whatever fails, commands bring about what is wished in the end (HEDDLE_SEED=${seed})`, async () => {
  for (let round = 0; round < 20; round++) {
    const dice = diceOf(seed, round);
    using dir = tempDir("commands");
    const there = hostOf(dice);
    let clock = 0;
    const open = () =>
      openCommandRunner({
        dir: dir.in("record"),
        heard: () => {},
        run: (run) => there.run(run),
        now: () => clock,
      });
    let runner = open();
    const settle = async (wish: CommandWish | undefined): Promise<string | undefined> => {
      for (let tries = 0; tries < 200; tries++) {
        try {
          const { said, retryInMs, more } = await runner.bring(wish);
          if (retryInMs === undefined && !more) return said;
          clock += retryInMs ?? 0;
          // Another wish comes in between.
          if (dice(8) === 0 && !there.calm) return undefined;
        } catch (e) {
          if (!(e instanceof Killed)) throw e;
          runner = open();
        }
      }
      throw new Error("it does not come to an end");
    };
    const drawPeers = (): readonly CommandPeer[] => {
      // Subnets may change hands.
      const other = dice(2);
      return Array.from({ length: 6 }, (_, n) => n + 10)
        .filter(() => dice(2) === 0)
        .map((n) => ({ id: `host${n + other}`, values: ownOf(n), data: `data ${dice(2)}` }));
    };
    const drawWish = (): CommandWish | undefined => {
      const set = sets[dice(10) === 0 ? 1 : 0] ?? {};
      if (dice(12) === 0) return undefined;
      return wishOf(
        set,
        host,
        dice(8) === 0 ? undefined : { values: ownOf(dice(8) === 0 ? 2 : 1), peers: drawPeers() },
      );
    };
    for (let change = 0; change < 12; change++) {
      await settle(drawWish());
      if (dice(4) === 0) runner = open();
    }
    there.calm = true;
    const peers = drawPeers();
    const said = await settle(wishOf(sets[0] ?? {}, host, { values: ownOf(1), peers }));
    expect(Object.fromEntries(there.state.routes)).toEqual(
      Object.fromEntries(peers.map(({ values, data }) => [values.SUBNET, data])),
    );
    expect([there.state.device, there.state.own]).toEqual([said ?? "", "10.244.1.0/24"]);
    await settle(undefined);
    expect([there.state.device, there.state.routes.size]).toEqual(["", 0]);
  }
});
