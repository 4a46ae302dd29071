/** Any bytes whatever are a message or are refused in the one way that callers expect. The seed is printed. */
import { expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { ip } from "../testing/address.ts";
import { decodeNames } from "./domain-names.ts";
import { macOf } from "./place.ts";
import { decodeFrame, encodeFrame } from "./udp4-frame.ts";
import { decode4, encode4 } from "./v4-message.ts";
import { OPTION, termsOf } from "./v4-options.ts";
import { answerOf, decode6, encode6, identityOf, question6 } from "./v6-message.ts";

const seed = Number(process.env["HEDDLE_FUZZ_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0]);
const ROUNDS = 20_000;

/** xorshift32: the same numbers for the same seed. */
function numbers(from: number): (below: number) => number {
  let x = from >>> 0 || 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}

const mac = macOf("02:00:00:00:00:01");
const who = identityOf("00aa");
const message4 = encode4({
  from: "server",
  xid: 1,
  seconds: 0,
  broadcast: false,
  ciaddr: ip("0.0.0.0"),
  yiaddr: ip("10.0.0.5"),
  giaddr: ip("0.0.0.0"),
  mac,
  options: new Map([
    [OPTION.messageType, Uint8Array.of(5)],
    [OPTION.serverId, ip("10.0.0.1").bytes],
    [OPTION.subnetMask, Uint8Array.of(255, 255, 255, 0)],
    [OPTION.classlessRoutes, Uint8Array.of(24, 10, 1, 1, 10, 0, 0, 1)],
    [OPTION.domainSearch, Uint8Array.of(1, 97, 0, 1, 98, 0xc0, 0)],
    [OPTION.overload, Uint8Array.of(3)],
  ]),
});
const end = { mac, ip: ip("10.0.0.1"), port: 67 };
const message6 = encode6({
  ...question6({
    type: 7,
    xid: 1,
    who,
    server: Uint8Array.of(1),
    address: ip("fd00::1"),
    elapsedMs: 0,
    more: [],
  }),
});
const starts: readonly Uint8Array[] = [
  message4,
  message6,
  encodeFrame({ source: end, destination: end, payload: message4 }),
  Uint8Array.of(3, 97, 98, 99, 0xc0, 0, 0),
];

function tolerated(work: () => unknown): void {
  try {
    work();
  } catch (e) {
    if (!(e instanceof NetError && e.is("decode/malformed"))) throw e;
  }
}

test(`changed packets are read or refused (seed ${seed})`, () => {
  const random = numbers(seed);
  let read = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const from = starts[random(starts.length)] ?? message4;
    const bytes = from.slice(0, random(4) === 0 ? random(from.length + 1) : from.length);
    for (let n = random(6); n > 0 && bytes.length > 0; n--) bytes[random(bytes.length)] = random(256);
    tolerated(() => termsOf(decode4(bytes), mac));
    tolerated(() => answerOf(decode6(bytes), who));
    tolerated(() => decodeNames(bytes, "names", true));
    const datagram = decodeFrame(bytes, random(2) === 0);
    if (datagram) read++;
  }
  expect(read).toBeGreaterThan(0);
});
