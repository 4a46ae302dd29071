import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { conf, env, errorOf, recorder, VERBS } from "../testing/recorder.ts";
import { serve } from "./serve.ts";
import { versions } from "./version.ts";

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

  test.each(["ADD", "CHECK", "DEL"] as const)(
    "every missing variable of %s is named at once",
    async (verb) => {
      const out = await serve(recorder().plugin, { env: { CNI_COMMAND: verb }, stdin: conf });
      expect(errorOf(out).msg).toBe(`${required[verb].join(", ")}: required for ${verb} but missing`);
    },
  );

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
      network: "skel-test",
    });
  });

  test.each(["DEL", "CHECK", "GC", "STATUS"])(
    "%s calls its own function alone, with what it may use, and prints nothing",
    async (verb) => {
      const r = recorder();
      const out = await serve(r.plugin, { env: { ...env, CNI_COMMAND: verb }, stdin: conf });
      expect(out).toEqual({ code: 0, stdout: "", stderr: "", network: "skel-test" });
      expect(r.verbs()).toEqual([verb]);
      const attachment = { containerId: "some-container-id", ifname: "eth0", netns: "/some/netns/path" };
      expect(r.calls[0]?.call).toMatchObject({
        path: ["/some/cni/path", "/other"],
        conf: { cniVersion: "1.1.0", name: "skel-test", type: "recorder", raw: { some: "config" } },
        ...(verb === "DEL" || verb === "CHECK" ? attachment : {}),
      });
    },
  );

  test.each(["CHECK", "GC", "STATUS"])("%s succeeds when the plugin does not implement it", async (verb) => {
    const { plugin } = recorder();
    const { type, about, options, parse, add, del } = plugin;
    const out = await serve(
      { type, about, options, parse, add, del },
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
