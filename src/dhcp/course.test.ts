import { describe, expect, test } from "bun:test";
import { courseOf, dueAt, nextDue } from "./course.ts";
import { FOREVER, type Terms6 } from "./model.ts";

const terms = (leaseSeconds: number, renewSeconds: number, rebindSeconds: number): Terms6 => ({
  family: 6,
  address: "fd00::1/128",
  server: "00",
  nameservers: [],
  search: [],
  leaseSeconds,
  renewSeconds,
  rebindSeconds,
});
const hour = courseOf(terms(3600, 1800, 3150), 0);

describe("the course of a lease", () => {
  test("is renewed at T1, rebound at T2, over at its end, counted from the request", () => {
    const later = courseOf(terms(3600, 1800, 3150), 5000);
    expect(nextDue(later)).toEqual({ action: "renew", atMs: 1_805_000 });
    expect(dueAt(hour, 1_799_999)).toBeUndefined();
    expect(dueAt(hour, 1_800_000)).toBe("renew");
    expect(dueAt(hour, 3_150_000)).toBe("rebind");
    expect(dueAt(hour, 3_600_000)).toBe("end");
  });

  test("has another attempt after half of what is left until the next phase, but not within a minute", () => {
    expect(nextDue({ ...hour, triedMs: 1_800_000 })).toEqual({ action: "renew", atMs: 2_475_000 });
    expect(nextDue({ ...hour, triedMs: 3_060_000 })).toEqual({ action: "renew", atMs: 3_120_000 });
    expect(nextDue({ ...hour, triedMs: 3_120_000 })).toEqual({ action: "rebind", atMs: 3_150_000 });
    expect(nextDue({ ...hour, triedMs: 3_590_000 })).toEqual({ action: "end", atMs: 3_600_000 });
  });

  test("has several attempts in each phase though the lease be short", () => {
    const short = courseOf(terms(120, 60, 105), 0);
    const tries: string[] = [];
    for (let now = 0, tried: number | undefined; now <= 120_000; now += 500) {
      const due = dueAt({ ...short, ...(tried === undefined ? {} : { triedMs: tried }) }, now);
      if (due === undefined) continue;
      tries.push(due);
      tried = now;
      if (due === "end") break;
    }
    expect(tries.filter((t) => t === "renew").length).toBeGreaterThanOrEqual(3);
    expect(tries.filter((t) => t === "rebind").length).toBeGreaterThanOrEqual(3);
    expect(tries.at(-1)).toBe("end");
  });

  test("never comes to anything without an end", () => {
    const forever = courseOf(terms(FOREVER, FOREVER, FOREVER), 0);
    expect(dueAt(forever, Number.MAX_SAFE_INTEGER)).toBeUndefined();
    expect(nextDue(forever).atMs).toBe(Infinity);
  });

  test("begins to rebind at once if the daemon comes back late", () => {
    expect(dueAt(hour, 3_200_000)).toBe("rebind");
  });
});
