import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { NetError } from "../errors.ts";
import { JSON_TEXT_LIMIT } from "./json.ts";
import { listOfPlugin, parseNetworkList, parsePluginConf, requestText } from "./list.ts";
import { loadNetwork, readNetworkFile } from "./load.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-load-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

function put(name: string, content: unknown): string {
  const file = join(dir, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return file;
}
const list = (name: string, ...types: string[]) => ({
  cniVersion: "1.0.0",
  name,
  plugins: types.map((type) => ({ type })),
});
const single = (name: string, type: string) => ({ cniVersion: "0.4.0", name, type, own: "key" });
const types = (network: { plugins: readonly { type: string }[] }) => network.plugins.map((p) => p.type);
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (e) {
    if (e instanceof NetError) return `${e.code}: ${e.message}`;
    throw e;
  }
  return "accepted";
}

describe("finding a network in a directory", () => {
  test("looks into lists in the order of their file names, then into single plugins", () => {
    put("20-second.conflist", list("net", "from-second"));
    put("10-first.conflist", list("net", "from-first"));
    put("05-single.conf", single("net", "from-single"));
    expect(types(loadNetwork(dir, "net"))).toEqual(["from-first"]);
  });

  test.each([".conf", ".json"])(
    "falls back to a single plugin in a %s file and makes a list of it",
    (extension) => {
      put("10-other.conflist", list("other", "x"));
      put(`20-single${extension}`, single("net", "lonely"));
      const network = loadNetwork(dir, "net");
      expect(network).toMatchObject({ name: "net", cniVersion: "0.4.0", plugins: [{ type: "lonely" }] });
      expect(network.plugins[0]?.raw).toMatchObject({ own: "key" });
    },
  );

  test("sorts .conf and .json files together", () => {
    put("b.conf", single("net", "second"));
    put("a.json", single("net", "first"));
    expect(types(loadNetwork(dir, "net"))).toEqual(["first"]);
  });

  test("does not look into sub-directories or at other files", () => {
    put("sub/10-net.conflist", list("net", "x"));
    put("10-net.conflist.bak", list("net", "x"));
    mkdirSync(join(dir, "directory.conf"));
    expect(refusal(() => loadNetwork(dir, "net"))).toBe(
      `config/not-found: no network configuration in ${dir}`,
    );
  });

  test("says so when the directory is not there", () => {
    expect(refusal(() => loadNetwork(join(dir, "absent"), "net"))).toStartWith("config/not-found");
  });

  test("says so when no file has the name", () => {
    put("10-other.conflist", list("other", "x"));
    expect(refusal(() => loadNetwork(dir, "net"))).toBe(
      `config/not-found: no network configuration with the name "net" in ${dir}`,
    );
  });

  test("stops at a malformed file before the network, and names it", () => {
    const file = put("00-bad.conflist", "{");
    put("10-net.conflist", list("net", "x"));
    expect(refusal(() => loadNetwork(dir, "net"))).toStartWith(`decode/malformed: ${file}`);
    put("00-bad.conflist", { cniVersion: "1.0.0", name: "bad", plugins: [] });
    expect(refusal(() => loadNetwork(dir, "net"))).toContain("00-bad.conflist");
  });

  test("does not mind a malformed file after the network", () => {
    put("10-net.conflist", list("net", "x"));
    put("99-bad.conflist", "{");
    expect(types(loadNetwork(dir, "net"))).toEqual(["x"]);
  });

  test("explains a list in a file that is named like a single plugin", () => {
    put("10-net.conf", list("net", "x"));
    expect(refusal(() => loadNetwork(dir, "net"))).toContain("must end in .conflist");
  });

  test("refuses a file that is not there, or larger than the limit", () => {
    expect(refusal(() => readNetworkFile(join(dir, "absent.conflist")))).toStartWith("sys/call");
    const file = put("large.conflist", " ".repeat(JSON_TEXT_LIMIT + 1));
    expect(refusal(() => readNetworkFile(file))).toStartWith("decode/malformed");
  });
});

describe("what is not a file", () => {
  test("in a directory of configurations is told, and neither waited for nor read without end", () => {
    put("10-net.conflist", list("net", "x"));
    expect(Bun.spawnSync(["mkfifo", join(dir, "20-pipe.conflist")]).exitCode).toBe(0);
    symlinkSync("/dev/zero", join(dir, "30-zero.conflist"));
    expect(types(loadNetwork(dir, "net"))).toEqual(["x"]);
    expect(refusal(() => loadNetwork(dir, "other"))).toBe(
      `decode/malformed: ${join(dir, "20-pipe.conflist")}: is not a file`,
    );
    rmSync(join(dir, "20-pipe.conflist"));
    expect(refusal(() => loadNetwork(dir, "other"))).toBe(
      `decode/malformed: ${join(dir, "30-zero.conflist")}: is not a file`,
    );
  });

  test("is read where somebody means it so, up to the limit", () => {
    expect(refusal(() => readNetworkFile("/dev/zero"))).toBe(
      `decode/malformed: /dev/zero: larger than ${JSON_TEXT_LIMIT} bytes`,
    );
  });
});

describe("plugins beside a list", () => {
  test("come after the plugins inside it, in the order of their file names", () => {
    const file = put("net.conflist", list("net", "inside"));
    put("net/20.conf", { type: "second" });
    put("net/10.conf", { type: "first" });
    put("net/30.json", { type: "ignored" });
    put("other/10.conf", { type: "of-another-network" });
    expect(types(readNetworkFile(file))).toEqual(["inside", "first", "second"]);
  });

  test("are in the text that is remembered, which then needs no other file", () => {
    const file = put("net.conflist", { ...list("net", "inside"), own: 1, LoadOnlyInlinedPlugins: false });
    put("net/10.conf", { type: "beside", key: "value" });
    const network = readNetworkFile(file);
    const again = parseNetworkList(network.text, "remembered", () => {
      throw new Error("asked for more");
    });
    expect(again.plugins).toEqual(network.plugins);
    expect(JSON.parse(network.text)).toMatchObject({ own: 1, loadOnlyInlinedPlugins: true });
  });

  test.each([true, "true"])("are left alone when loadOnlyInlinedPlugins is %p", (loadOnlyInlinedPlugins) => {
    const file = put("net.conflist", { ...list("net", "inside"), loadOnlyInlinedPlugins });
    put("net/10.conf", "{ not even JSON");
    expect(types(readNetworkFile(file))).toEqual(["inside"]);
  });

  test("may be all there is", () => {
    const file = put("net.conflist", { cniVersion: "1.0.0", name: "net" });
    put("net/10.conf", { type: "beside" });
    expect(types(readNetworkFile(file))).toEqual(["beside"]);
  });

  test("need not be there: a directory without any, and a file of that name, change nothing", () => {
    const file = put("net.conflist", list("net", "inside"));
    mkdirSync(join(dir, "net"));
    expect(types(readNetworkFile(file))).toEqual(["inside"]);
    rmSync(join(dir, "net"), { recursive: true });
    put("net", "not a directory");
    expect(types(readNetworkFile(file))).toEqual(["inside"]);
  });

  test.each([
    ["no plugins and no directory", {}],
    ["no plugins, and only inlined ones wanted", { loadOnlyInlinedPlugins: true }],
    ["an empty list", { plugins: [] }],
  ])("with %s the list is refused", (_, more) => {
    const file = put("net.conflist", { cniVersion: "1.0.0", name: "net", ...more });
    expect(refusal(() => readNetworkFile(file))).toStartWith("config/invalid: plugins:");
  });

  test("a malformed one is an error that names its file", () => {
    const file = put("net.conflist", list("net", "inside"));
    const beside = put("net/10.conf", "{");
    expect(refusal(() => readNetworkFile(file))).toStartWith(`decode/malformed: ${beside}`);
  });

  test("are never looked for outside the directory", () => {
    const file = put("net.conflist", list("../net", "inside"));
    expect(refusal(() => readNetworkFile(file))).toStartWith("config/invalid: name:");
  });
});

describe("a list", () => {
  const parse = (more: Record<string, unknown>) =>
    parseNetworkList(
      JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins: [{ type: "a" }], ...more }),
      "it",
    );

  test.each([
    [{ cniVersion: "0.3.0", cniVersions: ["0.4.0", "1.1.0", "9.0.0"] }, "1.1.0"],
    [{ cniVersion: "1.1.0", cniVersions: [] }, "1.1.0"],
    [{ cniVersion: undefined }, "0.1.0"],
    [{ CNIVersion: "0.3.1", cniVersion: undefined }, "0.3.1"],
  ])("%j has the version %s", (more, version) => {
    expect(parse(more).cniVersion).toBe(version as never);
  });

  test.each([
    [
      { disableCheck: "True", disableGC: true },
      { disableCheck: true, disableGC: true },
    ],
    [
      { disableCheck: "false", DISABLEGC: "FALSE" },
      { disableCheck: false, disableGC: false },
    ],
    [{}, { disableCheck: false, disableGC: false, loadOnlyInlinedPlugins: false }],
  ])("%j is read as %j", (more, expected) => {
    expect(parse(more)).toMatchObject(expected);
  });

  test.each([
    [{ disableCheck: "maybe" }, "disableCheck"],
    [{ disableGC: 1 }, "disableGC"],
    [{ loadOnlyInlinedPlugins: "1" }, "loadOnlyInlinedPlugins"],
    [{ cniVersion: 1 }, "cniVersion"],
    [{ cniVersions: "1.0.0" }, "cniVersions"],
    [{ cniVersions: [1] }, "cniVersions[0]"],
    [{ cniVersions: ["broken"] }, "broken"],
    [{ cniVersion: "1.2.3.4" }, "1.2.3.4"],
    [{ cniVersion: "7.0.0" }, "7.0.0"],
    [{ name: undefined }, "name"],
    [{ name: 7 }, "name"],
    [{ name: "a b" }, "a b"],
    [{ plugins: {} }, "plugins"],
    [{ plugins: ["a"] }, "plugins[0]"],
    [{ plugins: [{ type: "a" }, {}] }, "plugins[1].type"],
    [{ plugins: [{ type: "" }] }, "plugins[0].type"],
    [{ plugins: [{ type: "a", capabilities: { mac: 1 } }] }, "plugins[0].capabilities.mac"],
  ])("%j is refused and the message says where", (more, where) => {
    expect(refusal(() => parse(more))).toContain(where);
  });

  test("of a single plugin has its name and version", () => {
    const plugin = parsePluginConf(`{"NAME":"net","cniVersion":"0.3.1","type":"a"}`, "it");
    expect(listOfPlugin(plugin, "it")).toMatchObject({
      name: "net",
      cniVersion: "0.3.1",
      plugins: [{ type: "a" }],
    });
    expect(refusal(() => listOfPlugin(parsePluginConf(`{"type":"a"}`, "it"), "it"))).toContain("name");
  });

  test.each([`{"name":"x"}`, `{"type":""}`, `{"type":7}`, "[]", "{"])("a plugin %s is refused", (source) => {
    expect(refusal(() => parsePluginConf(source, "it"))).toStartWith("decode/malformed");
  });
});

describe("what a plugin gets on standard input", () => {
  const network = parseNetworkList(
    JSON.stringify({
      cniVersion: "1.0.0",
      name: "net",
      plugins: [
        {
          NAME: "wrong",
          CniVersion: "0.1.0",
          type: "a",
          own: { Deep: 1 },
          capabilities: { mac: true },
          PrevResult: {},
        },
      ],
    }),
    "it",
  );
  const request = (extras: Parameters<typeof requestText>[2]) => {
    const [plugin] = network.plugins;
    return plugin && (JSON.parse(requestText(network, plugin, extras)) as Record<string, unknown>);
  };

  test("replaces the keys that the runtime sets whatever their case, and keeps the others", () => {
    expect(request({ prevResult: { interfaces: [], ips: [], routes: [], dns: {} } })).toEqual({
      type: "a",
      own: { Deep: 1 },
      cniVersion: "1.0.0",
      name: "net",
      prevResult: { cniVersion: "1.0.0" },
    });
  });

  test("has no runtimeConfig when nothing is wanted and given", () => {
    expect(request({ capabilityArgs: { other: 1 } })).not.toHaveProperty("runtimeConfig");
    expect(request({ capabilityArgs: { mac: "m", other: 1 } })).toMatchObject({
      runtimeConfig: { mac: "m" },
    });
  });

  test("names no valid attachments as an empty list", () => {
    expect(request({ valid: [] })).toMatchObject({
      "cni.dev/valid-attachments": [],
      "cni.dev/attachments": [],
    });
  });
});
