import { describe, expect, test } from "bun:test";
import { ip } from "../testing/address.ts";
import type { Client } from "./model.ts";
import { macOf } from "./place.ts";
import {
  type Acquire4,
  onMessage,
  onTime,
  pauseMs,
  question,
  renewalOf,
  startAcquire,
  type State4,
  type Step4,
} from "./v4-acquire.ts";
import type { Message4 } from "./v4-message.ts";
import { messageType, OPTION, TYPE } from "./v4-options.ts";

const mac = macOf("02:00:00:00:00:05");
const serverMac = macOf("02:00:00:00:00:01");
const client: Client = { id: "00aa", options: [[12, "62"]], request: [1, 3], broadcast: false };
const setup: Acquire4 = {
  client,
  mac,
  xid: 7,
  times: { totalMs: 100_000, resendMaxMs: 62_000, answerMs: 10_000 },
  random: () => 0.5,
};

const reply = (type: number, more: Partial<Message4> & { readonly server?: string } = {}): Message4 => {
  const { server = "10.0.0.1", ...rest } = more;
  return {
    ...question({ type, client, mac, xid: 7, seconds: 0, options: [] }),
    from: "server",
    yiaddr: ip("10.0.0.5"),
    options: new Map([
      [OPTION.messageType, Uint8Array.of(type)],
      [OPTION.serverId, ip(server).bytes],
      [OPTION.leaseTime, Uint8Array.of(0, 0, 14, 16)],
    ]),
    ...rest,
  };
};
const goOn = (step: Step4): { readonly state: State4; readonly send?: Message4 } => {
  if (step.kind !== "go-on") throw new Error(JSON.stringify(step));
  return step;
};
/** The state after the first DISCOVER, and after the first REQUEST. */
const selecting = goOn(onTime(setup, startAcquire(0), 0)).state;
const requesting = goOn(onMessage(setup, selecting, reply(TYPE.offer), serverMac, 100)).state;

describe("getting a lease", () => {
  test("goes from DISCOVER through OFFER and REQUEST to ACK", () => {
    const first = goOn(onTime(setup, startAcquire(0), 0));
    expect(first.send && messageType(first.send)).toBe(TYPE.discover);
    expect(first.send?.options.get(OPTION.hostName)?.toHex()).toBe("62");
    const second = goOn(onMessage(setup, first.state, reply(TYPE.offer), serverMac, 500));
    expect(second.send && messageType(second.send)).toBe(TYPE.request);
    expect(second.send?.options.get(OPTION.requestedAddress)?.toHex()).toBe("0a000005");
    expect(second.send?.options.get(OPTION.serverId)?.toHex()).toBe("0a000001");
    const done = onMessage(setup, second.state, reply(TYPE.ack), serverMac, 900);
    expect(done).toMatchObject({ kind: "bound", sentMs: 500, granted: { terms: { address: "10.0.0.5/8" } } });
  });

  test("asks four times every two seconds, then after four, eight, … up to the longest pause", () => {
    const pauses = Array.from({ length: 10 }, (_, n) => pauseMs(n, 62_000, () => 0.5));
    expect(pauses).toEqual([2000, 2000, 2000, 2000, 4000, 8000, 16_000, 32_000, 62_000, 62_000]);
    expect([pauseMs(0, 62_000, () => 0), pauseMs(0, 62_000, () => 1)]).toEqual([1000, 3000]);
  });

  test("sends DISCOVER again, each saying how long it has been", () => {
    let state = startAcquire(0);
    const sent: (readonly [number, number])[] = [];
    for (let now = 0; now < 30_000; now += 100) {
      const step = goOn(onTime(setup, state, now));
      state = step.state;
      if (step.send) sent.push([now / 1000, step.send.seconds]);
    }
    expect(sent).toEqual([0, 2, 4, 6, 8, 12, 20].map((s) => [s, s]));
  });

  test("gives up when the time is over, and says where it was", () => {
    expect(onTime(setup, selecting, 100_000)).toEqual({
      kind: "given-up",
      why: "no DHCP server answered within 100 s",
    });
    expect(onTime(setup, requesting, 100_000)).toMatchObject({
      why: expect.stringContaining("10.0.0.1 offered"),
    });
  });

  test("asks all servers again when the one that offered stays silent", () => {
    let state = requesting;
    let sent: Message4 | undefined;
    for (let now = 100; now <= 12_500; now += 100) {
      const step = goOn(onTime(setup, state, now));
      state = step.state;
      sent = step.send ?? sent;
    }
    expect(sent && messageType(sent)).toBe(TYPE.discover);
  });

  test("asks all servers again, after a pause, when the one that offered refuses", () => {
    const refused = goOn(onMessage(setup, requesting, reply(TYPE.nak), serverMac, 200));
    expect(refused.send).toBeUndefined();
    expect(goOn(onTime(setup, refused.state, 1000)).send).toBeUndefined();
    const later = goOn(onTime(setup, refused.state, 2300)).send;
    expect(later && messageType(later)).toBe(TYPE.discover);
  });

  test("asks for the address that it had", () => {
    const { send } = goOn(onTime({ ...setup, wanted: ip("10.0.0.9") }, startAcquire(0), 0));
    expect(send?.options.get(OPTION.requestedAddress)?.toHex()).toBe("0a000009");
  });

  const id = (hex: string) =>
    new Map([...reply(TYPE.offer).options, [OPTION.clientId, Uint8Array.fromHex(hex)]]);
  test.each<[string, Message4]>([
    ["another number", reply(TYPE.offer, { xid: 8 })],
    ["another hardware address", reply(TYPE.offer, { mac: serverMac })],
    ["a client's message", reply(TYPE.offer, { from: "client" })],
    ["another client's identifier", reply(TYPE.offer, { options: id("00ab") })],
    ["no server", reply(TYPE.offer, { options: new Map([[OPTION.messageType, Uint8Array.of(2)]]) })],
    ["no type", reply(TYPE.offer, { options: new Map() })],
    ["an ACK for nothing", reply(TYPE.ack)],
    ["no address", reply(TYPE.offer, { yiaddr: ip("0.0.0.0") })],
    ["everybody's address", reply(TYPE.offer, { yiaddr: ip("255.255.255.255") })],
  ])("passes over %s", (_, message) => {
    expect(onMessage(setup, selecting, message, serverMac, 50)).toEqual({ kind: "go-on", state: selecting });
  });
  test("takes an offer that repeats its identifier", () => {
    expect(
      goOn(onMessage(setup, selecting, reply(TYPE.offer, { options: id("00aa") }), serverMac, 50)).send,
    ).toBeDefined();
  });

  test.each<[string, Message4]>([
    ["another server's ACK", reply(TYPE.ack, { server: "10.0.0.2" })],
    ["another server's NAK", reply(TYPE.nak, { server: "10.0.0.2" })],
    ["an ACK of another address", reply(TYPE.ack, { yiaddr: ip("10.0.0.6") })],
    ["another OFFER", reply(TYPE.offer)],
    [
      "an ACK that is no lease",
      reply(TYPE.ack, { options: new Map([...reply(TYPE.ack).options, [51, new Uint8Array(4)]]) }),
    ],
  ])("passes over %s while it waits for its server", (_, message) => {
    expect(onMessage(setup, requesting, message, serverMac, 150)).toEqual({
      kind: "go-on",
      state: requesting,
    });
  });
});

describe("a renewal", () => {
  const asked = { client, mac, xid: 7, address: ip("10.0.0.5") };
  test("is an ACK of the same address", () => {
    expect(renewalOf(reply(TYPE.ack), asked, serverMac)).toMatchObject({ kind: "renewed" });
    expect(renewalOf(reply(TYPE.ack, { yiaddr: ip("10.0.0.6") }), asked, serverMac)).toBeUndefined();
    expect(renewalOf(reply(TYPE.ack, { xid: 8 }), asked, serverMac)).toBeUndefined();
  });
  test("is refused by a NAK, with the server's words", () => {
    const words = new Map([
      ...reply(TYPE.nak).options,
      [OPTION.message, new TextEncoder().encode("no\nmore")],
    ]);
    expect(renewalOf(reply(TYPE.nak, { options: words }), asked, serverMac)).toEqual({
      kind: "refused",
      why: "no?more",
    });
  });
});

test("a RELEASE says who and which address, and asks for nothing", () => {
  const address = ip("10.0.0.5");
  const m = question({
    type: TYPE.release,
    client: { ...client, broadcast: true },
    mac,
    xid: 1,
    seconds: 0,
    options: [[OPTION.serverId, ip("10.0.0.1").bytes]],
    ciaddr: address,
  });
  expect([...m.options.keys()]).toEqual([OPTION.messageType, OPTION.clientId, OPTION.serverId]);
  expect(m.ciaddr).toBe(address);
  expect(m.broadcast).toBe(false);
});
