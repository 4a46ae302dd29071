import { describe, expect, test } from "bun:test";
import { decodeAs } from "../cni/json.ts";
import { parseLabName, readLabState } from "./model.ts";
import { labPaths } from "./paths.ts";
import { pcapHeader, pcapPacket } from "./pcap.ts";

const state = {
  spec: {
    name: "lab",
    hosts: 3,
    underlay: "routed",
    subnets: 2,
    ip: "dual",
    mtuBytes: 1500,
    offload: true,
    provider: "none",
    backend: "",
    store: "file",
  },
  complete: true,
  maker: { pid: 17, start: "4711" },
  faults: [
    { kind: "cut", host: "host1" },
    { kind: "partition", one: ["host1"], other: ["host2", "host3"] },
    { kind: "delay", host: "host2", delayMs: 40 },
    { kind: "loss", host: "host3", percent: 12.5 },
  ],
  moved: { host2: 211 },
};
const read = (value: unknown) => decodeAs("lab.json", readLabState, value);

describe("the state file", () => {
  test("is read as it was written", () => {
    expect(read(JSON.parse(JSON.stringify(state)))).toEqual(state as never);
  });

  test.each([
    ["a name that leaves the directory", { spec: { ...state.spec, name: "../x" } }],
    ["more hosts than a subnet has numbers", { spec: { ...state.spec, hosts: 201 } }],
    ["an unknown fault", { faults: [{ kind: "fire", host: "host1" }] }],
    ["more loss than there is", { faults: [{ kind: "loss", host: "host1", percent: 101 }] }],
    ["a process without a number", { maker: { start: "1" } }],
  ])("with %s is refused", (_, change) => {
    expect(() => read({ ...state, ...change })).toThrow("lab.json");
  });
});

test.each([
  ["web", true],
  ["a-1", true],
  ["", false],
  ["-a", false],
  ["a-", false],
  ["A", false],
  ["a/b", false],
  ["a".repeat(33), false],
])("the name %j is allowed: %p", (name, ok) => {
  expect(parseLabName(name).ok).toBe(ok);
});

describe("a file of a host", () => {
  const host = labPaths("lab").host("host1");
  test("is found below the host's own directories", () => {
    expect(host.file("/run/flannel/subnet.env")).toBe("/run/heddle/lab/lab/host1/fs/run/flannel/subnet.env");
  });
  test("of the machine is not the host's", () => {
    expect(() => host.file("/etc/passwd")).toThrow("/etc/passwd");
    expect(() => host.file("/run/heddlex")).toThrow();
  });
});

describe("a file of packets", () => {
  test("begins with stamps of nanoseconds, version 2.4, and what the packets begin with", () => {
    expect(pcapHeader(1).toHex()).toBe(
      ["4d3cb2a1", "02000400", "00000000", "00000000", "00000400", "01000000"].join(""),
    );
    // ARPHRD_NONE: a tunnel, whose packets begin with IP.
    expect(pcapHeader(0xfffe).toHex().slice(-8)).toBe("65000000");
  });

  test("has each packet with its time and its length", () => {
    const packet = pcapPacket(Uint8Array.of(1, 2, 3), 1_700_000_000_000_000_042n);
    expect(packet.toHex()).toBe(["00f15365", "2a000000", "03000000", "03000000", "010203"].join(""));
  });

  test("has the beginning of a packet that is too long, and its true length", () => {
    const view = new DataView(pcapPacket(new Uint8Array(300_000), 0n).buffer);
    expect([view.getUint32(8, true), view.getUint32(12, true), view.byteLength]).toEqual([
      262_144, 300_000, 262_160,
    ]);
  });
});
