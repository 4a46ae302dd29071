import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { prefixOf } from "../testing/plan.ts";
import { type TempDir, tempDir } from "../testing/temp-dir.ts";
import type { NetState } from "./model.ts";
import { markOf, markPrefix, type Owner, vethName } from "./owner.ts";
import {
  type AttachmentRecord,
  isBusy,
  listRecords,
  type NetnsIdentity,
  addHeir,
  openRecord,
  peekRecord,
  recordDir,
  recordedAt,
  removeEmptyRecords,
  runDir,
} from "./record.ts";

const owner: Owner = { component: "bridge", network: "net", containerId: "c", ifname: "eth0" };
const mark = markOf(owner);
const netns: NetnsIdentity = { path: "/run/netns/c", dev: 4, ino: 4026532000, cookie: "17" };
const state: NetState = {
  objects: [
    { kind: "link-up", possession: "borrowed", place: "container", link: "lo" },
    {
      kind: "address",
      possession: "exclusive",
      place: "container",
      link: "eth0",
      address: prefixOf("fd00::3/64"),
      dad: false,
      connectedRoute: true,
    },
  ],
};

let dir: TempDir;
const before = process.env["HEDDLE_RUN_DIR"];
beforeEach(() => {
  dir = tempDir("record");
  process.env["HEDDLE_RUN_DIR"] = dir.path;
});
afterEach(() => {
  if (before === undefined) delete process.env["HEDDLE_RUN_DIR"];
  else process.env["HEDDLE_RUN_DIR"] = before;
  dir[Symbol.dispose]();
});

const files = (): string[] => (existsSync(recordDir()) ? readdirSync(recordDir()).toSorted() : []);
const pendingFile = (): string => join(recordDir(), `${mark}.pending`);

/** An ADD that ends after `steps`, as if it had been killed there. */
function addUpTo(steps: "begin" | "plan" | "borrow" | "commit"): void {
  using record = openRecord(owner);
  record.begin(netns);
  if (steps === "begin") return;
  record.plan(state);
  if (steps === "plan") return;
  record.borrow({ object: 0, value: "down" });
  if (steps === "commit") record.commit();
}

describe("marks", () => {
  test("differ in each part of the owner and fit into the kernel's names", () => {
    const others: readonly Partial<Owner>[] = [
      { component: "ptp" },
      { network: "net2" },
      { containerId: "d" },
      { ifname: "eth1" },
    ];
    const marks = [owner, ...others.map((o) => ({ ...owner, ...o }))].map(markOf);
    expect(new Set(marks).size).toBe(marks.length);
    const long = markOf({ ...owner, containerId: "c".repeat(300), network: "n".repeat(300) });
    expect(long.length).toBeLessThanOrEqual(127);
    expect(vethName(long)).toMatch(/^veth[0-9a-f]{8}$/);
  });
  test("begin with the component and the network", () => {
    expect(mark).toStartWith(markPrefix("bridge", "net"));
    expect(mark).not.toStartWith(markPrefix("bridge", "ne"));
  });
  test("do not confuse parts that join to the same text", () => {
    expect(markOf({ ...owner, containerId: "a", ifname: "bc" })).not.toBe(
      markOf({ ...owner, containerId: "ab", ifname: "c" }),
    );
  });
});

describe("a record", () => {
  test("leaves nothing behind if nobody begins it", () => {
    openRecord(owner)[Symbol.dispose]();
    expect(files()).toEqual([]);
  });
  test.each([
    ["begin", undefined, 0],
    ["plan", 2, 0],
    ["borrow", 2, 1],
  ] as const)("of an ADD that died after %s is pending and says so much", (steps, objects, borrowed) => {
    addUpTo(steps);
    expect(files()).toEqual([`${mark}.pending`]);
    using found = openRecord(owner);
    expect(found.found).toMatchObject({ owner, netns, committed: false });
    expect(found.found?.state?.objects.length).toBe(objects as number);
    expect(found.found?.borrowed.length).toBe(borrowed);
  });
  test("that is committed has its state, with addresses as they were", () => {
    addUpTo("commit");
    expect(files()).toEqual([mark]);
    const read = peekRecord(mark);
    expect(read).toEqual({
      owner,
      netns,
      committed: true,
      state,
      borrowed: [{ object: 0, value: "down" }],
      heirs: [],
    });
  });
  test("that is removed is gone, with its lock", () => {
    addUpTo("commit");
    {
      using record = openRecord(owner);
      record.remove();
    }
    expect(files()).toEqual([]);
  });
  test("that was committed stays as it is when somebody only looks", () => {
    addUpTo("commit");
    openRecord(owner)[Symbol.dispose]();
    expect(files()).toEqual([mark]);
  });
  test("that is begun again forgets what was before", () => {
    addUpTo("commit");
    addUpTo("begin");
    expect(files()).toEqual([`${mark}.pending`]);
    expect(peekRecord(mark)).toEqual({ owner, netns, committed: false, borrowed: [], heirs: [] });
  });
  test("holds its lock until it is closed", () => {
    const record = openRecord(owner);
    record.begin(netns);
    expect(isBusy(owner)).toBe(true);
    record[Symbol.dispose]();
    expect(isBusy(owner)).toBe(false);
  });
  test("takes lines from others while it is written and after, and none when it is gone", () => {
    addHeir(mark, "nobody's");
    expect(files()).toEqual([]);
    {
      using record = openRecord(owner);
      record.begin(netns);
      addHeir(mark, "one");
      record.plan(state);
      record.borrow({ object: 0, value: "down" });
      addHeir(mark, "two");
      record.commit();
    }
    const before = recordedAt(owner);
    addHeir(mark, "three");
    expect(recordedAt(owner)).toBeCloseTo(before ?? 0, 0);
    expect(peekRecord(mark)).toEqual({
      owner,
      netns,
      committed: true,
      state,
      borrowed: [{ object: 0, value: "down" }],
      heirs: ["one", "two", "three"],
    });
  });
  test("says where another program has put the interface last, and keeps its time", () => {
    {
      using record = openRecord(owner);
      record.begin(netns);
      record.place("/run/docker/netns/one");
      record.plan(state);
      record.commit();
    }
    expect(peekRecord(mark)).toMatchObject({ sandbox: "/run/docker/netns/one", committed: true });
    const before = recordedAt(owner);
    {
      using record = openRecord(owner);
      record.place("/run/docker/netns/two");
    }
    expect(recordedAt(owner)).toBeCloseTo(before ?? 0, 0);
    expect(peekRecord(mark)).toMatchObject({ sandbox: "/run/docker/netns/two", state });
  });
  test("of a second plan has that one's values alone", () => {
    {
      using record = openRecord(owner);
      record.begin(netns);
      record.plan(state);
      record.borrow({ object: 0, value: "down" });
      record.plan({ objects: [] });
    }
    expect(peekRecord(mark)).toMatchObject({ state: { objects: [] }, borrowed: [] });
  });
  test("keeps what was borrowed when a plan goes on, and not when it is made anew", () => {
    using record = openRecord(owner);
    record.begin(netns);
    record.plan(state);
    record.borrow({ object: 0, value: "down" });
    record.extend({ objects: [...state.objects, ...state.objects] });
    expect(peekRecord(mark)?.borrowed).toEqual([{ object: 0, value: "down" }]);
    record.plan(state);
    expect(peekRecord(mark)?.borrowed).toEqual([]);
  });
});

describe("a record cut short at any byte", () => {
  /** What the whole lines before the cut promise. */
  function promised(text: string): AttachmentRecord | undefined {
    const lines = text.split("\n").slice(0, -1);
    if (lines.length === 0) return undefined;
    return {
      owner,
      netns,
      committed: false,
      ...(lines.length > 1 ? { state } : {}),
      borrowed: lines.length > 2 ? [{ object: 0, value: "down" }] : [],
      heirs: [],
    };
  }
  test("says exactly what its whole lines say", () => {
    addUpTo("borrow");
    const whole = readFileSync(pendingFile());
    expect(whole.length).toBeGreaterThan(300);
    for (let length = 0; length <= whole.length; length++) {
      const cut = whole.subarray(0, length);
      writeFileSync(pendingFile(), cut);
      expect(peekRecord(mark)).toEqual(promised(cut.toString()));
    }
  });
  test("ends at the first line that is damaged", () => {
    addUpTo("borrow");
    const [head, , borrowed] = readFileSync(pendingFile(), "utf8").split("\n");
    writeFileSync(pendingFile(), `${head}\n{"state":{"objects":[{"addr\n${borrowed}\n`);
    expect(peekRecord(mark)).toEqual({ owner, netns, committed: false, borrowed: [], heirs: [] });
  });
  test("with an address that is none ends there", () => {
    addUpTo("plan");
    const text = readFileSync(pendingFile(), "utf8").replace("fd00::3/64", "nonsense");
    writeFileSync(pendingFile(), text);
    expect(peekRecord(mark)?.state).toBeUndefined();
  });
});

describe("all records", () => {
  test("of a prefix are listed, pending and committed, those that say nothing left out", () => {
    addUpTo("commit");
    const other = { ...owner, containerId: "d" };
    {
      using record = openRecord(other);
      record.begin(netns);
    }
    {
      using record = openRecord({ ...owner, network: "elsewhere" });
      record.begin(netns);
    }
    writeFileSync(join(recordDir(), `${markPrefix("bridge", "net")}empty.pending`), "");
    const found = listRecords(markPrefix("bridge", "net"));
    expect(found.map((r) => [r.owner.containerId, r.committed]).toSorted()).toEqual([
      ["c", true],
      ["d", false],
    ]);
  });
  test("that say nothing are removed, unless somebody is about to write", () => {
    mkdirSync(recordDir(), { recursive: true });
    const prefix = markPrefix("bridge", "net");
    writeFileSync(join(recordDir(), `${prefix}dead.pending`), "");
    writeFileSync(join(recordDir(), `${prefix}torn.pending`), '{"v":1,"own');
    writeFileSync(join(recordDir(), `${markPrefix("ptp", "net")}other.pending`), "");
    const busy = openRecord(owner);
    removeEmptyRecords(prefix);
    expect(files()).toEqual([`${mark}.pending`, `${markPrefix("ptp", "net")}other.pending`].toSorted());
    busy[Symbol.dispose]();
  });
  test("are none where nothing was ever recorded", () => {
    expect(listRecords("heddle-")).toEqual([]);
    expect(() => removeEmptyRecords("heddle-")).not.toThrow();
  });
});

test("the directory of another host is used only if its path is absolute", () => {
  expect(runDir({})).toBe("/run/heddle");
  expect(runDir({ HEDDLE_RUN_DIR: "relative" })).toBe("/run/heddle");
  expect(runDir({ HEDDLE_RUN_DIR: "/other" })).toBe("/other");
});
