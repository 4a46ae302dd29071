import { expect, test } from "bun:test";
import { makeAttempts } from "./attempts.ts";

function clocked() {
  let time = 1000;
  const attempts = makeAttempts(() => time);
  return { attempts, pass: (ms: number) => void (time += ms) };
}

test("what fails is tried again after 1 s, then half as often, and at last every 30 s", () => {
  const { attempts, pass } = clocked();
  const waits = Array.from({ length: 7 }, () => {
    attempts.failed("route a");
    expect([attempts.may("route a"), attempts.may("route b")]).toEqual([false, true]);
    const wait = attempts.wait() ?? 0;
    pass(wait);
    expect([attempts.may("route a"), attempts.wait()]).toEqual([true, undefined]);
    return wait;
  });
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("a success takes back the wait, and so does another wish", () => {
  const { attempts } = clocked();
  for (const over of [() => attempts.succeeded("a"), () => attempts.forget((name) => name === "a")]) {
    attempts.failed("a");
    attempts.failed("a");
    over();
    expect(attempts.may("a")).toBeTrue();
    attempts.failed("a");
    expect(attempts.wait()).toBe(1000);
    attempts.succeeded("a");
  }
});

test("what was held is due once", () => {
  const { attempts, pass } = clocked();
  attempts.failed("link a");
  expect(attempts.takeDue(() => true)).toBeFalse();
  pass(1000);
  expect(attempts.takeDue((name) => name.startsWith("route"))).toBeFalse();
  expect([attempts.takeDue(() => true), attempts.takeDue(() => true)]).toEqual([true, false]);
});

test("when something changed, what failed is tried at once, and a fight is not", () => {
  const { attempts } = clocked();
  expect(attempts.again()).toBeFalse();
  attempts.failed("a");
  attempts.failed("a");
  for (let i = 0; i < 6; i++) attempts.repaired("b");
  expect(attempts.again()).toBeTrue();
  expect([attempts.may("a"), attempts.may("b")]).toEqual([true, false]);
  expect(attempts.again()).toBeFalse();
});

test("five repairs in a minute are done at once, the sixth begins a fight that slows down", () => {
  const { attempts, pass } = clocked();
  for (let i = 0; i < 5; i++) {
    attempts.repaired("route a");
    pass(1000);
    expect(attempts.may("route a")).toBeTrue();
  }
  expect(attempts.fights()).toEqual([]);
  const waits = Array.from({ length: 8 }, () => {
    attempts.repaired("route a");
    // That it is right for a moment ends nothing.
    attempts.succeeded("route a");
    const wait = attempts.wait() ?? 0;
    pass(wait);
    return wait;
  });
  expect(waits.slice(0, 5)).toEqual([1000, 2000, 4000, 8000, 16_000]);
  expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
});

test("a fight is told with its repairs, and over when a minute brought five or fewer", () => {
  const { attempts, pass } = clocked();
  for (let i = 0; i < 6; i++) attempts.repaired("route 10.1.2.0/24");
  expect(attempts.fights()).toEqual([{ name: "route 10.1.2.0/24", repairs: 6 }]);
  pass(60_001);
  expect(attempts.fights()).toEqual([]);
  attempts.repaired("route 10.1.2.0/24");
  expect(attempts.may("route 10.1.2.0/24")).toBeTrue();
});
