import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NetError } from "../errors.ts";
import { parsePrefix } from "../net/ip.ts";
import { ATTACHMENT_LIVE, cniCode } from "./errors.ts";
import { fileId } from "./host.ts";
import { parseNetworkList } from "./list.ts";
import type { NetConf, Plugin } from "./plugin.ts";
import type { Result } from "./result.ts";
import {
  addNetworkList,
  type Attachment,
  cachedAttachments,
  cachedResult,
  checkNetworkList,
  delNetworkList,
  gcNetworkList,
  type Runtime,
  statusNetworkList,
  validateNetworkList,
} from "./runtime.ts";
import { type Version, versions } from "./version.ts";

interface Seen {
  readonly step: string;
  readonly raw: NetConf["raw"];
  readonly netns?: string;
  readonly args?: string;
  readonly containerId?: string;
  readonly prevResult?: Result;
}

/**
 * A runtime whose plugins `a`, `b`, `c` are inside this process and write down their calls. `fails` holds what a
 * step such as `DEL b` throws.
 */
function setUp(supported: readonly Version[] = versions) {
  const dir = mkdtempSync(join(tmpdir(), "heddle-runtime-"));
  const bin = join(dir, "bin");
  const self = join(dir, "program");
  mkdirSync(bin);
  writeFileSync(self, "");
  const seen: Seen[] = [];
  const fails = new Map<string, Error>();
  const before = new Map<string, () => void>();
  const logs: string[] = [];
  const plugins = new Map<string, Plugin>();
  for (const [n, type] of ["a", "b", "c"].entries()) {
    symlinkSync(self, join(bin, type));
    const step =
      (verb: string) =>
      async (call: { readonly conf: NetConf }): Promise<void> => {
        seen.push({ ...call, step: `${verb} ${type}`, raw: call.conf.raw });
        before.get(`${verb} ${type}`)?.();
        const error = fails.get(`${verb} ${type}`);
        if (error) throw error;
      };
    plugins.set(type, {
      type,
      about: type,
      versions: supported,
      parse: () => undefined,
      async add(call) {
        await step("ADD")(call);
        const address = parsePrefix(`10.0.0.${n + 1}/24`);
        if (!address.ok) throw new Error(address.why);
        const before = call.prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} };
        return { ...before, ips: [...before.ips, { address: address.value }] };
      },
      del: step("DEL"),
      check: step("CHECK"),
      gc: step("GC"),
      status: step("STATUS"),
    });
  }
  const runtime: Runtime = {
    host: { load: async (type) => plugins.get(type), inProcess: true, self: fileId(self) },
    path: `${join(dir, "nowhere")}:${bin}`,
    env: { CNI_IFNAME: "left-over", CNI_CONTAINERID: "left-over", CNI_NETNS: "/left/over" },
    cacheDir: join(dir, "cache"),
    log: (message) => void logs.push(message),
  };
  const results = join(dir, "cache", "results");
  return {
    dir,
    seen,
    fails,
    before,
    logs,
    runtime,
    steps: () => seen.splice(0).map((s) => s.step),
    /** A file that plays a namespace. */
    netns(name: string): string {
      const path = join(dir, name);
      writeFileSync(path, "");
      return path;
    },
    cacheFile: (name: string): string => join(results, name),
    cacheFiles: (): readonly string[] => (existsSync(results) ? readdirSync(results).toSorted() : []),
  };
}

let t: ReturnType<typeof setUp>;
beforeEach(() => {
  t = setUp();
});
afterEach(() => {
  rmSync(t.dir, { recursive: true, force: true });
});

const listOf = (cniVersion: string, more: Record<string, unknown> = {}, types = ["a", "b", "c"]) =>
  parseNetworkList(
    JSON.stringify({ cniVersion, name: "net", ...more, plugins: types.map((type) => ({ type, own: type })) }),
    "test",
  );
const eth0 = (): Attachment => ({ containerId: "c1", ifname: "eth0", netns: t.netns("ns1") });
const rejection = (p: Promise<unknown>): Promise<unknown> =>
  p.then(
    () => undefined,
    (e: unknown) => e,
  );
const failure = (why: string) => new NetError("try-again", { why });
const addresses = (r: Result | undefined) => r?.ips.map((i) => i.address.text);

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

describe("CHECK", () => {
  test("runs every plugin in order with the cached result", async () => {
    await addNetworkList(t.runtime, listOf("0.4.0"), eth0());
    t.seen.length = 0;
    await checkNetworkList(t.runtime, listOf("0.4.0"), eth0());
    expect(t.seen.map((s) => [s.step, s.prevResult?.ips.length])).toEqual([
      ["CHECK a", 3],
      ["CHECK b", 3],
      ["CHECK c", 3],
    ]);
  });

  test("converts a cached result of another version", async () => {
    await addNetworkList(t.runtime, listOf("0.3.0"), eth0());
    t.seen.length = 0;
    await checkNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]), eth0());
    expect(t.seen[0]?.prevResult?.ips).toHaveLength(3);
  });

  test("without a cached result gives none", async () => {
    await checkNetworkList(t.runtime, listOf("1.0.0", {}, ["a"]), eth0());
    expect(t.seen[0]).not.toHaveProperty("prevResult");
  });

  test.each(["0.1.0", "0.2.0", "0.3.0", "0.3.1"])("of a list of version %s is refused", async (version) => {
    const e = await rejection(checkNetworkList(t.runtime, listOf(version), eth0()));
    expect(e).toMatchObject({ code: "version/incompatible" });
    expect(t.steps()).toEqual([]);
  });

  test.each([true, "true", "TRUE"])("does nothing when disableCheck is %p", async (disableCheck) => {
    await checkNetworkList(t.runtime, listOf("1.0.0", { disableCheck }), eth0());
    expect(t.steps()).toEqual([]);
  });

  test.each(["not json", `{"kind":"cniCacheV1","result":{"cniVersion":"9.9.9"}}`])(
    "fails when the cache holds %j",
    async (content) => {
      await addNetworkList(t.runtime, listOf("1.0.0"), eth0());
      writeFileSync(t.cacheFile("net-c1-eth0"), content);
      t.steps();
      expect(await rejection(checkNetworkList(t.runtime, listOf("1.0.0"), eth0()))).toBeInstanceOf(NetError);
      expect(t.steps()).toEqual([]);
    },
  );

  test("stops at the first plugin that fails, with its code", async () => {
    t.fails.set("CHECK b", new NetError("check/differs", { what: "w", wanted: "x", found: "y" }));
    const e = await rejection(checkNetworkList(t.runtime, listOf("1.0.0"), eth0()));
    expect(cniCode(e)).toBe(103);
    expect(t.steps()).toEqual(["CHECK a", "CHECK b"]);
  });
});

describe("GC", () => {
  const valid = [{ containerId: "c1", ifname: "eth0" }];
  const attachTwo = async (version = "1.1.0"): Promise<void> => {
    await addNetworkList(t.runtime, listOf(version), eth0());
    await addNetworkList(t.runtime, listOf(version), {
      containerId: "c2",
      ifname: "eth0",
      netns: t.netns("ns2"),
    });
    t.seen.length = 0;
  };

  test("detaches what is not valid by its own list, then lets every plugin look, with both keys", async () => {
    await attachTwo();
    await gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a", "b"]), valid);
    expect(t.cacheFiles()).toEqual(["net-c1-eth0"]);
    const keys = [{ containerID: "c1", ifname: "eth0" }];
    expect(t.seen.at(-1)?.raw).toMatchObject({
      "cni.dev/valid-attachments": keys,
      "cni.dev/attachments": keys,
    });
    expect(t.seen.slice(0, 3)).toMatchObject([{ containerId: "c2", netns: join(t.dir, "ns2") }, {}, {}]);
    expect(t.steps()).toEqual(["DEL c", "DEL b", "DEL a", "GC a", "GC b"]);
  });

  test("leaves the attachments of other networks", async () => {
    await addNetworkList(t.runtime, listOf("1.1.0", { name: "other" }, ["a"]), eth0());
    t.seen.length = 0;
    await gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]), []);
    expect(t.steps()).toEqual(["GC a"]);
    expect(t.cacheFiles()).toEqual(["other-c1-eth0"]);
  });

  test("without a list of valid attachments detaches all and names none", async () => {
    await attachTwo();
    await gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]));
    expect(t.cacheFiles()).toEqual([]);
    expect(t.seen.at(-1)?.raw).not.toHaveProperty("cni.dev/valid-attachments");
    expect(t.seen.at(-1)?.raw).not.toHaveProperty("cni.dev/attachments");
  });

  test("below 1.1.0 detaches, but asks no plugin", async () => {
    await attachTwo("1.0.0");
    await gcNetworkList(t.runtime, listOf("1.0.0"), valid);
    expect(t.steps()).toEqual(["DEL c", "DEL b", "DEL a"]);
  });

  test.each([true, "true"])("does nothing when disableGC is %p", async (disableGC) => {
    await attachTwo();
    await gcNetworkList(t.runtime, listOf("1.1.0", { disableGC }), []);
    expect(t.steps()).toEqual([]);
  });

  test("tries everything and reports every failure", async () => {
    await attachTwo();
    t.fails.set("DEL b", failure("b sticks"));
    t.fails.set("GC a", failure("a sticks"));
    const e = await rejection(gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a", "b"]), []));
    expect((e as AggregateError).errors).toHaveLength(3);
    expect(t.steps()).toEqual(["DEL c", "DEL b", "DEL a", "DEL c", "DEL b", "DEL a", "GC a", "GC b"]);
    expect(t.cacheFiles()).toEqual(["net-c1-eth0", "net-c2-eth0"]);
  });

  test("does not hand over a path that means another namespace by now", async () => {
    await addNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]), eth0());
    rmSync(join(t.dir, "ns1"));
    t.netns("in-between");
    t.netns("ns1");
    t.seen.length = 0;
    await gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]), []);
    expect(t.seen[0]?.step).toBe("DEL a");
    expect(t.seen[0]).not.toHaveProperty("netns");
  });

  test("passes over files that it cannot understand", async () => {
    await attachTwo();
    writeFileSync(t.cacheFile("net-c3-eth0"), "garbage");
    await gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]), []);
    expect(t.cacheFiles()).toEqual(["net-c3-eth0"]);
  });

  test("works when nothing was ever cached", async () => {
    await gcNetworkList(t.runtime, listOf("1.1.0", {}, ["a"]), []);
    expect(t.steps()).toEqual(["GC a"]);
  });
});

describe("STATUS", () => {
  test("asks every plugin in order, without an attachment", async () => {
    await statusNetworkList(t.runtime, listOf("1.1.0"));
    expect(t.steps()).toEqual(["STATUS a", "STATUS b", "STATUS c"]);
  });

  test.each([50, 51])("gives the first failure with its code %i", async (code) => {
    const why = { why: "pool is empty" };
    t.fails.set(
      "STATUS b",
      code === 50 ? new NetError("status/unavailable", why) : new NetError("status/limited", why),
    );
    const e = await rejection(statusNetworkList(t.runtime, listOf("1.1.0")));
    expect(cniCode(e)).toBe(code);
    expect(t.steps()).toEqual(["STATUS a", "STATUS b"]);
  });

  test.each(["0.1.0", "0.4.0", "1.0.0"])(
    "of a list of version %s succeeds without asking",
    async (version) => {
      t.fails.set("STATUS a", failure("never asked"));
      await statusNetworkList(t.runtime, listOf(version));
      expect(t.steps()).toEqual([]);
    },
  );
});

describe("validating", () => {
  test.each([...versions])("accepts a list of version %s whose plugins speak it", async (version) => {
    expect(await validateNetworkList(t.runtime, listOf(version))).toEqual([]);
  });

  test("finds every plugin that is missing", async () => {
    const e = await rejection(validateNetworkList(t.runtime, listOf("1.0.0", {}, ["a", "x", "y"])));
    expect((e as AggregateError).errors).toMatchObject([
      { code: "plugin/not-found", detail: { type: "x" } },
      { code: "plugin/not-found", detail: { type: "y" } },
    ]);
  });

  test("refuses a version that a plugin does not list", async () => {
    rmSync(t.dir, { recursive: true });
    t = setUp(["0.3.0", "0.4.0"]);
    const e = await rejection(validateNetworkList(t.runtime, listOf("1.0.0", {}, ["a"])));
    expect(e).toMatchObject({ code: "version/incompatible", detail: { supported: ["0.3.0", "0.4.0"] } });
    expect(await validateNetworkList(t.runtime, listOf("0.4.0", {}, ["a"]))).toEqual([]);
  });
});
