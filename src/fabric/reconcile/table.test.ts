/** How one kind of objects is compared with the kernel, over a kind that is made up: words with a value. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../../errors.ts";
import type { Message } from "../../netlink/message.ts";
import type { KnownLinks, Place } from "./place.ts";
import { makeTable, type Plan, type TableKind } from "./table.ts";

interface Word {
  readonly word: string;
  readonly value: string;
  readonly link?: string;
}
interface Found extends Word {
  readonly ours: boolean;
}

const message = (type: number, word: string, value: string, ours = true): Message => ({
  type,
  flags: 0,
  seq: 0,
  pid: 0,
  body: new TextEncoder().encode(JSON.stringify({ word, value, ours })),
});
const appears = (word: string, value: string, ours = true): Message => message(1, word, value, ours);
const goes = (word: string, value: string): Message => message(2, word, value);
const alien = message(9, "", "");

let listed: readonly Found[] = [];
const kind: TableKind<Word, Found> = {
  object: "route",
  keyOf: ({ word }) => word,
  keyOfFound: ({ word }) => word,
  build: ({ word, value, link }, { byName }) =>
    link === undefined || byName.has(link) ? { word, value, ours: true } : undefined,
  list: () => listed,
  read: ({ type, body }) =>
    type > 2 ? undefined : { found: JSON.parse(new TextDecoder().decode(body)) as Found, gone: type === 2 },
  fits: (built, found) => built.value === found.value,
  isSame: (gone, there) => gone.value === there.value,
  isOurs: ({ ours }) => ours,
  put: ({ word }, instead) =>
    instead?.value === "kernel"
      ? new NetError("resource/exists", { what: word, where: "the kernel" })
      : { type: 1, flags: 0, body: new Uint8Array(0), what: `put ${word}` },
  remove: ({ word }) => ({ type: 2, flags: 0, body: new Uint8Array(0), what: `remove ${word}` }),
  goneErrors: ["ESRCH"],
};

const links = (...names: readonly string[]): KnownLinks => ({
  byName: new Map(names.map((name, index) => [name, { index, up: true }])),
  ours: new Map(),
});
const none = links();
const always = (): boolean => true;
const place = {} as Place;

const show = ({ puts, removals, waiting }: Plan<unknown>): string =>
  [
    ...puts.map(({ key, action, request }) => `${request instanceof NetError ? "refused" : action} ${key}`),
    ...removals.map(({ key }) => `removed ${key}`),
    ...(waiting > 0 ? [`${waiting} waiting`] : []),
  ].join(", ");

function tableWith(wanted: readonly Word[], found: readonly Found[] = []) {
  const table = makeTable(kind);
  let before: readonly Word[] = [];
  listed = found;
  const want = (after: readonly Word[]): void => {
    table.want(before, after, () => undefined);
    before = after;
  };
  want(wanted);
  table.relist(place, none);
  /** Carries out the plan and says it. */
  const step = (on = none, may: (key: string) => boolean = always): string => {
    const plan = table.plan(on, may);
    for (const { key, built, request } of plan.puts)
      if (!(request instanceof NetError)) table.put(key, built);
    for (const { key } of plan.removals) table.removed(key);
    return show(plan);
  };
  return { table, want, step };
}

const a = { word: "a", value: "1" };
const b = { word: "b", value: "1" };
const ours = (word: string, value: string): Found => ({ word, value, ours: true });

describe("a list", () => {
  test("is what is wanted against what is there", () => {
    const found = [ours("a", "1"), ours("b", "2"), ours("x", "1"), { word: "y", value: "1", ours: false }];
    const { step } = tableWith([a, b, { word: "c", value: "1" }], found);
    expect(step()).toBe("replaced b, added c, removed x");
    expect(step()).toBe("");
  });

  test("does not touch what must not be touched", () => {
    const { step } = tableWith([a], [{ word: "a", value: "kernel", ours: false }]);
    expect(step()).toBe("refused a");
    expect(step()).toBe("refused a");
  });

  test("that was taken anew tells what was put right", () => {
    const { table, step } = tableWith([a, b]);
    expect(step()).toBe("added a, added b");
    listed = [ours("a", "1")];
    table.relist(place, none);
    expect(step()).toBe("repaired b");
  });
});

describe("a wish", () => {
  test("is compared alone", () => {
    const { want, step } = tableWith([a]);
    step();
    want([a, b]);
    expect(step()).toBe("added b");
    want([b]);
    expect(step()).toBe("removed a");
    want([{ word: "b", value: "2" }]);
    expect(step()).toBe("replaced b");
  });

  test("that is told again in other words changes nothing", () => {
    const { want, step } = tableWith([a]);
    step();
    want([{ ...a }]);
    expect(step()).toBe("");
  });

  test("waits for its link, and for its time", () => {
    const { step } = tableWith([{ ...a, link: "eth0" }, b]);
    expect(step(none, (key) => key !== "b")).toBe("2 waiting");
    expect(step(links("eth0"))).toBe("added a, added b");
  });
});

describe("an event", () => {
  const settled = () => {
    const made = tableWith([a]);
    made.step();
    return made;
  };

  test("of one's own change is nothing to do", () => {
    const { table, step } = settled();
    expect(table.touch(appears("a", "1"), none)).toBeFalse();
    expect(step()).toBe("");
  });

  test("of a loss, or of another value, is put right", () => {
    const { table, step } = settled();
    expect(table.touch(goes("a", "1"), none)).toBeTrue();
    expect(step()).toBe("repaired a");
    expect(table.touch(appears("a", "2"), none)).toBeTrue();
    expect(step()).toBe("repaired a");
  });

  test("of a loss that was made good is nothing to do", () => {
    const { table, step } = settled();
    expect(table.touch(goes("a", "1"), none)).toBeTrue();
    expect(table.touch(appears("a", "1"), none)).toBeFalse();
    expect(step()).toBe("");
  });

  test("of the end of something that was replaced before is nothing to do", () => {
    const { table } = settled();
    expect(table.touch(goes("a", "0"), none)).toBeFalse();
    expect(table.touch(goes("unknown", "0"), none)).toBeFalse();
  });

  test("of something that nobody wants is removed if it is ours, and else left alone", () => {
    const { table, step } = settled();
    expect(table.touch(appears("x", "1"), none)).toBeTrue();
    expect(table.touch(appears("y", "1", false), none)).toBeFalse();
    expect(step()).toBe("removed x");
    expect(table.touch(alien, none)).toBeFalse();
  });
});
