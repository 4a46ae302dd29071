import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { isNetError } from "../../../errors.ts";
import { diceOf, seed } from "../../../testing/seed.ts";
import { tempDir } from "../../../testing/temp-dir.ts";
import { parseSubnetEnv, readSubnetEnv } from "./subnet-env.ts";

const FILE = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.3.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;
const shown = (text: string): unknown => {
  const { networks, subnets, ...rest } = parseSubnetEnv(text, "subnet.env");
  return { networks: networks.map((p) => p.text), v4: subnets.v4?.text, v6: subnets.v6?.text, ...rest };
};

describe("parseSubnetEnv", () => {
  test("reads what a daemon of an IPv4 network writes", () => {
    expect(shown(FILE)).toEqual({
      networks: ["10.244.0.0/16"],
      v4: "10.244.3.0/24",
      v6: undefined,
      mtuBytes: 1450,
      ipMasq: true,
    });
  });

  test("reads both families, and either alone", () => {
    const six = "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\n";
    const both = { networks: ["10.244.0.0/16", "2001:cafe:42::/56"], v6: "2001:cafe:42::/64" };
    expect(shown(FILE + six)).toMatchObject({ v4: "10.244.3.0/24", ...both });
    expect(shown(`${six}FLANNEL_MTU=0\nFLANNEL_IPMASQ=false`)).toEqual({
      networks: ["2001:cafe:42::/56"],
      v4: undefined,
      v6: "2001:cafe:42::/64",
      mtuBytes: 0,
      ipMasq: false,
    });
  });

  test("takes a list of networks, each once", () => {
    const list = FILE.replace("10.244.0.0/16", "10.244.0.0/16,10.245.7.1/16,10.244.9.0/16");
    expect(shown(list)).toMatchObject({ networks: ["10.244.0.0/16", "10.245.0.0/16"] });
  });

  test("leaves other lines alone; of a name said twice the last counts; quotes and carriage returns go", () => {
    const text = `# made by hand\n\nFOO=bar\nFLANNEL_MTU=9000\n${FILE.replaceAll("\n", "\r\n")}FLANNEL_IPMASQ="false"\n`;
    expect(shown(text)).toMatchObject({ mtuBytes: 1450, ipMasq: false });
  });

  test.each([
    [
      "nothing",
      "",
      "FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET, FLANNEL_MTU",
    ],
    ["no MTU", FILE.replace(/FLANNEL_MTU.*\n/, ""), "FLANNEL_MTU is missing"],
    ["a network that is none", FILE.replace("10.244.0.0/16", "10.244.0.0"), "FLANNEL_NETWORK: "],
    ["an empty part in the list", FILE.replace("/16", "/16,"), "FLANNEL_NETWORK: "],
    ["an empty network", FILE.replace("10.244.0.0/16", ""), "FLANNEL_NETWORK: "],
    ["an IPv6 subnet as one of IPv4", FILE.replace("10.244.3.1/24", "fd00::1/64"), "FLANNEL_SUBNET: "],
    ["every address", FILE.replace("10.244.3.1/24", "0.0.0.1/0"), "FLANNEL_SUBNET: "],
    ["an MTU in words", FILE.replace("1450", "large"), 'FLANNEL_MTU: "large" is no MTU'],
    ["an MTU with a sign", FILE.replace("1450", "-1"), "FLANNEL_MTU: "],
    ["an MTU of nothing", FILE.replace("1450", ""), "FLANNEL_MTU: "],
    ["an MTU beyond that of IPv4", FILE.replace("1450", "65536"), "FLANNEL_MTU: "],
    ["an MTU below that of IPv4", FILE.replace("1450", "67"), "FLANNEL_MTU: "],
    ["a flag that is none", FILE.replace("true", "yes"), "FLANNEL_IPMASQ: "],
    [
      "too many networks",
      FILE.replace("/16", "/16,10.0.0.0/8".repeat(300)),
      "FLANNEL_NETWORK: more than 256",
    ],
  ])("refuses %s, and names it", (_what, text, why) => {
    const e = problemOf(() => parseSubnetEnv(text, "/run/x"));
    expect(e).toStartWith(`/run/x: ${why}`);
  });

  test(`reads any text or says what is wrong with it (seed ${seed})`, () => {
    const dice = diceOf(seed, "subnet.env");
    const words = [
      ...FILE.split(/[\n=]/),
      "",
      "=",
      "/",
      ",",
      "\0",
      "::/0",
      "fd00::1/64",
      "0x10",
      "\u{1f9f5}",
    ];
    const word = (): string => words[dice(words.length)] ?? "";
    for (let i = 0; i < 2000; i++) {
      const lines = Array.from({ length: dice(8) }, () => [word(), "=", word(), word()].join(""));
      problemOf(() => parseSubnetEnv(lines.join("\n"), "x"));
    }
  });
});

describe("readSubnetEnv", () => {
  test("says nothing of a file that is not there", () => {
    using dir = tempDir("flannel");
    expect(readSubnetEnv(dir.in("subnet.env"))).toBeUndefined();
    expect(readSubnetEnv(dir.in("none", "subnet.env"))).toBeUndefined();
  });

  test("reads a file, and refuses a folder, a pipe's end and what is too large", () => {
    using dir = tempDir("flannel");
    writeFileSync(dir.in("subnet.env"), FILE);
    expect(readSubnetEnv(dir.in("subnet.env"))?.mtuBytes).toBe(1450);
    mkdirSync(dir.in("folder"));
    expect(problemOf(() => readSubnetEnv(dir.in("folder")))).toEndWith("is not a file");
    expect(problemOf(() => readSubnetEnv("/dev/zero"))).toEndWith("is not a file");
    writeFileSync(dir.in("large"), FILE + "#".repeat(70_000));
    expect(problemOf(() => readSubnetEnv(dir.in("large")))).toEndWith("at most 65536 are read");
  });
});

function problemOf(work: () => unknown): string {
  try {
    work();
    return "accepted";
  } catch (e) {
    if (isNetError(e, "decode/malformed")) return e.message;
    throw e;
  }
}
