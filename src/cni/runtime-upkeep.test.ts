import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NetError } from "../errors.ts";
import { failure, listOf, rejection, runtimeFixture } from "../testing/runtime.ts";
import { cniCode } from "./errors.ts";
import {
  addNetworkList,
  type Attachment,
  checkNetworkList,
  gcNetworkList,
  statusNetworkList,
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

  test("says which plugin is missing", async () => {
    await addNetworkList(t.runtime, listOf("1.0.0", {}, ["a"]), eth0());
    t.steps();
    const e = await rejection(checkNetworkList(t.runtime, listOf("1.0.0", {}, ["a", "missing"]), eth0()));
    expect(e).toMatchObject({ code: "plugin/not-found", detail: { type: "missing" } });
    expect(t.steps()).toEqual(["CHECK a"]);
  });

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
    t = runtimeFixture(["0.3.0", "0.4.0"]);
    const e = await rejection(validateNetworkList(t.runtime, listOf("1.0.0", {}, ["a"])));
    expect(e).toMatchObject({ code: "version/incompatible", detail: { supported: ["0.3.0", "0.4.0"] } });
    expect(await validateNetworkList(t.runtime, listOf("0.4.0", {}, ["a"]))).toEqual([]);
  });
});
