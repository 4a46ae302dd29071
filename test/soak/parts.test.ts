/** The small parts of a soak: its command line, its lock, whom a killed process touches, and its tables. */
import { describe, expect, test } from "bun:test";
import { gate } from "./gate.ts";
import { ledger } from "./ledger.ts";
import { runtimeNames } from "./model.ts";
import { parseOptions } from "./options.ts";
import { progressLine, rowsOf, summary } from "./report.ts";
import { touchedBy } from "./trouble.ts";

describe("the command line", () => {
  test("means ten minutes of every runtime if nothing is said", () => {
    expect(parseOptions([])).toEqual({ minutes: 10, seed: expect.any(Number), runtimes: runtimeNames });
  });

  test("takes values behind a space or an equals sign", () => {
    const words = ["--minutes=0.5", "--seed", "7", "--runtime", "pods", "--json=a=b", "--log", "c"];
    expect(parseOptions(words)).toEqual({ minutes: 0.5, seed: 7, runtimes: ["pods"], json: "a=b", log: "c" });
  });

  test.each([
    ["--hours 1", "unknown option --hours"],
    ["--minutes", "--minutes needs a value"],
    ["--minutes=", "--minutes needs a value"],
    ["--minutes 0", "--minutes 0: not a number from 0.1 to 1440"],
    ["--minutes soon", "--minutes soon: not a number"],
    ["--seed 1.5", "--seed 1.5: not a whole number"],
    ["--seed 0", "--seed 0: not a number from 1"],
    ["--runtime lxc", "--runtime lxc: there is none; there are lists, dhcp"],
  ])("refuses %s", (words, message) => {
    expect(() => parseOptions(words.split(" "))).toThrow(message);
  });
});

describe("the gate", () => {
  test("lets one in alone when those inside have left, before those who come later", async () => {
    const door = gate();
    const order: string[] = [];
    const first = Promise.withResolvers<void>();
    const works = [
      door.together(async () => {
        await first.promise;
        order.push("first");
      }),
      door.alone(async () => void order.push("alone")),
      door.together(async () => void order.push("later")),
      door.alone(async () => void order.push("alone again")),
    ];
    await Promise.resolve();
    expect(order).toEqual([]);
    first.resolve();
    await Promise.all(works);
    expect(order[0]).toBe("first");
    expect(order.slice(1, 3)).toContain("alone");
    expect(order.toSorted()).toEqual(["alone", "alone again", "first", "later"]);
  });

  test("is open again after work that failed", async () => {
    const door = gate();
    const failing = door.alone(() => Promise.reject(new Error("no")));
    expect(failing).rejects.toThrow("no");
    expect(await door.together(() => Promise.resolve(1))).toBe(1);
    expect(await door.alone(() => Promise.resolve(2))).toBe(2);
  });
});

test.each([
  ["heddle cni add solo /run/netns/soak-lists-3\nPATH=/bin", { runtimes: [], container: "soak-lists-3" }],
  [
    "/opt/cni/bin/bridge\nCNI_ARGS=K8S_POD_NAME=soak-pods-12;A=b",
    { runtimes: [], container: "soak-pods-12" },
  ],
  ["heddle docker-task\nPATH=/bin", { runtimes: ["docker"] }],
  ["/opt/cni/bin/bridge\nCNI_COMMAND=DEL", { runtimes: ["podman", "pods", "ctr"] }],
])("%j: whose operation fails when it is killed", (words, touched) => {
  expect(touchedBy(words)).toEqual(touched as ReturnType<typeof touchedBy>);
});

test("the tables have the middle and the hundredth of what was done, and every violation", () => {
  const book = ledger(() => 61_000);
  for (let ms = 1; ms <= 200; ms++) book.took("start lists", ms);
  expect(rowsOf(book)).toEqual([{ what: "start lists", done: 200, medianMs: 101, p99Ms: 199, explained: 0 }]);
  book.violation("soak-lists-1 does not serve", "no answer");
  expect(progressLine(book, 4, 59_000)).toBe(
    "0:59 left; 200 done; 4 live; 0 troubles; failed and explained: none; violations: 1",
  );
  const text = summary({ ledger: book, minutes: 1, freedByGc: 2, left: [], pluginLog: [] });
  expect(text).toContain("VIOLATION after 1:01: soak-lists-1 does not serve\n  no answer");
  expect(text).toMatch(/^start lists +200 +101 +199 +0$/m);
});
