import { describe, expect, test } from "bun:test";
import type { Entry } from "../ps/entry.ts";
import { compareLooks, firstLook, type Known, lineOf } from "./changes.ts";

const AT = "2026-11-22T12:00:00.000Z";

const entry = (key: string, more: Partial<Entry> = {}): Entry => ({
  key,
  network: "mynet",
  containerId: "web",
  ifname: "eth0",
  netns: "/run/netns/web",
  plugins: ["bridge"],
  addresses: ["10.88.0.2/24"],
  ports: [],
  since: "2026-11-22T11:00:00Z",
  state: "ok",
  why: null,
  findings: [],
  ...more,
});
const knownOf = (...entries: readonly Entry[]): Known => new Map(entries.map((e) => [e.key, e]));
const finding = { component: "bridge", what: "addresses of eth0", wanted: "10.88.0.2/24", found: "none" };
const events = (known: Known, now: readonly Entry[]): readonly string[] =>
  compareLooks(known, now, AT).changes.map(
    (c) => `${c.event} ${c.attachment.key} ${c.before ?? "-"}>${c.attachment.state}`,
  );

describe("compareLooks", () => {
  test("tells what came and what went, and nothing of what stays", () => {
    expect(events(knownOf(entry("a"), entry("b")), [entry("b"), entry("c")])).toEqual([
      "attached c ->ok",
      "detached a ok>ok",
    ]);
    expect(events(knownOf(entry("a")), [entry("a")])).toEqual([]);
  });

  test("tells another state, another reason for it, and another port", () => {
    const broken = entry("a", { state: "broken", findings: [finding] });
    expect(events(knownOf(entry("a")), [broken])).toEqual(["changed a ok>broken"]);
    const otherwise = entry("a", { state: "broken", findings: [{ ...finding, found: "10.9.9.9/24" }] });
    expect(events(knownOf(broken), [otherwise])).toEqual(["changed a broken>broken"]);
    const port = { protocol: "tcp", hostIP: null, hostPort: 8080, containerPort: 80 };
    expect(events(knownOf(entry("a")), [entry("a", { ports: [port] })])).toEqual(["changed a ok>ok"]);
  });

  test("waits how work on an attachment ends", () => {
    const busy = entry("a", { state: "busy" });
    const coming = compareLooks(new Map(), [busy], AT);
    expect([coming.changes, coming.known.size]).toEqual([[], 0]);
    const going = compareLooks(knownOf(entry("a")), [busy], AT);
    expect(going.changes).toEqual([]);
    expect(events(going.known, [])).toEqual(["detached a ok>ok"]);
  });

  test("tells both ends of one that went and came between two looks", () => {
    const again = entry("a", { since: "2026-11-22T11:59:00Z" });
    expect(events(knownOf(entry("a")), [again])).toEqual(["detached a ok>ok", "attached a ->ok"]);
  });
});

test("the first look tells what is present", () => {
  const { known, changes } = firstLook([entry("a")], AT);
  expect(changes).toEqual([{ at: AT, event: "present", before: null, attachment: entry("a") }]);
  expect([...known.keys()]).toEqual(["a"]);
});

describe("lineOf", () => {
  const line = (
    event: "attached" | "changed" | "detached",
    e: Entry,
    before: Entry["state"] | null = null,
  ): string => lineOf({ at: AT, event, before, attachment: e }).replace(/^\d\d:\d\d:\d\d {2}/, "");

  test("names the attachment and what it has", () => {
    const port = { protocol: "tcp", hostIP: null, hostPort: 8080, containerPort: 80 };
    expect(line("attached", entry("a", { ports: [port] }))).toBe(
      "attached  a  eth0 of web on mynet: 10.88.0.2/24, 8080->80/tcp",
    );
    const lost = entry("a", { network: null, containerId: null, ifname: null, addresses: [] });
    expect(line("detached", lost, "ok")).toBe("detached  a  an interface of somebody on some network");
  });

  test("says what is wrong, and that it is right again", () => {
    const broken = entry("a", { state: "broken", findings: [finding] });
    expect(line("changed", broken, "ok")).toBe(
      "changed   a  eth0 of web on mynet: broken: bridge: addresses of eth0: want 10.88.0.2/24, found none",
    );
    expect(line("changed", entry("a"), "broken")).toBe("changed   a  eth0 of web on mynet: ok");
    expect(line("attached", entry("a", { state: "dead", why: "it is gone" }))).toEndWith(
      ": dead: it is gone",
    );
  });
});
