import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CacheKey, listCache, liveNetns, readCache, removeCache, writeCache } from "./cache.ts";
import { netnsId } from "./host.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-cache-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const key = (network: string, containerId: string, ifname = "eth0"): CacheKey => ({
  network,
  containerId,
  ifname,
});
const entryOf = (k: CacheKey) => {
  const cached = readCache(dir, k);
  return cached.kind === "entry" ? cached.entry : cached.kind;
};
const files = () => readdirSync(join(dir, "results")).toSorted();
function put(name: string, content: unknown): void {
  mkdirSync(join(dir, "results"), { recursive: true });
  writeFileSync(join(dir, "results", name), typeof content === "string" ? content : JSON.stringify(content));
}

describe("an entry", () => {
  const full = {
    config: '{"name":"net"}',
    netns: "/run/netns/x",
    netnsId: { dev: 4n, ino: 2n ** 63n, changedNs: 1_795_324_952_345_571_566n },
    args: [["IgnoreUnknown", "1"]] as const,
    capabilityArgs: { portMappings: [{ hostPort: 1 }] },
    result: { cniVersion: "1.0.0" },
  };

  test("is read as it was written", () => {
    writeCache(dir, key("net", "c1"), full);
    expect(entryOf(key("net", "c1"))).toEqual({ key: key("net", "c1"), ...full });
  });

  test("is one line of JSON that the reference reads, in a file for the owner alone", () => {
    writeCache(dir, key("net", "c1"), { config: "{}", netns: "/n", result: { a: 1 } });
    const file = join(dir, "results", "net-c1-eth0");
    expect(readFileSync(file, "utf8")).toBe(
      `{"kind":"cniCacheV1","containerId":"c1","config":"e30=","ifName":"eth0","networkName":"net","netns":"/n","result":{"a":1}}`,
    );
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "results")).mode & 0o777).toBe(0o700);
  });

  test("leaves out what is empty", () => {
    writeCache(dir, key("net", "c1"), { config: "{}", netns: "", args: [], capabilityArgs: {} });
    expect(entryOf(key("net", "c1"))).toEqual({ key: key("net", "c1"), config: "{}" });
  });

  test("is replaced in one step and leaves no other file", () => {
    writeCache(dir, key("net", "c1"), { config: "1" });
    writeCache(dir, key("net", "c1"), { config: "2" });
    expect(entryOf(key("net", "c1"))).toMatchObject({ config: "2" });
    expect(files()).toEqual(["net-c1-eth0"]);
  });

  test("is forgotten, also twice", () => {
    writeCache(dir, key("net", "c1"), full);
    removeCache(dir, key("net", "c1"));
    removeCache(dir, key("net", "c1"));
    expect(entryOf(key("net", "c1"))).toBe("none");
    expect(files()).toEqual([]);
  });

  test("cannot be written where a file stands in the way, and says so", () => {
    const blocked = join(dir, "file");
    writeFileSync(blocked, "");
    expect(() => writeCache(blocked, key("net", "c1"), full)).toThrow(
      expect.objectContaining({ code: "sys/call" }),
    );
  });

  test.each([
    ["network", key("", "c1"), "config/invalid"],
    ["container", key("net", ""), "container/unknown"],
    ["interface", key("net", "c1", ""), "env/invalid"],
    ["safe network", key("../net", "c1"), "config/invalid"],
    ["safe container", key("net", "../../etc"), "env/invalid"],
    ["safe interface", key("net", "c1", "../x"), "env/invalid"],
  ])("needs a %s name", (_, k, code) => {
    for (const use of [() => readCache(dir, k), () => removeCache(dir, k), () => writeCache(dir, k, {})])
      expect(use).toThrow(expect.objectContaining({ code }));
  });
});

describe("two attachments whose names join to the same", () => {
  const one = key("a-b", "c");
  const two = key("a", "b-c");

  test("are kept apart, in whatever order they come and go", () => {
    writeCache(dir, one, { config: "one" });
    writeCache(dir, two, { config: "two" });
    expect(files()).toHaveLength(2);
    expect(entryOf(one)).toMatchObject({ config: "one" });
    expect(entryOf(two)).toMatchObject({ config: "two" });
    removeCache(dir, one);
    expect(entryOf(one)).toBe("none");
    expect(entryOf(two)).toMatchObject({ config: "two" });
    writeCache(dir, two, { config: "two again" });
    expect(entryOf(two)).toMatchObject({ config: "two again" });
    removeCache(dir, two);
    expect(files()).toEqual([]);
  });

  test("the one that is not there is not found in the other's file, nor does its DEL remove that", () => {
    writeCache(dir, one, { config: "one" });
    expect(entryOf(two)).toBe("none");
    removeCache(dir, two);
    expect(entryOf(one)).toMatchObject({ config: "one" });
  });
});

describe("files of others", () => {
  test("the reference's entry is understood", () => {
    put("net-c1-eth0", {
      kind: "cniCacheV1",
      containerId: "c1",
      config: "e30=",
      ifName: "eth0",
      networkName: "net",
      cniArgs: [["K", "V"]],
      result: { cniVersion: "0.4.0", dns: {} },
    });
    expect(entryOf(key("net", "c1"))).toEqual({
      key: key("net", "c1"),
      config: "{}",
      args: [["K", "V"]],
      result: { cniVersion: "0.4.0", dns: {} },
    });
  });

  test("anything else that is an object is an old raw result", () => {
    put("net-c1-eth0", { cniVersion: "0.3.1", ips: [] });
    expect(entryOf(key("net", "c1"))).toEqual({ result: { cniVersion: "0.3.1", ips: [] } });
  });

  test.each(["", "{", "[]", "7", `{"kind":"cniCacheV1","cniArgs":7}`])(
    "%j is broken, and can be removed",
    (content) => {
      put("net-c1-eth0", content);
      expect(entryOf(key("net", "c1"))).toBe("broken");
      removeCache(dir, key("net", "c1"));
      expect(files()).toEqual([]);
    },
  );
});

describe("listing", () => {
  test("gives every entry with a key, sorted, and passes over everything else", () => {
    writeCache(dir, key("net", "c2"), {});
    writeCache(dir, key("net", "c1"), {});
    writeCache(dir, key("other", "c1"), {});
    put("broken-c1-eth0", "{");
    put("raw-c1-eth0", { cniVersion: "0.3.1" });
    put(".123-1.tmp", "half");
    expect(listCache(dir).map((e) => e.key)).toEqual([
      key("net", "c1"),
      key("net", "c2"),
      key("other", "c1"),
    ]);
  });

  test("of one container compares its whole ID", () => {
    writeCache(dir, key("net", "c1"), {});
    writeCache(dir, key("net", "c1-x"), {});
    writeCache(dir, key("net-c1", "c2"), {});
    expect(listCache(dir, "c1").map((e) => e.key)).toEqual([key("net", "c1")]);
  });

  test("of a directory that is not there is empty", () => {
    expect(listCache(join(dir, "absent"))).toEqual([]);
  });
});

describe("the namespace of an entry", () => {
  test("is live as long as its path means the same file", () => {
    const netns = join(dir, "ns");
    writeFileSync(netns, "");
    const id = netnsId(netns);
    if (!id) throw new Error("no identity");
    expect(liveNetns({ netns, netnsId: id })).toBe(netns);
    expect(liveNetns({ netns, netnsId: { ...id, ino: id.ino + 1n } })).toBeUndefined();
    expect(liveNetns({ netns, netnsId: { ...id, changedNs: 1n } })).toBeUndefined();
    expect(liveNetns({ netns })).toBe(netns);
    rmSync(netns);
    expect(liveNetns({ netns, netnsId: id })).toBeUndefined();
    expect(liveNetns({})).toBeUndefined();
  });

  test("behind a link is told by device and inode alone", () => {
    symlinkSync("/proc/self/ns/net", join(dir, "link"));
    const id = netnsId(join(dir, "link"));
    expect(id).toBeDefined();
    expect(id).not.toHaveProperty("changedNs");
  });
});
