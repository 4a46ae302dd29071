import { describe, expect, test } from "bun:test";
import type { Entry } from "./entry.ts";
import { age, psTable } from "./table.ts";

const plain = { columns: undefined, colours: false };
const now = Date.parse("2026-11-22T12:00:00Z");

const entry = (more: Partial<Entry> = {}): Entry => ({
  key: "3f9a1c2b7d04",
  network: "mynet",
  containerId: "web",
  ifname: "eth0",
  netns: "/run/netns/web",
  plugins: ["bridge"],
  addresses: ["10.88.0.2/24", "fd00::2/64"],
  ports: [{ protocol: "tcp", hostIP: "::1", hostPort: 8080, containerPort: 80 }],
  since: "2026-11-22T11:57:00Z",
  state: "ok",
  why: null,
  findings: [],
  ...more,
});

describe("psTable", () => {
  test("is as wide as its cells where no terminal is", () => {
    expect(psTable([entry()], plain, now).split("\n")).toEqual([
      "KEY           NETWORK  CONTAINER  INTERFACE  ADDRESSES                 PORTS               AGE  STATE",
      "3f9a1c2b7d04  mynet    web        eth0       10.88.0.2/24, fd00::2/64  [::1]:8080->80/tcp  3m   ok",
    ]);
  });

  test("says why, and leaves a dash for what is not known", () => {
    const lost = entry({
      network: null,
      containerId: null,
      ifname: null,
      addresses: [],
      ports: [],
      since: null,
    });
    const text = psTable([{ ...lost, state: "no record", why: "its record is lost" }], plain, now);
    expect(text.split("\n")[1]).toMatch(/^3f9a1c2b7d04 {2}- +- +- +- +- +- +no record: its record is lost$/);
    const finding = { component: "bridge", what: "addresses of eth0", wanted: "10.88.0.2/24", found: "none" };
    expect(psTable([entry({ state: "broken", findings: [finding] })], plain, now)).toEndWith(
      "broken: bridge: addresses of eth0: want 10.88.0.2/24, found none",
    );
  });

  test("colours the state alone", () => {
    const text = psTable([entry({ state: "dead", why: "gone" })], { columns: 200, colours: true }, now);
    expect(text).toEndWith("\u001b[33mdead\u001b[0m: gone");
    expect(text.split("\n")[0]).not.toContain("\u001b");
  });

  test.each([200, 100, 80, 74])("has no line of more than %d characters on such a terminal", (columns) => {
    const id = "0123456789abcdef".repeat(4);
    const entries = [entry({ containerId: id, state: "dead", why: "x".repeat(300) }), entry()];
    const lines = psTable(entries, { columns, colours: false }, now).split("\n");
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    // The key is read whole: it is what other commands take.
    expect(lines[1]).toStartWith("3f9a1c2b7d04  ");
  });
});

describe("age", () => {
  test.each([
    [-5_000, "0s"],
    [59_999, "59s"],
    [60_000, "1m"],
    [3_599_000, "59m"],
    [86_399_000, "23h"],
    [40 * 86_400_000, "40d"],
  ])("of %d milliseconds is %s", (ms, text) => expect(age(ms)).toBe(text));
});
