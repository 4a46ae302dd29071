/** What a soak holds against Heddle: that a failure is explained only by what touched it, and that no address is had twice. */
import { describe, expect, test } from "bun:test";
import { ledger } from "./ledger.ts";
import type { Container, RuntimeName } from "./model.ts";

const AWAY = "dial unix /run/containerd/containerd.sock: connect: connection refused";

const container = (name: string, runtime: RuntimeName, address = "10.0.0.2"): Container => ({
  name,
  runtime,
  port: undefined,
  state: "live",
  started: { addresses: [address], id: name, page: name },
});

function clocked() {
  let ms = 0;
  return { book: ledger(() => ms), at: (time: number): void => void (ms = time) };
}

describe("a failure", () => {
  test("that nothing explains is a violation, with what was done to that container before", () => {
    const { book, at } = clocked();
    const [a, b] = [container("soak-lists-1", "lists"), container("soak-lists-2", "lists")];
    const operation = book.begin("start", a);
    book.begin("start", b);
    at(70);
    expect(book.failed(operation, "no")).toBe(false);
    expect(book.violations).toEqual([
      {
        atMs: 70,
        what: "start of soak-lists-1 failed and nothing explains it",
        detail: "no",
        before: ["0.000 start soak-lists-1"],
      },
    ]);
  });

  test("that says something else than its trouble would is a violation", () => {
    const { book } = clocked();
    const operation = book.begin("stop", container("soak-pods-1", "pods"));
    book.trouble("daemon killed", { runtimes: ["pods"] });
    expect(book.failed(operation, "no IP addresses available")).toBe(false);
  });

  test("is never explained by what nothing may fail of", () => {
    const { book } = clocked();
    const operation = book.begin("stop", container("soak-pods-1", "pods"));
    book.trouble("namespace deleted", { runtimes: [], container: "soak-pods-1" });
    expect(book.failed(operation, "ended by SIGKILL")).toBe(false);
  });

  const cases = [
    [
      "of the container whose process was killed",
      "soak-pods-1",
      { runtimes: [], container: "soak-pods-1" },
      true,
    ],
    ["of another container", "soak-pods-2", { runtimes: [], container: "soak-pods-1" }, false],
    ["of the runtime whose daemon was away", "soak-pods-2", { runtimes: ["pods"] }, true],
    ["of another runtime", "soak-pods-2", { runtimes: ["docker"] }, false],
  ] as const;
  test.each(cases)("%s is explained or not", (_, name, touched, explained) => {
    const { book, at } = clocked();
    const operation = book.begin("stop", container(name, "pods"));
    at(10);
    book.trouble("daemon killed", touched).end();
    at(20);
    expect(book.failed(operation, AWAY)).toBe(explained);
    expect(book.violations).toHaveLength(explained ? 0 : 1);
    expect(book.tallies.get("stop pods")?.explained).toBe(explained ? 1 : undefined);
  });

  test("of an operation that began long after the trouble was over is not explained by it", () => {
    const { book, at } = clocked();
    const known = book.trouble("daemon killed", { runtimes: ["pods"] });
    at(1_000);
    known.end();
    at(4_001);
    expect(book.failed(book.begin("stop", container("soak-pods-1", "pods")), AWAY)).toBe(false);
  });

  test("is explained for as long as the trouble is not over", () => {
    const { book, at } = clocked();
    book.trouble("daemon killed", { runtimes: ["pods"] });
    at(60_000);
    expect(book.failed(book.begin("stop", container("soak-pods-1", "pods")), AWAY)).toBe(true);
  });
});

describe("an address", () => {
  test("that two have at once is a violation that names both", () => {
    const { book } = clocked();
    const [a, b] = [container("soak-lists-1", "lists"), container("soak-pods-1", "pods")];
    book.addresses.take(a);
    book.addresses.take(b);
    expect(book.violations.map(({ detail }) => detail)).toEqual([
      "10.0.0.2 to soak-lists-1 and to soak-pods-1",
    ]);
  });

  test("that was given back may be given again, and counts as one", () => {
    const { book } = clocked();
    const [a, b] = [container("soak-lists-1", "lists"), container("soak-lists-2", "lists")];
    book.addresses.take(a);
    book.addresses.giveBack(a);
    book.addresses.take(b);
    expect(book.violations).toEqual([]);
    expect(book.addresses.given()).toEqual({ times: 2, different: 1 });
  });
});
