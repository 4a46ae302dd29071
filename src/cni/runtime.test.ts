import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NetError } from "../errors.ts";
import { addresses, failure, listOf, rejection, runtimeFixture } from "../testing/runtime.ts";
import { ATTACHMENT_LIVE, cniCode } from "./errors.ts";
import { parseNetworkList } from "./list.ts";
import {
  addNetworkList,
  type Attachment,
  cachedAttachments,
  cachedResult,
  delNetworkList,
  validateNetworkList,
} from "./runtime.ts";
import { versions } from "./version.ts";

let t: ReturnType<typeof runtimeFixture>;
beforeEach(() => {
  t = runtimeFixture();
});
afterEach(() => {
  rmSync(t.dir, { recursive: true, force: true });
});
const eth0 = (): Attachment => ({ containerId: "c1", ifname: "eth0", netns: t.netns("ns1") });

describe("ADD", () => {
  test("runs the plugins in order, each with the result of the one before, and gives the last result", async () => {
    const result = await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    expect(addresses(result)).toEqual(["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"]);
    expect(t.seen.map((s) => [s.step, addresses(s.prevResult)])).toEqual([
      ["ADD a", undefined],
      ["ADD b", ["10.0.0.1/24"]],
      ["ADD c", ["10.0.0.1/24", "10.0.0.2/24"]],
    ]);
  });

  test("gives every plugin the list's name and version and its own keys", async () => {
    await addNetworkList(t.runtime, listOf("0.3.1"), {
      ...eth0(),
      args: [
        ["K", "V"],
        ["L", "W"],
      ],
    });
    expect(t.seen[1]).toMatchObject({
      raw: { cniVersion: "0.3.1", name: "net", type: "b", own: "b" },
      containerId: "c1",
      args: "K=V;L=W",
      netns: join(t.dir, "ns1"),
    });
  });

  test("remembers the list, the arguments and the result", async () => {
    const network = listOf("1.0.0");
    const attachment = { ...eth0(), args: [["A", "B"]] as const, capabilityArgs: { mac: "x" } };
    const result = await addNetworkList(t.runtime, network, attachment);
    expect(t.cacheFiles()).toEqual(["net-c1-eth0"]);
    const file = JSON.parse(readFileSync(t.cacheFile("net-c1-eth0"), "utf8")) as Record<string, unknown>;
    expect(file).toMatchObject({
      kind: "cniCacheV1",
      containerId: "c1",
      ifName: "eth0",
      networkName: "net",
      netns: attachment.netns,
      cniArgs: [["A", "B"]],
      capabilityArgs: { mac: "x" },
      result: { cniVersion: "1.0.0", ips: [{ address: "10.0.0.1/24" }, {}, {}] },
    });
    expect(Buffer.from(String(file["config"]), "base64").toString()).toBe(network.text);
    expect(cachedResult(t.runtime, network, attachment)).toEqual(result);
    expect(cachedAttachments(t.runtime, "c1")).toEqual([
      { key: { network: "net", containerId: "c1", ifname: "eth0" }, attachment, network, result },
    ]);
  });

  test.each([
    ["container/unknown", { containerId: "" }],
    ["env/invalid", { containerId: "some-%%container-id" }],
    ["env/invalid", { ifname: "" }],
    ["env/invalid", { ifname: "a/b" }],
    ["env/invalid", { ifname: "1234567890123456" }],
    ["env/invalid", { ifname: ".." }],
  ] as const)("refuses with %s for %j before any plugin runs", async (code, wrong) => {
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), { ...eth0(), ...wrong }));
    expect(e).toMatchObject({ code });
    expect(t.steps()).toEqual([]);
  });

  test("passes capability arguments to the plugins that want them, and strips the wish", async () => {
    const network = parseNetworkList(
      JSON.stringify({
        cniVersion: "1.0.0",
        name: "net",
        plugins: [
          { type: "a", capabilities: { mac: true, ips: false } },
          { type: "b", capabilities: { portMappings: true }, runtimeConfig: { kept: 1 } },
        ],
      }),
      "test",
    );
    await addNetworkList(t.runtime, network, {
      ...eth0(),
      capabilityArgs: { mac: "m", ips: ["i"], other: 1 },
    });
    expect(t.seen[0]?.raw).toMatchObject({ runtimeConfig: { mac: "m" } });
    expect(t.seen[1]?.raw).toMatchObject({ runtimeConfig: { kept: 1 } });
    for (const s of t.seen) expect(s.raw).not.toHaveProperty("capabilities");
    expect(await validateNetworkList(t.runtime, network)).toEqual(["mac", "portMappings"]);
  });
});

describe("a failed ADD", () => {
  test("is taken back in reverse, the failing plugin included, and leaves no cache", async () => {
    t.fails.set("ADD b", failure("b is busy"));
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), eth0()));
    expect(e).toMatchObject({
      code: "plugin/failed",
      detail: { type: "b", command: "add", code: 11, msg: "b is busy" },
    });
    expect(t.seen.map((s) => [s.step, addresses(s.prevResult)])).toEqual([
      ["ADD a", undefined],
      ["ADD b", ["10.0.0.1/24"]],
      ["DEL b", ["10.0.0.1/24"]],
      ["DEL a", ["10.0.0.1/24"]],
    ]);
    expect(t.cacheFiles()).toEqual([]);
  });

  test("runs every DEL of the rollback and reports what failed beside the first error, whose code counts", async () => {
    t.fails.set("ADD c", new NetError("ipam/exhausted", { pool: "p" }));
    t.fails.set("DEL c", failure("c sticks"));
    t.fails.set("DEL a", failure("a sticks"));
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), eth0()));
    expect(t.steps().slice(3)).toEqual(["DEL c", "DEL b", "DEL a"]);
    expect((e as AggregateError).errors.map((x: Error) => x.message)).toEqual([
      "plugin c failed (add): no IP addresses available in range set: p",
      "plugin c failed (del): c sticks",
      "plugin a failed (del): a sticks",
    ]);
    expect(cniCode(e)).toBe(107);
  });

  test("does not detach a plugin that was never found", async () => {
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0", {}, ["a", "missing"]), eth0()));
    expect(e).toMatchObject({ code: "plugin/not-found" });
    expect(t.steps()).toEqual(["ADD a", "DEL a"]);
  });

  test("takes everything back when the attachment cannot be remembered", async () => {
    writeFileSync(join(t.dir, "cache"), "a file where a directory must be");
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0", {}, ["a", "b"]), eth0()));
    expect(e).toMatchObject({ code: "sys/call" });
    expect(t.steps()).toEqual(["ADD a", "ADD b", "DEL b", "DEL a"]);
  });

  test("because the caller gave up is taken back all the same", async () => {
    const stop = new AbortController();
    t.before.set("ADD b", () => {
      stop.abort(new Error("took too long"));
    });
    const runtime = { ...t.runtime, signal: stop.signal };
    const e = await rejection(addNetworkList(runtime, listOf("1.0.0"), eth0()));
    expect(e).toMatchObject({ message: "took too long" });
    expect(t.steps()).toEqual(["ADD a", "ADD b", "DEL b", "DEL a"]);
  });

  test("of a list below 0.4.0 is taken back without a previous result", async () => {
    t.fails.set("ADD b", failure("no"));
    await rejection(addNetworkList(t.runtime, listOf("0.3.1"), eth0()));
    expect(t.seen.slice(2).map((s) => [s.step, s.prevResult])).toEqual([
      ["DEL b", undefined],
      ["DEL a", undefined],
    ]);
  });
});

describe("a list with a plugin twice", () => {
  test("is refused before anything is done, in a chain too", async () => {
    const chain = { type: "heddle-chain", plugins: [{ type: "c" }, { type: "a" }] };
    const inChain = parseNetworkList(
      JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins: [{ type: "a" }, chain] }),
      "test",
    );
    for (const [network, at] of [
      [listOf("1.1.0", {}, ["a", "b", "a"]), "plugins[2].type"],
      [inChain, "plugins[1].plugins[1].type"],
    ] as const) {
      const refused = {
        code: "config/invalid",
        message: expect.stringContaining(`${at}: a stands in the list`),
      };
      expect(await rejection(addNetworkList(t.runtime, network, eth0()))).toMatchObject(refused);
    }
    expect(await rejection(validateNetworkList(t.runtime, listOf("1.1.0", {}, ["a", "a"])))).toMatchObject({
      code: "config/invalid",
    });
    expect(t.steps()).toEqual([]);
  });
  test("is taken if that is another program, and can be detached in any case", async () => {
    writeFileSync(join(t.dir, "bin", "x"), "");
    const e = await rejection(addNetworkList(t.runtime, listOf("1.1.0", {}, ["a", "x", "x"]), eth0()));
    expect(e).not.toMatchObject({ code: "config/invalid" });
    expect(t.steps()[0]).toBe("ADD a");
    await delNetworkList(t.runtime, listOf("1.1.0", {}, ["a", "b", "a"]), eth0());
    expect(t.steps()).toEqual(["DEL a", "DEL b", "DEL a"]);
  });
});

describe("ADD of a live attachment", () => {
  test("is refused by the cache and touches nothing", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    const before = readFileSync(t.cacheFile("net-c1-eth0"), "utf8");
    t.steps();
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), eth0Again()));
    expect(e).toMatchObject({ code: "attachment/live" });
    expect(cniCode(e)).toBe(ATTACHMENT_LIVE);
    expect(t.steps()).toEqual([]);
    expect(readFileSync(t.cacheFile("net-c1-eth0"), "utf8")).toBe(before);
  });

  const eth0Again = (): Attachment => ({ containerId: "c1", ifname: "eth0", netns: join(t.dir, "ns1") });

  test("goes on when the namespace is gone", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    rmSync(join(t.dir, "ns1"));
    await addNetworkList(t.runtime, listOf("1.0.0"), { ...eth0Again(), netns: t.netns("ns2") });
    expect(t.steps()).toHaveLength(6);
  });

  test("goes on when the path means another namespace by now", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    rmSync(join(t.dir, "ns1"));
    t.netns("in-between-so-that-the-inode-differs");
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    expect(t.steps()).toHaveLength(6);
  });

  test("is refused for an entry of the reference if it is for the same namespace, which its file does not identify", async () => {
    const attachment = eth0();
    mkdirSync(join(t.dir, "cache", "results"), { recursive: true });
    const entry = { kind: "cniCacheV1", containerId: "c1", ifName: "eth0", networkName: "net", config: "" };
    writeFileSync(t.cacheFile("net-c1-eth0"), JSON.stringify({ ...entry, netns: attachment.netns }));
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), attachment));
    expect(e).toMatchObject({ code: "attachment/live" });
    await addNetworkList(t.runtime, listOf("1.0.0"), { ...attachment, netns: t.netns("ns2") });
    expect(t.steps()).toHaveLength(3);
  });

  test("is not taken back when the first plugin finds it alive", async () => {
    const live = new NetError("attachment/live", { containerId: "c1", ifname: "eth0", network: "net" });
    t.fails.set("ADD a", live);
    const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), eth0()));
    expect(cniCode(e)).toBe(ATTACHMENT_LIVE);
    expect(t.steps()).toEqual(["ADD a"]);
  });

  test("another interface of the same container is another attachment", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    await addNetworkList(t.runtime, listOf("1.0.0"), { ...eth0Again(), ifname: "eth1" });
    expect(t.cacheFiles()).toEqual(["net-c1-eth0", "net-c1-eth1"]);
  });
});

describe("DEL", () => {
  test.each([...versions])(
    "at %s runs in reverse, and gets the cached result from 0.4.0 on",
    async (version) => {
      await addNetworkList(t.runtime, listOf(version), eth0());
      t.steps();
      await delNetworkList(t.runtime, listOf(version), eth0());
      const knows = ["0.4.0", "1.0.0", "1.1.0"].includes(version);
      const all = ["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"];
      expect(t.seen.map((s) => [s.step, addresses(s.prevResult)])).toEqual([
        ["DEL c", knows ? all : undefined],
        ["DEL b", knows ? all : undefined],
        ["DEL a", knows ? all : undefined],
      ]);
      expect(t.cacheFiles()).toEqual([]);
    },
  );

  test("of an unknown container succeeds, twice", async () => {
    await delNetworkList(t.runtime, listOf("1.0.0"), eth0());
    await delNetworkList(t.runtime, listOf("1.0.0"), { containerId: "c1", ifname: "eth0" });
    expect(t.steps()).toEqual(["DEL c", "DEL b", "DEL a", "DEL c", "DEL b", "DEL a"]);
  });

  test("without a namespace says so, whatever the environment of the runtime holds", async () => {
    await delNetworkList(t.runtime, listOf("1.0.0", {}, ["a"]), { containerId: "c1", ifname: "eth0" });
    expect(t.seen[0]).not.toHaveProperty("netns");
  });

  test("runs every plugin, reports every failure and keeps the cache", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    t.steps();
    t.fails.set("DEL c", failure("c sticks"));
    t.fails.set("DEL a", failure("a sticks"));
    const e = await rejection(delNetworkList(t.runtime, listOf("1.0.0"), eth0()));
    expect(t.steps()).toEqual(["DEL c", "DEL b", "DEL a"]);
    expect((e as Error).message).toBe("plugin c failed (del): c sticks; plugin a failed (del): a sticks");
    expect(t.cacheFiles()).toEqual(["net-c1-eth0"]);
    t.fails.clear();
    await delNetworkList(t.runtime, listOf("1.0.0"), eth0());
    expect(t.cacheFiles()).toEqual([]);
  });

  test("says which plugin is missing, runs the others and keeps the cache", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0", {}, ["a"]), eth0());
    t.steps();
    const e = await rejection(delNetworkList(t.runtime, listOf("1.0.0", {}, ["a", "missing"]), eth0()));
    expect(e).toMatchObject({ code: "plugin/not-found", detail: { type: "missing" } });
    expect(t.steps()).toEqual(["DEL a"]);
    expect(t.cacheFiles()).toEqual(["net-c1-eth0"]);
  });

  test("uses the arguments of ADD where it is given none", async () => {
    const network = parseNetworkList(
      `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"a","capabilities":{"portMappings":true}}]}`,
      "test",
    );
    await addNetworkList(t.runtime, network, {
      ...eth0(),
      args: [["K", "V"]],
      capabilityArgs: { portMappings: [1] },
    });
    t.steps();
    await delNetworkList(t.runtime, network, eth0());
    expect(t.seen[0]).toMatchObject({ args: "K=V", raw: { runtimeConfig: { portMappings: [1] } } });
  });

  test.each([
    ["broken JSON", "adfadsfasdfasfdsafaf"],
    ["a result that cannot be read", `{"kind":"cniCacheV1","result":{"ips":"none"}}`],
    ["a result of an unknown version", `{"kind":"cniCacheV1","result":{"cniVersion":"9.9.9"}}`],
    ["an old raw result that cannot be read", `{"cniVersion":"1.0.0","ips":7}`],
  ])("goes on when the cache holds %s, and removes it", async (_, content) => {
    await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
    writeFileSync(t.cacheFile("net-c1-eth0"), content);
    t.steps();
    await delNetworkList(t.runtime, listOf("1.0.0"), eth0());
    expect(t.seen.map((s) => [s.step, s.prevResult])).toEqual([
      ["DEL c", undefined],
      ["DEL b", undefined],
      ["DEL a", undefined],
    ]);
    expect(t.logs.join("\n")).toContain("without the cached result");
    expect(t.cacheFiles()).toEqual([]);
  });

  test("reads a raw result from before the cache had a form", async () => {
    await addNetworkList(t.runtime, listOf("0.4.0"), eth0());
    writeFileSync(
      t.cacheFile("net-c1-eth0"),
      `{"cniVersion":"0.3.1","ips":[{"version":"4","address":"9.9.9.9/8"}]}`,
    );
    t.steps();
    await delNetworkList(t.runtime, listOf("0.4.0", {}, ["a"]), eth0());
    expect(addresses(t.seen[0]?.prevResult)).toEqual(["9.9.9.9/8"]);
  });
});
