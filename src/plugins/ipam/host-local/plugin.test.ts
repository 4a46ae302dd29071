import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { emptyResult, type Result } from "../../../cni/result.ts";
import { parsePrefix } from "../../../net/ip.ts";
import { type DataDir, failure, key, makeDataDir, type Setup, verbs } from "../../../testing/ipam.ts";
import { testWith } from "../../../testing/needs.ts";
import { hostLocal } from "./plugin.ts";

const a = key("a");
const b = key("b");
const at = (data: DataDir, ipam: object, setup?: Setup) =>
  verbs(hostLocal, { type: "host-local", dataDir: data.path, ...ipam }, setup);
const subnet = { subnet: "10.1.2.0/24" };
const resultWith = (...ips: string[]): Result => ({
  ...emptyResult,
  ips: ips.map((s) => {
    const p = parsePrefix(s);
    if (!p.ok) throw new Error(p.why);
    return { address: p.value };
  }),
});

describe("DEL", () => {
  test("frees the addresses of this attachment alone, in every set, and succeeds again", async () => {
    using data = makeDataDir();
    const v = at(data, { ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00::/64" }]] });
    await v.add(a);
    await v.add(b);
    await v.add(key("a", "net1"));
    await v.del(a);
    await v.del(a);
    expect(Object.values(data.reservations()).toSorted()).toEqual([
      "a\r\nnet1",
      "a\r\nnet1",
      "b\r\neth0",
      "b\r\neth0",
    ]);
  });

  test("of an unknown container succeeds and makes no directory", async () => {
    using data = makeDataDir();
    await at(data, subnet).del(a);
    expect(existsSync(join(data.path, "net"))).toBe(false);
    await at(data, subnet).add(a);
    await at(data, subnet).del(b);
    expect(Object.keys(data.reservations())).toEqual(["10.1.2.2"]);
  });

  test("succeeds where there can be no directory", async () => {
    using data = makeDataDir();
    writeFileSync(join(data.path, "file"), "");
    await at(data, { ...subnet, dataDir: join(data.path, "file") }).del(a);
  });

  test.each<[string, object]>([
    ["no range any more", {}],
    ["another subnet", { subnet: "10.77.0.0/16" }],
    ["a broken subnet", { subnet: "rubbish" }],
    ["rubbish everywhere", { ranges: 7, routes: "x", resolvConf: [] }],
  ])("works with %s in the configuration", async (_, ipam) => {
    using data = makeDataDir();
    await at(data, subnet).add(a);
    await at(data, ipam, { args: "not arguments", more: { args: 1, runtimeConfig: 2 } }).del(a);
    expect(data.reservations()).toEqual({});
  });

  test("frees what is in the old format, if there is nothing in the new", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    data.write("10.1.2.30", "a");
    await v.del(a);
    expect(data.reservations()).toEqual({ "10.1.2.30": "a" });
    await v.del(a);
    expect(data.reservations()).toEqual({});
  });

  test("overlooks white space around the owner, whatever the file is called", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(b);
    data.write("10.1.2.30", "\n a\r\neth0 \n");
    data.write("note", "a\r\neth0");
    await v.del(a);
    expect(data.names()).toEqual(["10.1.2.2", "last_reserved_ip.0", "lock"]);
  });

  test("leaves a file that somebody wrote over in place", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    data.write("10.1.2.2", "x\r\neth0");
    await v.del(a);
    expect(data.reservations()).toEqual({ "10.1.2.2": "x\r\neth0" });
  });

  test("needs no index: without it, with a torn one, where none can be written", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    const index = join(data.path, ".heddle", "net.index");
    for (const spoil of [
      () => rmSync(index),
      () => writeFileSync(index, readFileSync(index).subarray(0, -3)),
    ]) {
      await v.add(a);
      spoil();
      await v.del(a);
      expect(data.reservations()).toEqual({});
    }
    rmSync(join(data.path, ".heddle"), { recursive: true });
    writeFileSync(join(data.path, ".heddle"), "in the way");
    await v.add(a);
    expect(await failure(v.add(a))).toMatchObject({ code: "ipam/taken" });
    await v.del(a);
    expect(data.reservations()).toEqual({});
  });
});

describe("CHECK", () => {
  test("passes after ADD, and for another plugin's addresses beside ours", async () => {
    using data = makeDataDir();
    const v = at(data, { ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00::/64" }]] });
    const result = await v.add(a);
    await v.check(a, result);
    await v.check(a, { ...result, ips: [...resultWith("192.168.7.7/24").ips, ...result.ips] });
  });

  test("passes for a reservation in the old format", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    const result = await v.add(a);
    data.write("10.1.2.2", "a\n");
    await v.check(a, result);
  });

  test.each<[string, (data: DataDir) => void, string]>([
    ["gone", (d) => rmSync(join(d.path, "net", "10.1.2.2")), "none"],
    ["another container's", (d) => d.write("10.1.2.2", "b\r\neth0"), "b eth0"],
    ["another interface's", (d) => d.write("10.1.2.2", "a\r\neth1"), "a eth1"],
    ["empty", (d) => d.write("10.1.2.2", ""), "an empty file"],
    ["gone with the directory", (d) => rmSync(join(d.path, "net"), { recursive: true }), "none"],
  ])("fails when the reservation is %s", async (_, change, found) => {
    using data = makeDataDir();
    const v = at(data, subnet);
    const result = await v.add(a);
    change(data);
    expect(await failure(v.check(a, result))).toMatchObject({ code: "check/differs", detail: { found } });
  });

  test("fails when prevResult has none of our addresses, or one that was never given", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    for (const prev of [
      undefined,
      emptyResult,
      resultWith("10.7.0.1/24"),
      resultWith("10.1.2.2/24", "10.1.2.9/24"),
    ])
      expect(await failure(v.check(a, prev))).toMatchObject({ code: "check/differs" });
  });
});

describe("GC", () => {
  test("frees what belongs to no valid attachment, and nothing else", async () => {
    using data = makeDataDir();
    const v = at(data, { ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00::/64" }]] });
    for (const k of [a, b, key("a", "net1"), key("c")]) await v.add(k);
    for (const [file, text] of [
      ["30", "b"],
      ["31", "gone"],
      ["32", ""],
      ["33", "kept by hand"],
    ] as const)
      data.write(`10.1.2.${file}`, text);
    await at(data, subnet, { name: "net2" }).add(key("gone"));
    await v.gc([a, b]);
    expect(Object.entries(data.reservations())).toEqual([
      ["10.1.2.2", "a\r\neth0"],
      ["10.1.2.3", "b\r\neth0"],
      ["10.1.2.30", "b"],
      ["10.1.2.33", "kept by hand"],
      ["fd00::2", "a\r\neth0"],
      ["fd00::3", "b\r\neth0"],
    ]);
    expect(Object.keys(data.reservations("net2"))).toHaveLength(1);
    expect(data.names()).toContain("last_reserved_ip.0");
  });

  test("works without a directory, and with a configuration that became invalid", async () => {
    using data = makeDataDir();
    await at(data, {}).gc([]);
    await at(data, subnet).add(a);
    await at(data, {}).gc([]);
    expect(data.reservations()).toEqual({});
  });
});

describe("STATUS", () => {
  test("succeeds while every set has an address, and before the first ADD", async () => {
    using data = makeDataDir();
    const v = at(data, { ranges: [[{ subnet: "10.1.2.0/30" }], [{ subnet: "fd00::/64" }]] });
    await v.status();
    expect(existsSync(join(data.path, "net"))).toBe(false);
    await at(data, subnet).add(b);
  });

  test("reports a set without a free address, until one is freed", async () => {
    using data = makeDataDir();
    const v = at(data, { ranges: [[{ subnet: "10.1.2.0/30" }], [{ subnet: "fd00::/64" }]] });
    await v.add(a);
    expect(await failure(v.status())).toMatchObject({
      code: "status/unavailable",
      message: expect.stringContaining("10.1.2.1-10.1.2.2"),
    });
    await v.del(a);
    await v.status();
    data.write("10.1.2.2", "");
    await v.status();
  });

  test("reports a resolvConf that cannot be read", async () => {
    using data = makeDataDir();
    expect(await failure(at(data, { ...subnet, resolvConf: "/nonexistent" }).status())).toMatchObject({
      code: "sys/call",
    });
  });
});

describe("where others can write", () => {
  const NOBODY = 65534;
  const rootTest = testWith({ root: true });

  rootTest.each<[string, (data: DataDir) => void]>([
    ["the directory is somebody else's", (d) => chownSync(join(d.path, "net"), NOBODY, NOBODY)],
    ["the one above is somebody else's", (d) => chownSync(d.path, NOBODY, NOBODY)],
    ["the directory is open to all", (d) => chmodSync(join(d.path, "net"), 0o1777)],
  ])("every verb that touches files is refused, if %s", async (_, open) => {
    using data = makeDataDir();
    mkdirSync(join(data.path, "net"));
    symlinkSync("../victim", join(data.path, "net/last_reserved_ip.0"));
    writeFileSync(join(data.path, "victim"), "mine");
    open(data);
    const v = at(data, subnet);
    for (const refused of [v.add(a), v.del(a), v.gc([]), v.status()])
      expect(await failure(refused)).toMatchObject({
        code: "config/invalid",
        detail: { field: "ipam.dataDir" },
      });
    expect(readFileSync(join(data.path, "victim"), "utf8")).toBe("mine");
    expect(data.names()).toEqual(["last_reserved_ip.0"]);
  });

  rootTest("a directory that somebody else makes before ADD can is refused as well", async () => {
    using data = makeDataDir();
    chmodSync(data.path, 0o1777);
    const dataDir = join(data.path, "later");
    const v = at(data, { ...subnet, dataDir });
    await v.del(a);
    mkdirSync(dataDir);
    chownSync(dataDir, NOBODY, NOBODY);
    expect(await failure(v.add(a))).toMatchObject({ code: "config/invalid" });
  });

  test("no link at the name of a file is followed, in one's own directory either", async () => {
    using data = makeDataDir();
    const victim = join(data.path, "victim");
    writeFileSync(victim, "mine");
    mkdirSync(join(data.path, "net"));
    mkdirSync(join(data.path, ".heddle"));
    symlinkSync(victim, join(data.path, ".heddle/net.index"));
    await at(data, subnet).add(a);
    rmSync(join(data.path, "net/last_reserved_ip.0"));
    symlinkSync(victim, join(data.path, "net/last_reserved_ip.0"));
    expect(await failure(at(data, subnet).add(b))).toMatchObject({ detail: { errno: "ELOOP" } });
    expect(Object.keys(data.reservations())).toEqual(["10.1.2.2"]);
    expect(readFileSync(victim, "utf8")).toBe("mine");
  });
});
