import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { parsePrefix } from "../net/ip.ts";
import type { Plugin } from "./plugin.ts";
import { emptyResult, type Result } from "./result.ts";
import { serve, type ServeOutput } from "./serve.ts";
import { versions } from "./version.ts";

const prefix = (s: string) => {
  const p = parsePrefix(s);
  if (!p.ok) throw new Error(p.why);
  return p.value;
};
const someResult: Result = { ...emptyResult, ips: [{ address: prefix("10.1.2.3/24") }] };

/** A plugin that writes down what it is called with. */
function recorder(overrides: Partial<Plugin> = {}) {
  const calls: { verb: string; call: unknown }[] = [];
  const note =
    (verb: string) =>
    async (call: unknown): Promise<void> =>
      void calls.push({ verb, call });
  const plugin: Plugin = {
    type: "recorder",
    about: "CNI recorder plugin",
    parse: (conf) => conf.raw,
    add: async (call) => {
      await note("ADD")(call);
      return someResult;
    },
    del: note("DEL"),
    check: note("CHECK"),
    gc: note("GC"),
    status: note("STATUS"),
    ...overrides,
  };
  return { plugin, calls, verbs: () => calls.map((c) => c.verb) };
}

const env = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "some-container-id",
  CNI_NETNS: "/some/netns/path",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "some;extra;args",
  CNI_PATH: "/some/cni/path:/other",
};
const conf = JSON.stringify({ cniVersion: "1.1.0", name: "skel-test", type: "recorder", some: "config" });
const errorOf = (out: ServeOutput) => {
  expect(out.code).toBe(1);
  return JSON.parse(out.stdout) as { cniVersion: string; code: number; msg: string; details: string };
};
const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS"] as const;

describe("the environment", () => {
  const required: Record<(typeof VERBS)[number], readonly string[]> = {
    ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
    GC: [],
    STATUS: [],
  };
  const variables = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];
  for (const verb of VERBS)
    for (const name of variables) {
      const needed = required[verb].includes(name);
      test(`${verb} ${needed ? "refuses to work" : "works"} without ${name}`, async () => {
        for (const value of [undefined, ""]) {
          const r = recorder();
          const out = await serve(r.plugin, {
            env: { ...env, CNI_COMMAND: verb, [name]: value },
            stdin: conf,
          });
          if (needed) {
            expect(errorOf(out)).toMatchObject({ code: 4, cniVersion: "1.1.0" });
            expect(errorOf(out).msg).toContain(name);
            expect(r.verbs()).toEqual([]);
          } else {
            expect(out.code).toBe(0);
            expect(r.verbs()).toEqual([verb]);
          }
        }
      });
    }

  test("every missing variable is named at once", async () => {
    const out = await serve(recorder().plugin, { env: { CNI_COMMAND: "ADD" }, stdin: conf });
    expect(errorOf(out).msg).toBe("CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME: required for ADD but missing");
  });

  test.each([
    ["CNI_CONTAINERID", "some-%%container-id"],
    ["CNI_CONTAINERID", "-starts-with-a-dash"],
    ["CNI_CONTAINERID", "../escape"],
    ["CNI_IFNAME", "1234567890123456"],
    ["CNI_IFNAME", "."],
    ["CNI_IFNAME", ".."],
    ["CNI_IFNAME", "test/test"],
    ["CNI_IFNAME", "test:test"],
    ["CNI_IFNAME", "test test"],
    ["CNI_IFNAME", "a\u2003b"],
  ])("a malformed %s %j is code 4 before missing variables are counted", async (name, value) => {
    for (const verb of ["ADD", "DEL", "CHECK"]) {
      const r = recorder();
      const bad = { CNI_COMMAND: verb, CNI_CONTAINERID: "cid", CNI_NETNS: "/some/netns", [name]: value };
      const error = errorOf(await serve(r.plugin, { env: bad, stdin: conf }));
      expect(error.code).toBe(4);
      expect(error.msg).toContain(name === "CNI_CONTAINERID" ? value : name);
      expect(r.verbs()).toEqual([]);
    }
  });

  test("names that a command does not use are not looked at", async () => {
    const out = await serve(recorder().plugin, {
      env: { CNI_COMMAND: "STATUS", CNI_CONTAINERID: "%%", CNI_IFNAME: "a/b" },
      stdin: conf,
    });
    expect(out.code).toBe(0);
  });

  test("an unknown command is code 4 and calls nothing", async () => {
    const r = recorder();
    const error = errorOf(await serve(r.plugin, { env: { ...env, CNI_COMMAND: "NOPE" }, stdin: conf }));
    expect(error).toMatchObject({ code: 4, msg: "CNI_COMMAND: unknown CNI_COMMAND: NOPE" });
    expect(r.verbs()).toEqual([]);
  });

  test("a name that every object has is no command", async () => {
    const out = await serve(recorder().plugin, { env: { ...env, CNI_COMMAND: "constructor" }, stdin: conf });
    expect(errorOf(out).code).toBe(4);
  });

  test.each([undefined, ""])(
    "without a command (%p) the plugin introduces itself on standard error",
    async (command) => {
      const out = await serve(recorder({ versions: ["0.4.0", "1.0.0"] }).plugin, {
        env: { CNI_COMMAND: command },
        stdin: "not read",
      });
      expect(out).toEqual({
        code: 0,
        stdout: "",
        stderr: "CNI recorder plugin\nCNI protocol versions supported: 0.4.0, 1.0.0\n",
      });
    },
  );
});

describe("VERSION", () => {
  test("needs no variable, reads no input and calls nothing", async () => {
    const r = recorder();
    const stdin = (): string => {
      throw new Error("standard input was read");
    };
    const out = await serve(r.plugin, { env: { CNI_COMMAND: "VERSION" }, stdin });
    const list = versions.map((v) => `"${v}"`).join(",");
    expect(out).toEqual({
      code: 0,
      stdout: `{"cniVersion":"1.1.0","supportedVersions":[${list}]}\n`,
      stderr: "",
    });
    expect(r.verbs()).toEqual([]);
  });
});

describe("the calls", () => {
  test("ADD gets the environment and the configuration, and its result is printed at the configuration's version", async () => {
    const r = recorder();
    const out = await serve(r.plugin, { env, stdin: conf });
    expect(r.verbs()).toEqual(["ADD"]);
    expect(r.calls[0]?.call).toMatchObject({
      containerId: "some-container-id",
      ifname: "eth0",
      netns: "/some/netns/path",
      args: "some;extra;args",
      path: ["/some/cni/path", "/other"],
      conf: { cniVersion: "1.1.0", name: "skel-test", type: "recorder", raw: { some: "config" } },
    });
    expect(out).toEqual({
      code: 0,
      stdout: `{\n    "cniVersion": "1.1.0",\n    "ips": [\n        {\n            "address": "10.1.2.3/24"\n        }\n    ]\n}`,
      stderr: "",
    });
  });

  test.each(["DEL", "CHECK", "GC", "STATUS"])(
    "%s calls its own function alone and prints nothing",
    async (verb) => {
      const r = recorder();
      const out = await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin: conf });
      expect(out).toEqual({ code: 0, stdout: "", stderr: "" });
      expect(r.verbs()).toEqual([verb]);
    },
  );

  test.each(["CHECK", "GC", "STATUS"])("%s succeeds when the plugin does not implement it", async (verb) => {
    const { plugin } = recorder();
    const { type, about, parse, add, del } = plugin;
    const out = await serve(
      { type, about, parse, add, del },
      { env: { ...env, CNI_COMMAND: verb }, stdin: conf },
    );
    expect(out.code).toBe(0);
  });

  test("DEL without a namespace leaves the key out", async () => {
    const r = recorder();
    await serve(r.plugin, { env: { ...env, CNI_COMMAND: "DEL", CNI_NETNS: "" }, stdin: conf });
    expect(r.calls[0]?.call).not.toHaveProperty("netns");
  });

  test("DEL and GC use the lenient parser where a plugin has one", async () => {
    const refuse = (): never => {
      throw new NetError("config/invalid", { field: "x", why: "no longer valid" });
    };
    for (const verb of ["DEL", "GC"]) {
      const r = recorder({ parse: refuse, parseForRemoval: () => "enough" });
      await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin: conf });
      expect(r.calls).toMatchObject([{ verb, call: { config: "enough" } }]);
    }
  });

  test("GC gets the attachments that are valid, under either name of the key", async () => {
    for (const key of ["cni.dev/valid-attachments", "cni.dev/attachments"]) {
      const r = recorder();
      const stdin = JSON.stringify({ ...JSON.parse(conf), [key]: [{ containerID: "c1", ifname: "eth0" }] });
      await serve(r.plugin, { env: { ...env, CNI_COMMAND: "GC" }, stdin });
      expect(r.calls[0]?.call).toMatchObject({ valid: [{ containerId: "c1", ifname: "eth0" }] });
    }
  });

  test.each([
    ["null", null],
    ["no list", undefined],
  ])("GC with %s keeps nothing", async (_, value) => {
    const r = recorder();
    const stdin = JSON.stringify({ ...JSON.parse(conf), "cni.dev/valid-attachments": value });
    await serve(r.plugin, { env: { ...env, CNI_COMMAND: "GC" }, stdin });
    expect(r.calls[0]?.call).toMatchObject({ valid: [] });
  });

  test("GC with an entry that cannot be read does nothing, since the entry may name a live container", async () => {
    const r = recorder();
    const stdin = JSON.stringify({
      ...JSON.parse(conf),
      "cni.dev/valid-attachments": [{ containerID: "c1" }],
    });
    const error = errorOf(await serve(r.plugin, { env: { ...env, CNI_COMMAND: "GC" }, stdin }));
    expect(error).toMatchObject({ code: 7, msg: "cni.dev/valid-attachments[0].ifname: is missing" });
    expect(r.verbs()).toEqual([]);
  });
});

describe("standard input", () => {
  test("that cannot be read is code 5", async () => {
    const r = recorder();
    const stdin = (): string => {
      throw new NetError("sys/call", { call: "read", on: "standard input", errno: "EBADF" });
    };
    expect(errorOf(await serve(r.plugin, { env, stdin })).code).toBe(5);
    expect(r.verbs()).toEqual([]);
  });

  test.each([
    ["broken JSON", "{", 6],
    ["nothing", "", 6],
    ["a list", "[]", 6],
    ["a version that is a number", `{"cniVersion": 1, "name": "n"}`, 6],
    ["a name that is an object", `{"name": {}}`, 6],
    ["a type that is a list", `{"name": "n", "type": []}`, 6],
    ["JSON nested too deeply", `{"name":"n","x":${"[".repeat(100)}${"]".repeat(100)}}`, 6],
    ["more than the limit", `{"name":"n","x":"${"x".repeat(1024 * 1024)}"}`, 6],
    ["no name", `{"cniVersion": "1.0.0"}`, 7],
    ["an empty name", `{"cniVersion": "1.0.0", "name": ""}`, 7],
    ["a name with a forbidden character", `{"cniVersion": "1.0.0", "name": "a/b"}`, 7],
    ["a name that begins with a dot", `{"cniVersion": "1.0.0", "name": ".hidden"}`, 7],
  ] as const)("with %s is refused by every command", async (_, stdin, code) => {
    for (const verb of [...VERBS, "NOPE"]) {
      const r = recorder();
      const error = errorOf(await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin }));
      expect(error.code).toBe(code);
      expect(error.msg).not.toBe("");
      expect(r.verbs()).toEqual([]);
    }
  });
});

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
