import { expect, test } from "bun:test";
import { keepListening } from "./listening.ts";

/** Something to listen to whose fate is told here: each opening takes the next of `fates`, the last one lasts. */
function source(...fates: readonly ("refused" | "ends" | "lasts" | "nothing")[]) {
  const told: string[] = [];
  const pauses: number[] = [];
  const counts = { opened: 0, closed: 0 };
  const all = Promise.withResolvers<void>();
  const listening = keepListening({
    open: async (over) => {
      const fate = fates[counts.opened++] ?? "lasts";
      if (counts.opened === fates.length) all.resolve();
      if (fate === "refused") throw new Error("EMFILE");
      if (fate === "nothing") return undefined;
      if (fate === "ends") queueMicrotask(() => over(new Error("lost")));
      return { [Symbol.asyncDispose]: async () => void counts.closed++ };
    },
    tell: (why) => void told.push(why === undefined ? "heard" : (why as Error).message),
    pauseMs: (failures) => (pauses.push(failures), 1),
  });
  return { listening, told, pauses, counts, all: all.promise };
}

test("what fails is listened to again, after longer and longer pauses, and told each time", async () => {
  const { listening, told, pauses, counts, all } = source("ends", "refused", "ends", "lasts");
  await all;
  while (told.at(-1) !== "heard") await Bun.sleep(1);
  expect(told).toEqual(["heard", "lost", "EMFILE", "heard", "lost", "heard"]);
  expect(pauses).toEqual([1, 2, 3]);
  expect(counts).toEqual({ opened: 4, closed: 2 });
  await listening[Symbol.asyncDispose]();
  expect(counts.closed).toBe(3);
});

test("where there is nothing to hear nobody listens, and nothing is told", async () => {
  const { listening, told, counts, all } = source("nothing");
  await all;
  await listening[Symbol.asyncDispose]();
  expect([told, counts.opened]).toEqual([[], 1]);
});

test("who ends while it waits for the next try ends at once", async () => {
  const told: string[] = [];
  const failed = Promise.withResolvers<void>();
  const listening = keepListening({
    open: () => Promise.reject(new Error("EMFILE")),
    tell: () => (told.push("failed"), failed.resolve()),
    pauseMs: () => 1_000_000,
  });
  await failed.promise;
  await listening[Symbol.asyncDispose]();
  expect(told).toEqual(["failed"]);
});
