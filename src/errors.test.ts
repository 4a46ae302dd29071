import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { fromSystem, isNetError, NetError } from "./errors.ts";

const thrownBy = (work: () => unknown): unknown => {
  try {
    work();
  } catch (e) {
    return e;
  }
  throw new TypeError("nothing was thrown");
};

describe("fromSystem", () => {
  test("a failed call of node:fs is sys/call, with the call, the path and the error", () => {
    const e = fromSystem(thrownBy(() => readdirSync("/nowhere")));
    expect(isNetError(e, "sys/call") && e.detail.on).toBe("/nowhere");
    expect((e as NetError).message).toEndWith("/nowhere: ENOENT");
    expect((e as NetError).cause).toBeInstanceOf(Error);
  });

  test("everything else stays as it is", () => {
    const own = new NetError("try-again", { why: "busy" });
    const mistake = new TypeError("no");
    expect(fromSystem(own)).toBe(own);
    expect(fromSystem(mistake)).toBe(mistake);
    expect(fromSystem("text")).toBe("text");
  });
});
