import { describe, expect, test } from "bun:test";
import { readGolden } from "../testing/golden.ts";
import { concerns, decodeEntry, type Flow, type MappedPort, toFlow } from "./conntrack.ts";
import { ctAttrs } from "./ctnetlink.ts";
import { ip } from "../testing/address.ts";

const plain = (flow: Flow | undefined): unknown =>
  JSON.parse(JSON.stringify(flow, (_, v: unknown) => (v instanceof Object && "text" in v ? v.text : v)));

describe("conntrack entries", () => {
  const captures = readGolden(new URL("golden/conntrack.txt", import.meta.url));
  test.each(captures)("$command is read and written back without loss", (capture) => {
    const entry = decodeEntry({ body: capture.bytes });
    expect(plain(toFlow(entry))).toEqual(capture.expect);
    expect(ctAttrs.decode(ctAttrs.encode(entry))).toEqual(entry);
    expect(ctAttrs.encode(entry).length).toBe(capture.bytes.length - 4);
  });
});

describe("concerns", () => {
  const local = new Set(["192.0.2.1"]);
  const port: MappedPort = { protocol: "udp", hostPort: 53, target: ip("10.0.0.2"), targetPort: 5353 };
  const flow = (to: string, hostPort: number, at: string, atPort: number, protocol = 17): Flow => ({
    family: 4,
    protocol,
    original: {
      source: ip("198.51.100.7"),
      destination: ip(to),
      sourcePort: 4000,
      destinationPort: hostPort,
    },
    reply: { source: ip(at), destination: ip("198.51.100.7"), sourcePort: atPort, destinationPort: 4000 },
  });
  const hostIp = ip("192.0.2.1");

  test.each<[string, MappedPort, "added" | "removed", Flow, boolean]>([
    ["a flow to the host itself, before", port, "added", flow("192.0.2.1", 53, "192.0.2.1", 53), true],
    [
      "a flow to a container that is gone, before",
      port,
      "added",
      flow("192.0.2.1", 53, "10.0.0.9", 53),
      true,
    ],
    ["a flow to the loopback, before", port, "added", flow("127.0.0.1", 53, "127.0.0.1", 53), true],
    ["what is translated already", port, "added", flow("192.0.2.1", 53, "10.0.0.2", 5353), false],
    ["what only passes through the host", port, "added", flow("203.0.113.8", 53, "203.0.113.8", 53), false],
    ["another port", port, "added", flow("192.0.2.1", 54, "192.0.2.1", 54), false],
    ["another protocol", port, "added", flow("192.0.2.1", 53, "192.0.2.1", 53, 132), false],
    [
      "another address",
      { ...port, hostIp: ip("192.0.2.3") },
      "added",
      flow("192.0.2.1", 53, "192.0.2.1", 53),
      false,
    ],
    ["the address asked for", { ...port, hostIp }, "added", flow("192.0.2.1", 53, "192.0.2.1", 53), true],
    ["what is translated, after", port, "removed", flow("192.0.2.1", 53, "10.0.0.2", 5353), true],
    [
      "what is translated to another container",
      port,
      "removed",
      flow("192.0.2.1", 53, "10.0.0.3", 5353),
      false,
    ],
    ["what goes to the host itself, after", port, "removed", flow("192.0.2.1", 53, "192.0.2.1", 53), false],
    [
      "what is sent to the container directly",
      { ...port, targetPort: 53 },
      "removed",
      flow("10.0.0.2", 53, "10.0.0.2", 53),
      false,
    ],
  ])("%s", (_, mapping, when, of, expected) => {
    expect(concerns(of, mapping, when, local)).toBe(expected);
  });
});
