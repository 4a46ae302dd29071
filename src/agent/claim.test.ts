import { expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { tempDir } from "../testing/temp-dir.ts";
import { claimHost } from "./claim.ts";

const settings = (name: string, routeProtocol: number, subnetFile: string) => ({
  owner: { name, routeProtocol },
  flannel: { subnetFile },
});

test("two agents of one host differ in name, protocol number and file", () => {
  using dir = tempDir("claim");
  const first = claimHost(settings("flannel", 73, "/run/a.env"), dir.in("lock"));
  for (const [name, protocol, file, why] of [
    ["flannel", 74, "/run/b.env", 'has the name "flannel"'],
    ["second", 73, "/run/b.env", "has the routeProtocol 73"],
    ["second", 74, "/run/a.env", "has the subnetFile /run/a.env"],
  ] as const)
    expect(() => claimHost(settings(name, protocol, file), dir.in("lock"))).toThrow(why);
  // One that was refused has kept nothing.
  using _second = claimHost(settings("second", 74, "/run/b.env"), dir.in("lock"));
  first[Symbol.dispose]();
  using _again = claimHost(settings("flannel", 73, "/run/a.env"), dir.in("lock"));
  expect(readdirSync(dir.in("lock"))).toHaveLength(6);
});

test("an agent that can write nothing there runs all the same", () => {
  claimHost(settings("flannel", 73, "/run/a.env"), "/sys/heddle-lock")[Symbol.dispose]();
  expect(existsSync("/sys/heddle-lock")).toBe(false);
});
