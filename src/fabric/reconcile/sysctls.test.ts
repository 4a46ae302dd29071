import { describe, expect, test } from "bun:test";
import { NetError } from "../../errors.ts";
import type { FabricSysctl } from "../host-state.ts";
import { mendSysctls } from "./links.ts";
import type { Place } from "./place.ts";

/** What becomes of one parameter that is to be "0". */
function outcome(sysctl: FabricSysctl, write: () => boolean, before: string | undefined): string {
  const place = { readSysctl: () => before, writeSysctl: write } as unknown as Place;
  let said = "nothing";
  mendSysctls(place, [sysctl], {
    attempt: (_name, work) => {
      try {
        return work();
      } catch (e) {
        said = e instanceof NetError ? e.code : String(e);
        return undefined;
      }
    },
    changed: (_name, action) => {
      said = action;
    },
    waits: () => undefined,
  });
  return said;
}
const refusing = (errno: string) => (): boolean => {
  throw new NetError("sys/call", { call: "open", on: "/proc/sys/a", errno });
};

describe("a kernel parameter", () => {
  const wanted: FabricSysctl = { key: "a", value: "0" };
  const optional: FabricSysctl = { ...wanted, optional: true };

  test("is set if it has another value", () => {
    expect(outcome(wanted, () => true, "1")).toBe("replaced");
    expect(outcome(wanted, refusing("EROFS"), "0")).toBe("nothing");
  });

  test("that is optional may be missing, or not writable in a pod", () => {
    expect(outcome(optional, () => false, "1")).toBe("nothing");
    expect(outcome(optional, () => true, undefined)).toBe("nothing");
    expect(outcome(optional, refusing("EROFS"), "1")).toBe("nothing");
    expect(outcome(optional, refusing("EINVAL"), "1")).toBe("sys/call");
  });

  test("that is not must be there, and be written", () => {
    expect(outcome(wanted, () => false, "1")).toBe("feature/missing");
    expect(outcome(wanted, refusing("EROFS"), "1")).toBe("sys/call");
  });
});
