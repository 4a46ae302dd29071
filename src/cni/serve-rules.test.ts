import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { conf, env, errorOf, recorder } from "../testing/recorder.ts";
import { emptyResult } from "./result.ts";
import { serve } from "./serve.ts";
import { versions } from "./version.ts";

describe("versions", () => {
  const withVersion = (cniVersion: string | undefined) =>
    JSON.stringify({ cniVersion, name: "n", type: "recorder" });

  test("a configuration without a version means 0.1.0", async () => {
    const r = recorder();
    const out = await serve(r.plugin, { env, stdin: withVersion(undefined) });
    expect(JSON.parse(out.stdout)).toEqual({ cniVersion: "0.1.0", ip4: { ip: "10.1.2.3/24" }, dns: {} });
  });

  test.each(["9.8.7", "1.0", "1.1.0-rc1", undefined])(
    "version %p outside the plugin's list is code 1 and names both",
    async (v) => {
      const r = recorder({ versions: ["0.4.0", "1.0.0"] });
      const error = errorOf(await serve(r.plugin, { env, stdin: withVersion(v) }));
      expect(error.code).toBe(1);
      expect(error.details).toBe(`config is "${v ?? ""}", plugin supports [0.4.0 1.0.0]`);
      expect(r.verbs()).toEqual([]);
    },
  );

  test.each([
    ["CHECK", "0.3.1"],
    ["CHECK", ""],
    ["GC", "1.0.0"],
    ["GC", "0.4.0"],
    ["STATUS", "1.0.0"],
    ["STATUS", "0.1.0"],
  ])("%s is refused for a configuration of version %p", async (verb, version) => {
    const r = recorder();
    expect(
      errorOf(await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin: withVersion(version) }))
        .code,
    ).toBe(1);
    expect(r.verbs()).toEqual([]);
  });

  test.each(["CHECK", "GC", "STATUS"])("%s with text that is no version is code 6", async (verb) => {
    const out = await serve(recorder().plugin, {
      env: { ...env, CNI_COMMAND: verb },
      stdin: withVersion("adsf"),
    });
    expect(errorOf(out).code).toBe(6);
  });

  test.each(["CHECK", "GC", "STATUS"])(
    "%s is refused by a plugin whose newest version lacks it",
    async (verb) => {
      const r = recorder({ versions: ["0.3.0", "0.3.1"] });
      const out = await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin: withVersion("1.1.0") });
      expect(errorOf(out).code).toBe(1);
      expect(r.verbs()).toEqual([]);
    },
  );

  test.each([...versions])("an error for a configuration of version %s says that version", async (v) => {
    const r = recorder({ add: () => Promise.reject(new NetError("try-again", { why: "busy" })) });
    const error = errorOf(await serve(r.plugin, { env, stdin: withVersion(v) }));
    expect(error).toMatchObject({ cniVersion: v, code: 11, msg: "busy" });
  });
});

describe("the namespace", () => {
  test.each(["ADD", "CHECK", "DEL"])(
    "%s with the plugin's own namespace is code 8 before anything is done",
    async (verb) => {
      const r = recorder();
      const own = { ...env, CNI_COMMAND: verb, CNI_NETNS: "/proc/self/ns/net" };
      const error = errorOf(await serve(r.plugin, { env: own, stdin: conf }));
      expect(error.code).toBe(8);
      expect(error.msg).toContain("/proc/self/ns/net");
      expect(r.verbs()).toEqual([]);
    },
  );

  test.each(["1", "true", "TRUE"])("CNI_NETNS_OVERRIDE=%s allows it", async (value) => {
    const r = recorder();
    const own = { ...env, CNI_NETNS: "/proc/self/ns/net", CNI_NETNS_OVERRIDE: value };
    expect((await serve(r.plugin, { env: own, stdin: conf })).code).toBe(0);
  });

  test.each(["0", "yes", ""])("CNI_NETNS_OVERRIDE=%p does not", async (value) => {
    const own = { ...env, CNI_NETNS: "/proc/self/ns/net", CNI_NETNS_OVERRIDE: value };
    expect(errorOf(await serve(recorder().plugin, { env: own, stdin: conf })).code).toBe(8);
  });

  test("a path that does not exist is left to the plugin", async () => {
    expect((await serve(recorder().plugin, { env, stdin: conf })).code).toBe(0);
  });
});

describe("prevResult", () => {
  const withPrev = (prevResult: unknown, cniVersion = "1.0.0") =>
    JSON.stringify({ cniVersion, name: "n", type: "recorder", prevResult });

  test.each(["ADD", "CHECK", "DEL"])("reaches %s decoded", async (verb) => {
    const r = recorder();
    const stdin = withPrev({ cniVersion: "1.0.0", ips: [{ address: "10.9.9.9/32", interface: 0 }] });
    await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin });
    expect(r.calls[0]?.call).toMatchObject({ prevResult: { ips: [{ address: { text: "10.9.9.9/32" } }] } });
  });

  test.each([
    ["an address that is none", { cniVersion: "1.0.0", ips: [{ address: "10.9.9.999/32" }] }],
    ["another form", { cniVersion: "0.2.0", ip4: { ip: "10.1.1.1/24" } }],
    ["an unknown version", { cniVersion: "7.0.0" }],
    ["a string", "result"],
  ])("with %s fails ADD and CHECK with code 7, and DEL goes on without it", async (_, prev) => {
    for (const verb of ["ADD", "CHECK"]) {
      const out = await serve(recorder().plugin, {
        env: { ...env, CNI_COMMAND: verb },
        stdin: withPrev(prev),
      });
      expect(errorOf(out).code).toBe(7);
    }
    const r = recorder();
    const out = await serve(r.plugin, { env: { ...env, CNI_COMMAND: "DEL" }, stdin: withPrev(prev) });
    expect(out.code).toBe(0);
    expect(out.stderr).toContain("without the previous result");
    expect(r.calls[0]?.call).not.toHaveProperty("prevResult");
  });
});

describe("failures", () => {
  test("a typed error is printed with its code, message and details", async () => {
    const failing = recorder({
      add: () => Promise.reject(new NetError("port/taken", { port: "tcp/80", owner: "container c2" })),
    });
    expect(errorOf(await serve(failing.plugin, { env, stdin: conf }))).toEqual({
      cniVersion: "1.1.0",
      code: 102,
      msg: "host port tcp/80 is taken by container c2",
      details: `port/taken {"port":"tcp/80","owner":"container c2"}`,
    });
  });

  test("any other error is code 999, and its stack goes to the log", async () => {
    const failing = recorder({ add: () => Promise.reject(new TypeError("potato")) });
    const out = await serve(failing.plugin, { env, stdin: conf });
    expect(errorOf(out)).toMatchObject({ code: 999, msg: "potato" });
    expect(out.stderr).toContain("TypeError: potato");
  });

  test("a configuration that the plugin's parser refuses calls nothing", async () => {
    const r = recorder({
      parse: () => {
        throw new NetError("config/unsupported", { field: "mode", value: "fast", why: "unknown mode" });
      },
    });
    expect(errorOf(await serve(r.plugin, { env, stdin: conf }))).toMatchObject({
      code: 2,
      msg: "mode = fast: unknown mode",
    });
    expect(r.verbs()).toEqual([]);
  });

  test("ADD takes back what it made when the result does not fit the version", async () => {
    const r = recorder({ add: async () => emptyResult });
    const out = await serve(r.plugin, { env, stdin: JSON.stringify({ cniVersion: "0.2.0", name: "n" }) });
    expect(errorOf(out)).toMatchObject({ code: 1, cniVersion: "0.2.0" });
    expect(r.verbs()).toEqual(["DEL"]);
  });

  test("the output of a failed call is one JSON object with four spaces of indentation", async () => {
    const out = await serve(recorder().plugin, { env: { ...env, CNI_IFNAME: "" }, stdin: conf });
    expect(out.stdout.startsWith('{\n    "cniVersion": "1.1.0",\n    "code": 4,\n    "msg": "')).toBe(true);
  });
});
