import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { ATTACHMENT_LIVE, cniCode } from "../../../cni/errors.ts";
import type { JsonObject } from "../../../cni/json.ts";
import { type NetworkList, parseNetworkList } from "../../../cni/list.ts";
import {
  addNetworkList,
  type Attachment,
  checkNetworkList,
  delNetworkList,
  gcNetworkList,
  statusNetworkList,
  validateNetworkList,
} from "../../../cni/runtime.ts";
import { type Version, versions } from "../../../cni/version.ts";
import { NetError } from "../../../errors.ts";
import { failure, rejection, runtimeFixture } from "../../../testing/runtime.ts";
import { heddleChain } from "./plugin.ts";

let t: ReturnType<typeof runtimeFixture>;
beforeEach(() => {
  t = runtimeFixture();
  t.install(heddleChain);
});
afterEach(() => rmSync(t.dir, { recursive: true, force: true }));

const attachment = (): Attachment => ({
  containerId: "c1",
  ifname: "eth0",
  netns: t.netns("ns1"),
  args: [["K", "V"]],
  capabilityArgs: { mac: "m", ips: ["i"], unwanted: 1 },
});

const a = { type: "a", capabilities: { mac: true }, own: { x: 1 } };
const b = { type: "b", capabilities: { ips: true, mac: false }, runtimeConfig: { kept: 1 } };
const c = { type: "c" };
const chain = (...plugins: readonly object[]) => ({
  type: "heddle-chain",
  capabilities: { mac: true, ips: true },
  plugins,
});
/** The same list, plain and with its plugins in one entry, in the middle, and in two entries. */
const forms: Readonly<Record<string, readonly object[]>> = {
  "as a list": [a, b, c],
  "in one entry": [chain(a, b, c)],
  "at the end": [a, chain(b, c)],
  "in the middle": [a, chain(b), c],
  "in two entries": [chain(a), chain(b, c)],
};
const packed = Object.keys(forms).filter((form) => form !== "as a list");
const list = (form: string, version: Version, more: JsonObject = {}): NetworkList =>
  parseNetworkList(
    JSON.stringify({ cniVersion: version, name: "net", ...more, plugins: forms[form] }),
    "test",
  );

/** Everything that plugins were told, step by step, and what the verbs gave or threw. */
async function life(form: string, version: Version): Promise<readonly unknown[]> {
  const network = list(form, version);
  const outcomes: unknown[] = [];
  const verb = async (name: string, run: () => Promise<unknown>): Promise<void> => {
    const outcome = await run().then(
      (value) => ({ value }),
      (e: unknown) => ({ code: cniCode(e) }),
    );
    outcomes.push([name, outcome, t.seen.splice(0)]);
  };
  await verb("ADD", () => addNetworkList(t.runtime, network, attachment()));
  await verb("CHECK", () => checkNetworkList(t.runtime, network, attachment()));
  await verb("STATUS", () => statusNetworkList(t.runtime, network));
  await verb("DEL", () => delNetworkList(t.runtime, network, attachment()));
  const valid = [{ containerId: "c2", ifname: "eth1" }];
  await verb("GC", () => gcNetworkList(t.runtime, network, valid));
  await verb("GC of everything", () => gcNetworkList(t.runtime, network));
  return outcomes.map((o) => JSON.parse(JSON.stringify(o)) as unknown);
}

describe.each(packed)("plugins %s", (form) => {
  test.each(versions.map((v) => [v]))(
    "are told, and answer, what they would in a list of CNI %s",
    async (v) => {
      const plain = await life("as a list", v);
      expect(JSON.stringify(plain)).toContain('"prevResult"');
      expect(await life(form, v)).toEqual(plain);
    },
  );

  test.each(["a", "b", "c"])("are taken back as in a list when ADD of %s fails", async (type) => {
    t.fails.set(`ADD ${type}`, failure("boom"));
    const e = await rejection(addNetworkList(t.runtime, list(form, "1.1.0"), attachment()));
    expect(cniCode(e)).toBe(11);
    const steps = t.steps();
    const added = steps.filter((s) => s.startsWith("ADD")).map((s) => s.slice(4));
    expect(added).toEqual(["a", "b", "c"].slice(0, "abc".indexOf(type) + 1));
    // The runtime cannot know what the chain took back already: it asks the entry, and so every plugin of it, again.
    const removed = [...new Set(steps.filter((s) => s.startsWith("DEL")).map((s) => s.slice(4)))];
    expect(removed.filter((type) => added.includes(type))).toEqual(added.toReversed());
    expect(t.cacheFiles()).toEqual([]);
  });

  test("are all detached when some fail, and every failure is told", async () => {
    await addNetworkList(t.runtime, list(form, "1.1.0"), attachment());
    t.steps();
    t.fails.set("DEL c", failure("first"));
    t.fails.set("DEL a", failure("second"));
    const e = await rejection(delNetworkList(t.runtime, list(form, "1.1.0"), attachment()));
    expect(t.steps()).toEqual(["DEL c", "DEL b", "DEL a"]);
    expect(String(e)).toContain("first");
    expect(String(e)).toContain("second");
    expect(cniCode(e)).toBe(11);
  });

  test("are all collected when some fail", async () => {
    t.fails.set("GC a", failure("first"));
    const e = await rejection(gcNetworkList(t.runtime, list(form, "1.1.0"), []));
    expect(t.steps()).toEqual(["GC a", "GC b", "GC c"]);
    expect(cniCode(e)).toBe(11);
  });

  test("are not detached when one finds the attachment alive", async () => {
    const live = new NetError("attachment/live", { containerId: "c1", ifname: "eth0", network: "net" });
    t.fails.set("ADD a", live);
    const e = await rejection(addNetworkList(t.runtime, list(form, "1.1.0"), attachment()));
    expect(cniCode(e)).toBe(ATTACHMENT_LIVE);
    expect(t.steps()).toEqual(["ADD a"]);
  });

  test("stop at the first that fails in CHECK and in STATUS, with its code", async () => {
    await addNetworkList(t.runtime, list(form, "1.1.0"), attachment());
    t.steps();
    t.fails.set("CHECK b", new NetError("check/differs", { what: "x", wanted: "1", found: "2" }));
    expect(cniCode(await rejection(checkNetworkList(t.runtime, list(form, "1.1.0"), attachment())))).toBe(
      103,
    );
    t.fails.set("STATUS b", new NetError("status/unavailable", { why: "full" }));
    expect(cniCode(await rejection(statusNetworkList(t.runtime, list(form, "1.1.0"))))).toBe(50);
    expect(t.steps()).toEqual(["CHECK a", "CHECK b", "STATUS a", "STATUS b"]);
  });

  test("are looked for by validation, and their capabilities told", async () => {
    expect(await validateNetworkList(t.runtime, list(form, "1.1.0"))).toEqual(["ips", "mac"]);
  });
});

test("an attachment made by a list is removed by a chain, and the other way round", async () => {
  for (const [made, removed] of [
    ["as a list", "in one entry"],
    ["in one entry", "as a list"],
  ] as const) {
    await addNetworkList(t.runtime, list(made, "1.0.0"), attachment());
    const added = t.seen.splice(0).at(-1)?.prevResult;
    expect(added).toBeDefined();
    await checkNetworkList(t.runtime, list(removed, "1.0.0"), attachment());
    await delNetworkList(t.runtime, list(removed, "1.0.0"), attachment());
    expect(t.steps()).toEqual(["CHECK a", "CHECK b", "CHECK c", "DEL c", "DEL b", "DEL a"]);
  }
});

describe("args", () => {
  const args = { cni: { mac: "x" } };
  test("of the entry are given to every plugin that has none of its own", async () => {
    const network = parseNetworkList(
      JSON.stringify({
        cniVersion: "1.1.0",
        name: "net",
        plugins: [{ type: "heddle-chain", args, plugins: [{ type: "a" }, { type: "b", args: { own: 1 } }] }],
      }),
      "test",
    );
    await addNetworkList(t.runtime, network, { containerId: "c1", ifname: "eth0", netns: t.netns("n") });
    expect(t.seen.map((s) => s.raw["args"])).toEqual([args, { own: 1 }]);
  });
});

describe("a chain is refused", () => {
  const refuse = async (entry: object): Promise<unknown> => {
    const network = parseNetworkList(
      JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins: [{ type: "heddle-chain", ...entry }] }),
      "test",
    );
    const e = await rejection(addNetworkList(t.runtime, network, attachment()));
    expect(t.steps().filter((s) => s.startsWith("ADD"))).toEqual([]);
    return e instanceof NetError && e.is("plugin/failed") ? [e.detail.code, e.detail.msg] : e;
  };
  test.each([
    ["plugins: is missing", {}],
    ['plugins: must be a list, not the string "a"', { plugins: "a" }],
    ["plugins: is empty; a chain needs at least one plugin", { plugins: [] }],
    ["plugins[0]: must be an object, not the number 1", { plugins: [1] }],
    ["plugins[1].type: is missing", { plugins: [c, { own: 1 }] }],
    [
      "plugins[0].capabilities.mac: must be true or false, not the number 1",
      { plugins: [{ type: "a", capabilities: { mac: 1 } }] },
    ],
    [
      "plugins[1].type: a heddle-chain cannot hold another one; its plugins can stand here themselves",
      { plugins: [c, chain(a)] },
    ],
    ["capabilities: must name ips, mac, which a, b in this heddle-chain want", { plugins: [a, b] }],
    [
      "capabilities: must name ips, which b in this heddle-chain wants",
      { capabilities: { mac: true, ips: false }, plugins: [a, b] },
    ],
  ])("with %s", async (why, entry) => {
    expect(await refuse(entry)).toEqual([7, why]);
  });

  test("with a plugin that is not there, before that one runs, and the others are taken back", async () => {
    const network = parseNetworkList(
      JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins: [chain(c, { type: "nowhere" })] }),
      "test",
    );
    const e = await rejection(addNetworkList(t.runtime, network, attachment()));
    expect(cniCode(e)).toBe(106);
    expect(t.steps().filter((s) => s.startsWith("ADD"))).toEqual(["ADD c"]);
  });
});

test("DEL and GC of a chain that became invalid reach every plugin that can be read", async () => {
  const network = parseNetworkList(
    JSON.stringify({
      cniVersion: "1.1.0",
      name: "net",
      plugins: [{ type: "heddle-chain", plugins: [a, 1, { type: "" }, { ...b, capabilities: 3 }, chain(c)] }],
    }),
    "test",
  );
  await delNetworkList(t.runtime, network, attachment());
  await gcNetworkList(t.runtime, network);
  expect(t.steps()).toEqual(["DEL b", "DEL a", "GC a", "GC b"]);
});

test("no further plugin starts when the caller gives up", async () => {
  const stop = new AbortController();
  t.before.set("ADD a", () => stop.abort(new Error("enough")));
  const runtime = { ...t.runtime, signal: stop.signal };
  const e = await rejection(addNetworkList(runtime, list("in one entry", "1.1.0"), attachment()));
  expect(String(e)).toContain("b: not started, because the caller gave up");
  expect(t.steps().slice(0, 3)).toEqual(["ADD a", "DEL b", "DEL a"]);
});
