import { describe, expect, test } from "bun:test";
import { COUNTER_BYTES, Counters } from "./counters.ts";
import { answerLimit, Calm, Duty, DUTY_BYTES, Meter, Pressure } from "./duty.ts";

/** After how many rounds it says yes; undefined if it does not. */
const roundsUntil = (note: (round: number) => boolean): number | undefined => {
  for (let round = 1; round <= 1000; round++) if (note(round)) return round;
  return undefined;
};

describe("the device", () => {
  test("is the receiver's at first, and who gives it away wakes the other one", () => {
    const memory = new SharedArrayBuffer(DUTY_BYTES);
    const woken: string[] = [];
    const receiver = new Duty(memory, "receive", () => woken.push("sender"));
    const sender = new Duty(memory, "send", () => woken.push("receiver"));
    expect([receiver.isMine, sender.isMine]).toEqual([true, false]);
    receiver.give();
    expect([receiver.isMine, sender.isMine]).toEqual([false, true]);
    sender.give();
    expect([receiver.isMine, sender.isMine]).toEqual([true, false]);
    expect(woken).toEqual(["sender", "receiver"]);
  });
});

describe("a round", () => {
  test.each([
    ["nothing", 0, 0],
    ["little", 1, 60],
    ["little", 4, 5600],
    ["much", 1, 60_000],
    ["much", 8, 480],
  ] as const)("has moved %s with %d packets of %d bytes", (moved, packets, bytes) => {
    const counters = new Counters(new ArrayBuffer(COUNTER_BYTES));
    counters.add("packets", 1000);
    const meter = new Meter(counters);
    counters.add("packets", packets);
    counters.add("bytes", bytes);
    expect(meter.moved()).toBe(moved);
    expect(meter.moved()).toBe("nothing");
  });
});

test.each(["dropUnknown", "dropMulticast", "dropExpired", "dropMalformed"] as const)(
  "a round in which all was dropped has moved much too: %s",
  (counter) => {
    const counters = new Counters(new ArrayBuffer(COUNTER_BYTES));
    const meter = new Meter(counters);
    counters.add(counter, 100);
    expect(meter.moved()).toBe("much");
  },
);

describe("two share the work", () => {
  const pressure = (isMuch: (round: number) => boolean): number | undefined => {
    const it = new Pressure();
    return roundsUntil((round) => it.note(isMuch(round)));
  };
  test("after a few rounds with much, also with a short answer after each", () => {
    expect(pressure(() => true)).toBe(8);
    expect(pressure((round) => round % 2 === 1)).toBe(29);
  });
  test("never while most rounds have little", () => {
    expect(pressure(() => false)).toBeUndefined();
    expect(pressure((round) => round % 3 === 0)).toBeUndefined();
  });
});

describe("one does both again", () => {
  test("after many rounds with little, and a few with nothing", () => {
    const calm = new Calm();
    expect(roundsUntil(() => calm.note("little", 0))).toBe(65);
    const idle = new Calm();
    expect(roundsUntil(() => idle.note("nothing", 0))).toBe(5);
  });
  test("never while much is sent or received now and then", () => {
    const sends = new Calm();
    expect(roundsUntil((round) => sends.note(round % 60 === 0 ? "much" : "little", 0))).toBeUndefined();
    const receives = new Calm();
    expect(roundsUntil((round) => receives.note("little", Math.floor(round / 60)))).toBeUndefined();
  });
});

test("answers are bounded in time, whichever worker gives them", () => {
  const memory = new SharedArrayBuffer(DUTY_BYTES);
  let time = 1_700_000_000_000;
  const workers = [answerLimit(memory, () => time), answerLimit(memory, () => time)];
  const given = (): number => {
    let count = 0;
    for (let i = 0; i < 200; i++) if (workers[i % 2]?.() === true) count++;
    return count;
  };
  expect(given()).toBe(50);
  time += 100;
  expect(given()).toBe(10);
  time += 60_000;
  expect(given()).toBe(50);
  expect(new Duty(memory, "receive", () => {}).isMine).toBe(true);
});
