import { describe, expect, test } from "bun:test";
import type { Message } from "../../netlink/message.ts";
import { addressAttrs } from "../../rtnl/address.ts";
import { linkBody } from "../../rtnl/link.ts";
import { macToBytes } from "../../net/mac.ts";
import { cidr } from "../../testing/address.ts";
import { macOf } from "../../testing/fabric.ts";
import { linkEvent, type Standing } from "./link-event.ts";
import type { KnownLinks } from "./place.ts";

const RTM = { NEWLINK: 16, DELLINK: 17, NEWADDR: 20, DELADDR: 21, NEWROUTE: 24 } as const;
const message = (type: number, body: Uint8Array): Message => ({ type, flags: 0, seq: 0, pid: 0, body });

interface Words {
  readonly index?: number;
  readonly up?: boolean;
  readonly mac?: number;
  readonly mtu?: number;
  readonly family?: number;
}
const link = (type: "NEWLINK" | "DELLINK", name: string, words: Words = {}): Message =>
  message(
    RTM[type],
    linkBody(
      { index: words.index ?? 5, up: words.up ?? true, family: words.family ?? 0 },
      { name, mtu: words.mtu ?? 1450, address: macToBytes(macOf(words.mac ?? 1)) },
    ),
  );
function address(type: "NEWADDR" | "DELADDR", index: number, text: string, scope = 0): Message {
  const { ip, bits } = cidr(text);
  const head = [ip.family === 4 ? 2 : 10, bits, 0x80, scope, index, 0, 0, 0];
  return message(
    RTM[type],
    Uint8Array.of(...head, ...addressAttrs.encode({ local: ip.bytes, address: ip.bytes })),
  );
}

const standing: Standing = {
  wanted: [{ name: "flannel.1", lower: "eth0", mac: macOf(1), mtuBytes: 1450 }],
  carries: (name) => name === "eth1",
  hasAddress: (name, text) => name === "flannel.1" && text === "10.0.1.0/32",
};
const known = (): KnownLinks => ({
  byName: new Map([
    ["flannel.1", { index: 5, up: true }],
    ["eth0", { index: 2, up: true }],
    ["eth1", { index: 3, up: true }],
    ["veth7", { index: 7, up: true }],
  ]),
  ours: new Map([[5, "flannel.1"]]),
});

describe("an event calls for a list", () => {
  test.each<[string, Message]>([
    ["if our link is gone", link("DELLINK", "flannel.1")],
    ["if our link is another one", link("NEWLINK", "flannel.1", { index: 6 })],
    ["if our link went down", link("NEWLINK", "flannel.1", { up: false })],
    ["if our link got another MAC address", link("NEWLINK", "flannel.1", { mac: 2 })],
    ["if our link got another MTU", link("NEWLINK", "flannel.1", { mtu: 1500 })],
    ["if the link below ours is gone", link("DELLINK", "eth0", { index: 2 })],
    ["if a link that routes lead over went down", link("NEWLINK", "eth1", { index: 3, up: false })],
    ["if our address is gone", address("DELADDR", 5, "10.0.1.0/32")],
    ["if our link got an address of somebody", address("NEWADDR", 5, "10.9.9.9/32")],
    ["if an address is gone from a link that routes lead over", address("DELADDR", 3, "192.0.2.1/24")],
  ])("%s", (_, event) => {
    expect(linkEvent(event, known(), standing)).toBe("stale");
  });
});

describe("an event calls for nothing", () => {
  test.each<[string, Message]>([
    ["if our link is as it should be", link("NEWLINK", "flannel.1")],
    ["if it is about a link of a container", link("DELLINK", "veth7", { index: 7 })],
    ["if a link came", link("NEWLINK", "veth8", { index: 8 })],
    ["if a port of a bridge is told again", link("DELLINK", "eth1", { index: 3, family: 7 })],
    ["if our address is there", address("NEWADDR", 5, "10.0.1.0/32")],
    ["if somebody's address is gone from our link", address("DELADDR", 5, "10.9.9.9/32")],
    ["if the kernel gives our link its link-local address", address("NEWADDR", 5, "fe80::1/64", 253)],
    ["if a container's address is gone", address("DELADDR", 7, "10.0.1.1/24")],
  ])("%s", (_, event) => {
    expect(linkEvent(event, known(), standing)).toBe("known");
  });

  test("but another try if a link that routes lead over got an address", () => {
    expect(linkEvent(address("NEWADDR", 3, "192.0.2.1/24"), known(), standing)).toBe("retry");
    expect(linkEvent(address("NEWADDR", 7, "192.0.2.1/24"), known(), standing)).toBe("known");
  });

  test("here if it is about something else", () => {
    expect(linkEvent(message(RTM.NEWROUTE, new Uint8Array(12)), known(), standing)).toBe("other");
  });
});

test("links are kept in mind as they come and go", () => {
  const links = known();
  linkEvent(link("NEWLINK", "veth8", { index: 8 }), links, standing);
  linkEvent(link("DELLINK", "veth7", { index: 7 }), links, standing);
  expect([links.byName.get("veth8")?.index, links.byName.has("veth7")]).toEqual([8, false]);
});
