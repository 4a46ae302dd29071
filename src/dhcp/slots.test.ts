import { expect, test } from "bun:test";
import { makeSlots } from "./slots.ts";

test("at most so many run at a time, in the order in which they came", async () => {
  const slots = makeSlots(2);
  const began: number[] = [];
  let running = 0;
  let most = 0;
  const gates = Array.from({ length: 6 }, () => Promise.withResolvers<void>());
  const all = gates.map((gate, i) =>
    slots.run(async () => {
      began.push(i);
      most = Math.max(most, ++running);
      await gate.promise;
      running--;
    }),
  );
  for (const gate of gates) {
    gate.resolve();
    await Promise.resolve();
  }
  await Promise.all(all);
  expect([began, most]).toEqual([[0, 1, 2, 3, 4, 5], 2]);
});

test("who gives up while waiting takes no place, and a failure frees one", async () => {
  const slots = makeSlots(1);
  const gate = Promise.withResolvers<void>();
  const first = slots.run(() => gate.promise);
  const abort = new AbortController();
  const second = slots.run(async () => "second", abort.signal);
  const third = slots.run(async () => {
    throw new Error("third");
  });
  const fourth = slots.run(async () => "fourth");
  abort.abort(new Error("gave up"));
  expect(second).rejects.toThrow("gave up");
  gate.resolve();
  await first;
  expect(third).rejects.toThrow("third");
  expect(await fourth).toBe("fourth");
  expect(slots.run(async () => "x", abort.signal)).rejects.toThrow("gave up");
});
