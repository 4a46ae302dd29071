/** Host ports as pure functions. */
import { describe, expect, test } from "bun:test";
import { ip } from "../testing/address.ts";
import type { AskedPort } from "./model.ts";
import { choosePorts, DYNAMIC, listeningPorts, type TakenPort } from "./ports.ts";

const ask = (hostPort: number, hostPortEnd = hostPort, hostIp?: string): AskedPort => ({
  protocol: "tcp",
  containerPort: 80,
  hostPort,
  hostPortEnd,
  ...(hostIp ? { hostIp: ip(hostIp) } : {}),
});
const held = (hostPort: number, hostIp?: string, protocol: AskedPort["protocol"] = "tcp"): TakenPort => ({
  protocol,
  containerPort: 1,
  hostPort,
  owner: "somebody",
  ...(hostIp ? { hostIp: ip(hostIp) } : {}),
});
const numbers = (...args: Parameters<typeof choosePorts>): readonly number[] =>
  choosePorts(...args).map((p) => p.hostPort);

describe("a host port", () => {
  test("is the one that was asked for", () => {
    expect(choosePorts([ask(8080)], [], undefined)).toEqual([
      { protocol: "tcp", containerPort: 80, hostPort: 8080 },
    ]);
  });

  test("is opened where the network says, if nobody says otherwise", () => {
    const [a, b] = choosePorts([ask(1), ask(2, 2, "192.0.2.2")], [], ip("192.0.2.1"));
    expect([a?.hostIp?.text, b?.hostIp?.text]).toEqual(["192.0.2.1", "192.0.2.2"]);
  });

  test("of a range is the first free one, and no two ports of a container get the same", () => {
    expect(numbers([ask(8080, 8082), ask(8080, 8082)], [held(8080)], undefined)).toEqual([8081, 8082]);
    expect(() => choosePorts([ask(8080, 8081)], [held(8080), held(8081)], undefined)).toThrow(
      "8080-8081/tcp",
    );
  });

  test("that may be any is a free one of the dynamic ports", () => {
    expect(numbers([ask(0), ask(0)], [held(DYNAMIC.first)], undefined)).toEqual([
      DYNAMIC.first + 1,
      DYNAMIC.first + 2,
    ]);
  });

  test("is taken on every address, or on the same one, for one protocol", () => {
    const free = (...taken: readonly TakenPort[]) => numbers([ask(80, 80, "192.0.2.1")], taken, undefined);
    expect(free(held(80, "192.0.2.2"), held(80, undefined, "udp"), held(80, "::1"), held(81))).toEqual([80]);
    for (const other of [held(80), held(80, "192.0.2.1"), held(80, "0.0.0.0")])
      expect(() => free(other)).toThrow("host port 80/tcp is taken by somebody");
    expect(() => numbers([ask(80)], [held(80, "192.0.2.2")], undefined)).toThrow("taken");
    expect(() => numbers([ask(80), ask(80)], [], undefined)).toThrow("the same container");
  });
});

describe("the kernel's tables", () => {
  const HEAD =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
  const row = (local: string, state: string) =>
    `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000\n`;

  test("tell who listens, and not who speaks", () => {
    const table = HEAD + row("0100007F:1F90", "0A") + row("00000000:0050", "0A") + row("0100007F:8000", "01");
    expect(listeningPorts(table, "tcp").map((p) => [p.hostIp?.text, p.hostPort])).toEqual([
      ["127.0.0.1", 8080],
      [undefined, 80],
    ]);
  });

  test("of UDP tell who is bound", () => {
    expect(listeningPorts(HEAD + row("0100007F:0035", "07"), "udp")).toMatchObject([
      { protocol: "udp", hostPort: 53 },
    ]);
  });

  test("of IPv6 have words of four bytes", () => {
    const table =
      HEAD + row("000080FE00000000FF00000001000000:0050", "0A") + row(`${"0".repeat(32)}:0051`, "0A");
    expect(listeningPorts(table, "tcp").map((p) => p.hostIp?.text)).toEqual(["fe80::ff:0:1", undefined]);
    const mapped = HEAD + row("0000000000000000FFFF00000100007F:0050", "0A");
    expect(listeningPorts(mapped, "tcp").map((p) => p.hostIp?.text)).toEqual(["127.0.0.1"]);
  });

  test("that are cut short or empty tell of nobody", () => {
    for (const text of ["", HEAD, `${HEAD}   0:`, `${HEAD}   0: zz:zz 0 0A\n`])
      expect(listeningPorts(text, "tcp")).toEqual([]);
  });
});
