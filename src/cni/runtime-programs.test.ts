/** The runtime and plugins that are programs of their own: old ones, and ones that do not come to an end. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, watch, writeFileSync } from "node:fs";
import { type TempDir, tempDir } from "../testing/temp-dir.ts";
import { addresses, rejection } from "../testing/runtime.ts";
import { emptyHost } from "./host.ts";
import { parseNetworkList } from "./list.ts";
import {
  addNetworkList,
  type Attachment,
  cachedResult,
  checkNetworkList,
  delNetworkList,
  gcNetworkList,
  type Runtime,
  statusNetworkList,
  validateNetworkList,
} from "./runtime.ts";

let dir: TempDir;
beforeEach(() => {
  dir = tempDir("programs");
});
afterEach(() => dir[Symbol.dispose]());

/** A plugin as a file; `env` and what it reads, `conf`, are at hand. */
function program(name: string, body: string): void {
  const prelude = `const env = process.env; const { readFileSync, appendFileSync } = require("node:fs");
    const conf = JSON.parse(readFileSync(0, "utf8"));`;
  writeFileSync(dir.in(name), `#!${process.execPath}\n${prelude}\n${body}\n`, { mode: 0o755 });
}
const runtime = (more: Partial<Runtime> = {}): Runtime => ({
  host: emptyHost,
  path: dir.path,
  env: process.env,
  cacheDir: dir.in("cache"),
  ...more,
});
const eth0 = (): Attachment => ({ containerId: "c1", ifname: "eth0", netns: "/run/netns/none" });
const listOf = (plugin: object, more: object = {}) =>
  parseNetworkList(JSON.stringify({ name: "net", ...more, plugins: [plugin] }), "test");
const seen = (): readonly string[] => readFileSync(dir.in("seen"), "utf8").trim().split("\n");

test("a plugin from before versions is called for a list without one, and its result without one is read", async () => {
  // It knows two commands, and neither VERSION nor any key but its own.
  program(
    "legacy",
    `appendFileSync(${JSON.stringify(dir.in("seen"))}, env.CNI_COMMAND + " " + (conf.cniVersion ?? "none") + "\\n");
    const ip4 = { ip: "10.1.2.3/24", gateway: "10.1.2.1", routes: [{ dst: "0.0.0.0/0" }] };
    if (env.CNI_COMMAND === "ADD") console.log(JSON.stringify({ ip4, dns: {} }));
    else if (env.CNI_COMMAND !== "DEL") {
      console.log(JSON.stringify({ code: 100, msg: "unknown CNI_COMMAND: " + env.CNI_COMMAND }));
      process.exitCode = 1;
    }`,
  );
  const network = listOf({ type: "legacy" });
  await validateNetworkList(runtime(), network);
  const result = await addNetworkList(runtime(), network, eth0());
  expect(addresses(result)).toEqual(["10.1.2.3/24"]);
  expect(result.routes.map((r) => r.dst.text)).toEqual(["0.0.0.0/0"]);
  expect(addresses(cachedResult(runtime(), network, eth0()))).toEqual(["10.1.2.3/24"]);
  await delNetworkList(runtime(), network, eth0());
  expect(seen()).toEqual(["VERSION 1.1.0", "ADD 0.1.0", "DEL 0.1.0"]);
  const newer = listOf({ type: "legacy" }, { cniVersion: "0.3.0" });
  expect(await rejection(validateNetworkList(runtime(), newer))).toMatchObject({
    code: "version/incompatible",
  });
});

describe("a plugin that does not come to an end", () => {
  const network = () => listOf({ type: "endless", when: "never" }, { cniVersion: "1.1.0" });
  const calls: Readonly<Record<string, (on: Runtime, list: ReturnType<typeof network>) => Promise<unknown>>> =
    {
      ADD: (on, list) => addNetworkList(on, list, eth0()),
      CHECK: (on, list) => checkNetworkList(on, list, eth0()),
      DEL: (on, list) => delNetworkList(on, list, eth0()),
      GC: (on, list) => gcNetworkList(on, list, []),
      STATUS: (on, list) => statusNetworkList(on, list),
      VERSION: (on, list) => validateNetworkList(on, list),
    };

  test.each(Object.keys(calls))("is ended in %s when the caller gives up", async (verb) => {
    program(
      "endless",
      `appendFileSync(${JSON.stringify(dir.in("seen"))}, env.CNI_COMMAND + " " + process.pid + "\\n");
      if (env.CNI_COMMAND === ${JSON.stringify(verb)}) setInterval(() => {}, 60_000);`,
    );
    const stop = new AbortController();
    const watcher = watch(dir.path, (event, name) => {
      if (event === "change" && name === "seen") stop.abort(new Error("took too long"));
    });
    try {
      const on = runtime({ signal: stop.signal });
      const e = await rejection(calls[verb]?.(on, network()) ?? Promise.resolve());
      expect(e).toMatchObject({ code: "program/failed", cause: { message: "took too long" } });
    } finally {
      watcher.close();
    }
    // What ADD may have made is taken back all the same.
    expect(seen().map((line) => line.split(" ")[0])).toEqual(verb === "ADD" ? ["ADD", "DEL"] : [verb]);
    const pid = Number(seen()[0]?.split(" ")[1]);
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });
});
