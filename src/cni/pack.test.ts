import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { tempDir } from "../testing/temp-dir.ts";
import { parseNetworkList } from "./list.ts";
import { readNetworkFile } from "./load.ts";
import { packList } from "./pack.ts";

const pack = (list: object): object => packList(parseNetworkList(JSON.stringify(list), "test"));

describe("packList", () => {
  const a = { type: "a", capabilities: { ips: true, mac: false }, own: { x: [1] } };
  const b = { type: "b", capabilities: { portMappings: true, ips: true } };
  test("puts every plugin as it is into one entry, with every capability that one of them wants", () => {
    expect(pack({ cniVersion: "1.0.0", name: "net", plugins: [a, b] })).toEqual({
      cniVersion: "1.0.0",
      name: "net",
      plugins: [{ type: "heddle-chain", capabilities: { ips: true, portMappings: true }, plugins: [a, b] }],
    });
  });

  test("leaves everything else of the list, and names no capabilities if there are none", () => {
    const rest = {
      cniVersions: ["1.0.0", "1.1.0"],
      name: "net",
      disableCheck: "true",
      disableGC: true,
      loadOnlyInlinedPlugins: true,
      own: 1,
    };
    expect(pack({ ...rest, plugins: [{ type: "c" }] })).toEqual({
      ...rest,
      plugins: [{ type: "heddle-chain", plugins: [{ type: "c" }] }],
    });
  });

  test("takes in what stands in files beside the list, once and for all", () => {
    using dir = tempDir("pack");
    mkdirSync(dir.in("net"));
    writeFileSync(dir.in("net", "10.conf"), JSON.stringify(b));
    writeFileSync(dir.in("x.conflist"), JSON.stringify({ cniVersion: "1.1.0", name: "net", plugins: [a] }));
    expect(packList(readNetworkFile(dir.in("x.conflist")))).toMatchObject({
      loadOnlyInlinedPlugins: true,
      plugins: [{ type: "heddle-chain", plugins: [a, b] }],
    });
  });

  test("makes a list of a single plugin's configuration", () => {
    using dir = tempDir("pack");
    writeFileSync(dir.in("x.conf"), JSON.stringify({ cniVersion: "1.1.0", name: "net", ...a }));
    expect(packList(readNetworkFile(dir.in("x.conf")))).toMatchObject({
      cniVersion: "1.1.0",
      name: "net",
      plugins: [{ type: "heddle-chain", capabilities: { ips: true }, plugins: [a] }],
    });
  });

  test("refuses a list that is packed", () => {
    const packed = pack({ cniVersion: "1.0.0", name: "net", plugins: [a, b] });
    expect(() => pack(packed)).toThrow(
      "plugins[0].type: is heddle-chain, and a chain cannot hold another one: the list is packed already",
    );
  });
});
