import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { failureOf } from "../errors.ts";
import type { FabricNode, Json, UnreadableNode } from "../fabric/model.ts";
import { cidr, ip } from "../testing/address.ts";
import { leaseOf, nodeOf } from "../testing/agent-core.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { memoryFile } from "./memory-file.ts";
import { MEMORY_BYTES, memoryBody, memoryText, readMemory } from "./memory.ts";
import type { Known } from "./model.ts";

const of = { node: "host1", store: "file /store /coreos.com/network" };
const AT = 1_700_000_000_000;
const nodes = [
  nodeOf("10.0.2.0/24", "192.0.2.2"),
  {
    id: "node3",
    subnets: { v4: cidr("10.0.3.0/24"), v6: cidr("fd00:0:0:3::/64") },
    publics: { v4: ip("192.0.2.3"), v6: ip("fd00::3") },
    backend: { type: "", v6: { Keys: ["a", null, { b: 1 }] } },
  },
];
const known: Known = {
  config: '{"Network": "10.0.0.0/16",\n "Backend": {"Type": "vxlan"}}',
  lease: { ...leaseOf("10.0.1.0/24"), expires: AT + 1_000 },
  nodes: new Map(nodes.map((node) => [node.id, node])),
};
const text = memoryText(memoryBody(known, of), AT);
const whyNot = (source: string, whose = of): string => {
  try {
    readMemory(source, whose);
    return "it was read";
  } catch (e) {
    return (e as Error).message;
  }
};
/** The text with another line, and a checksum that is right. */
const withLine = (number: number, line: string): string => {
  const [, ...lines] = text.split("\n");
  const all = lines.with(number, line).join("\n");
  return `heddle agent 1 ${Bun.hash.crc32(all).toString(16).padStart(8, "0")}\n${all}`;
};

describe("what an agent keeps", () => {
  test("is read as it was written, nodes with every word of theirs", () => {
    expect(readMemory(text, of)).toEqual({ ...known, at: AT });
  });

  test("leaves out what nobody could read, and who says too much", () => {
    const broken = { id: "x", why: "its value is no JSON" };
    const says = (id: string, v4: Json): FabricNode => ({
      ...nodeOf("10.0.9.0/24", "192.0.2.9"),
      id,
      backend: { type: "vxlan", v4 },
    });
    const hostile: readonly (FabricNode | UnreadableNode)[] = [
      broken,
      says("large", "x".repeat(70_000)),
      // As deep as an annotation may be: in a lease, it is one deeper.
      says("deep", JSON.parse(`${"[".repeat(64)}${"]".repeat(64)}`) as Json),
      { ...says("wide", null), subnets: { v4: cidr("0.0.0.0/0") } },
    ];
    const more = new Map([...known.nodes, ...hostile.map((node) => [node.id, node] as const)]);
    expect(memoryText(memoryBody({ ...known, nodes: more }, of), AT)).toBe(text);
  });

  test("is told from another host's, and from that of another store", () => {
    expect(whyNot(text, { ...of, node: "host2" })).toContain('it is that of "host1", and this is host2');
    expect(whyNot(text, { ...of, store: "etcd" })).toContain("it is of another store");
  });

  test.each([
    ["nothing", ""],
    ["a part", text.slice(0, -20)],
    ["one letter changed", text.replace("10.0.2.0-24", "10.0.9.0-24")],
    ["another version", text.replace("agent 1", "agent 2")],
    ["bytes of no text", "\0\0\0\0"],
  ])("is refused when it is %s", (_, source) => {
    expect(whyNot(source)).toContain("damaged, or of another version");
  });

  test.each([
    ["without a time", 0, "{}"],
    ["from before the epoch", 0, '{"at":-1}'],
    ["of a time that no calendar has", 0, '{"at":9007199254740991}'],
    ["whose head is no object", 1, "[]"],
    ["without the own lease", 1, JSON.stringify({ node: of.node, store: of.store, config: "" })],
    ["with a node that is no object", 2, "7"],
    ["with a node of no subnet", 2, '{"id":"a","name":"10.0.2.1-24","value":"{}"}'],
    ["with a node of no address", 2, '{"id":"a","name":"10.0.2.0-24","value":"{}"}'],
    ["with a node nested without end", 2, "[".repeat(10_000)],
  ])("is refused %s, though its checksum is right", (_, number, line) => {
    expect(whyNot(withLine(number, line))).toStartWith("what an earlier agent knew: ");
  });

  test("is refused before it is written if nobody would read it", () => {
    expect(() => memoryText("x".repeat(MEMORY_BYTES), AT)).toThrow("more than");
  });
});

describe("the file", () => {
  const opened = (dir: string) => memoryFile({ dir: `${dir}/agent`, name: "flannel" }, of, () => AT);

  test("is whole, of one's own alone, and written only when something changed", async () => {
    using dir = tempDir("memory");
    const path = dir.in("agent/flannel.known");
    const file = opened(dir.path);
    expect(file.read()).toBeUndefined();
    await file.write(known);
    expect(readFileSync(path, "utf8")).toBe(text);
    expect([statSync(path).mode & 0o777, statSync(dir.in("agent")).mode & 0o777]).toEqual([0o600, 0o700]);
    const { ino } = statSync(path);
    await file.write({ ...known, nodes: new Map(known.nodes) });
    expect(statSync(path).ino).toBe(ino);
    await file.write({ ...known, nodes: new Map() });
    expect(opened(dir.path).read()?.nodes.size).toBe(0);
    expect(existsSync(`${path}.new`)).toBe(false);
    await file.write(undefined);
    await file.write(undefined);
    expect(existsSync(path)).toBe(false);
  });

  test("takes the place of one that a killed agent had not finished", async () => {
    using dir = tempDir("memory");
    mkdirSync(dir.in("agent"), 0o755);
    writeFileSync(dir.in("agent/flannel.known.new"), "half");
    await opened(dir.path).write(known);
    expect(opened(dir.path).read()).toEqual({ ...known, at: AT });
  });

  test("is not believed where others could write it, and no link is followed", async () => {
    using dir = tempDir("memory");
    mkdirSync(dir.in("agent"), 0o755);
    writeFileSync(dir.in("elsewhere"), text);
    symlinkSync(dir.in("elsewhere"), dir.in("agent/flannel.known"));
    expect(() => opened(dir.path).read()).toThrow("it is no file");
    for (const below of ["", "/agent"]) {
      using open = tempDir("memory");
      mkdirSync(open.in("agent"), 0o755);
      chmodSync(`${open.path}${below}`, 0o777);
      expect(() => opened(open.path).read()).toThrow("HEDDLE_STATE_DIR");
      expect(await failureOf(() => opened(open.path).write(known))).toBeDefined();
    }
  });
});
