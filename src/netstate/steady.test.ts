/** Looking at an attachment while calls for it are made: what was seen half is looked at again, or is nobody's to judge. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { setModified } from "../sys/files.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { markOf, type Owner } from "./owner.ts";
import { openRecord, recordDir } from "./record.ts";
import { lookSteadily } from "./steady.ts";

const dir = tempDir("steady");
const before = process.env["HEDDLE_RUN_DIR"];
beforeAll(() => {
  process.env["HEDDLE_RUN_DIR"] = dir.path;
});
afterAll(() => {
  if (before === undefined) delete process.env["HEDDLE_RUN_DIR"];
  else process.env["HEDDLE_RUN_DIR"] = before;
  dir[Symbol.dispose]();
});

let made = 0;
const somebody = (): Owner => ({ component: "c", network: "n", containerId: `id${++made}`, ifname: "eth0" });
const netns = { path: "/run/netns/x", dev: 1, ino: 2 };

function attach(owner: Owner, ino = netns.ino): void {
  using record = openRecord(owner);
  record.begin({ ...netns, ino });
  record.commit();
}
function detach(owner: Owner): void {
  using record = openRecord(owner);
  record.remove();
}

test("what is not recorded is gone", async () => {
  expect(await lookSteadily(somebody(), () => "never")).toEqual({ kind: "gone" });
});

test("what nobody is at work on is seen once", async () => {
  const owner = somebody();
  attach(owner);
  let looks = 0;
  const looked = await lookSteadily(owner, ({ committed }) => [committed, ++looks]);
  expect(looked).toMatchObject({ kind: "seen", value: [true, 1], record: { owner } });
});

test("what a call holds all the time is busy, and is not looked at", async () => {
  const owner = somebody();
  using record = openRecord(owner);
  record.begin(netns);
  let looks = 0;
  expect(await lookSteadily(owner, () => ++looks)).toEqual({ kind: "busy" });
  expect(looks).toBe(0);
});

test("what an ADD has ended in without being done is seen", async () => {
  const owner = somebody();
  {
    using record = openRecord(owner);
    record.begin(netns);
  }
  expect(await lookSteadily(owner, ({ committed }) => committed)).toMatchObject({
    kind: "seen",
    value: false,
  });
});

test("what was detached while it was looked at is gone", async () => {
  const owner = somebody();
  attach(owner);
  expect(await lookSteadily(owner, () => detach(owner))).toEqual({ kind: "gone" });
});

test("what was attached anew while it was looked at is looked at again", async () => {
  const owner = somebody();
  attach(owner, 10);
  // Times of files are those of the last tick of the clock, and a test is faster.
  setModified(`${recordDir()}/${markOf(owner)}`, 1);
  const looked = await lookSteadily(owner, ({ netns: { ino } }) => {
    if (ino === 10) attach(owner, 11);
    return ino;
  });
  expect(looked).toMatchObject({ kind: "seen", value: 11 });
});

test("what a call is at work on after the look is not judged", async () => {
  const owner = somebody();
  attach(owner);
  using held = new DisposableStack();
  const looked = await lookSteadily(owner, () => {
    held.use(openRecord(owner));
  });
  expect(looked).toEqual({ kind: "busy" });
});
