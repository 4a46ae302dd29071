/** When a peer is as it should be, and what is sent to make it so. */
import { describe, expect, test } from "bun:test";
import { decodeWireguard, wireguardAttrs, type WireguardPeer } from "../../genl/wireguard.ts";
import { genericAnswer } from "../../genl/family.ts";
import type { SecretKey } from "../../net/wireguard-key.ts";
import { NetError } from "../../errors.ts";
import { cidr, ip } from "../../testing/address.ts";
import { keyPair } from "../../testing/wireguard.ts";
import type { FabricPeer } from "../host-state.ts";
import { peerKind } from "./peers.ts";
import type { KnownLinks, Place } from "./place.ts";
import { makeTable } from "./table.ts";
import type { KnownTunnels } from "./tunnels.ts";

const NOW = 1_800_000_000_000;
const links: KnownLinks = {
  byName: new Map([["wg0", { index: 7, up: true, kind: "wireguard" }]]),
  ours: new Map([[7, "wg0"]]),
};
const place = {} as Place;

const wish = (n: number, more: Partial<FabricPeer> = {}): FabricPeer => ({
  link: "wg0",
  publicKey: keyPair(n).publicKey,
  endpoint: { ip: ip(`192.0.2.${n}`), port: 51_820 },
  keepaliveSeconds: 0,
  allowed: [cidr(`10.0.${n}.0/24`)],
  ...more,
});
/** As the kernel has what was wished for. */
const inKernel = ({ link: _, ...peer }: FabricPeer, more: Partial<WireguardPeer> = {}): WireguardPeer => ({
  ...peer,
  ...more,
});
const elsewhere = { ip: ip("203.0.113.9"), port: 4_000 };
const heardOf = (msAgo: number): Partial<WireguardPeer> => ({ handshakeMs: NOW - msAgo });

function tableOf() {
  let tunnels: KnownTunnels = { family: 33, devices: new Map() };
  const table = makeTable(
    peerKind(
      () => tunnels,
      () => NOW,
    ),
  );
  let before: readonly FabricPeer[] = [];
  return {
    want(...after: readonly FabricPeer[]): void {
      table.want(before, after, () => undefined);
      before = after;
    },
    /** The kernel is read, and has this. */
    relist(...peers: readonly WireguardPeer[]): void {
      tunnels = { family: 33, devices: new Map([[7, { index: 7, listenPort: 51_820, peers }]]) };
      table.relist(place, links);
    },
    /** Carries out the plan; what was sent, peer by peer. */
    step() {
      const { puts, removals } = table.plan(links, () => true);
      for (const { key, built } of puts) table.put(key, built);
      for (const { key } of removals) table.removed(key);
      const sent = [...puts, ...removals].map(({ request }) => {
        if (request instanceof NetError) throw request;
        const [raw] = genericAnswer(request, wireguardAttrs).peers ?? [];
        const [peer] = decodeWireguard([request]).peers;
        return {
          ...peer,
          flags: raw?.flags,
          psk: raw?.presharedKey !== undefined,
          keepalive: raw?.keepaliveSeconds,
        };
      });
      return sent.map(({ publicKey, endpoint, allowed, flags, psk, keepalive }) =>
        [
          names.get(publicKey),
          `flags ${flags}`,
          ...(endpoint ? [`at ${endpoint.ip.text} ${endpoint.port}`] : []),
          ...(psk ? ["psk"] : []),
          ...(keepalive === undefined ? [] : [`keepalive ${keepalive}`]),
          ...(allowed ?? []).map(({ text }) => text),
        ].join(" "),
      );
    },
  };
}
const names = new Map([1, 2, 3].map((n) => [keyPair(n).publicKey as string | undefined, `peer ${n}`]));

const [REMOVE, REPLACE, UPDATE] = [1, 2, 4];

describe("a peer", () => {
  test("that is not there is added with all that it has", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist();
    expect(table.step()).toEqual([`peer 1 flags ${REPLACE} at 192.0.2.1 51820 psk keepalive 0 10.0.1.0/24`]);
    expect(table.step()).toEqual([]);
  });

  test("that nobody wants is removed, whoever made it", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(inKernel(wish(1)), inKernel(wish(2)));
    expect(table.step()).toEqual([`peer 2 flags ${REMOVE}`]);
  });

  test("that is as it should be is left alone", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(inKernel(wish(1), heardOf(1_000)));
    expect(table.step()).toEqual([]);
  });

  test("with another key takes the prefix over, and the old one goes after it", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(inKernel(wish(1)));
    expect(table.step()).toEqual([]);
    table.want(wish(2, { allowed: wish(1).allowed }));
    expect(table.step()).toEqual([
      `peer 2 flags ${REPLACE} at 192.0.2.2 51820 psk keepalive 0 10.0.1.0/24`,
      `peer 1 flags ${REMOVE}`,
    ]);
  });

  const presharedKey: SecretKey = keyPair(9).privateKey;
  test.each<[string, Partial<FabricPeer>, Partial<WireguardPeer>, string]>([
    ["no preshared key", { presharedKey }, {}, "psk"],
    ["a preshared key", {}, { presharedKey }, "psk"],
    ["another keepalive", { keepaliveSeconds: 25 }, {}, "keepalive 25"],
    ["no prefix", {}, { allowed: [] }, "10.0.1.0/24"],
    ["another place, and was not heard of there", {}, { endpoint: elsewhere }, "at 192.0.2.1 51820"],
    ["no place", {}, { endpoint: undefined as never }, "at 192.0.2.1 51820"],
  ])("that has %s gets what it should have, and nothing else is touched", (_, wished, found, sent) => {
    const table = tableOf();
    table.want(wish(1, wished));
    table.relist(inKernel(wish(1), found));
    expect(table.step()).toEqual([`peer 1 flags ${UPDATE} ${sent}`]);
  });

  test("that has a prefix more than it should loses all others", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(inKernel(wish(1), { allowed: [cidr("10.0.1.0/24"), cidr("10.0.9.0/24")] }));
    expect(table.step()).toEqual([`peer 1 flags ${REPLACE | UPDATE} 10.0.1.0/24`]);
  });
});

describe("where a peer is", () => {
  const roaming = (msAgo: number): WireguardPeer =>
    inKernel(wish(1), { endpoint: elsewhere, ...heardOf(msAgo) });

  test("is where it was heard of a moment ago, also for an agent that has just begun", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(roaming(60_000));
    expect(table.step()).toEqual([]);
    table.relist(roaming(180_000));
    expect(table.step()).toEqual([]);
  });

  test("is where it was heard of for as long as it may be silent, if it is kept alive seldom", () => {
    const table = tableOf();
    table.want(wish(1, { keepaliveSeconds: 120 }));
    table.relist({ ...roaming(240_000), keepaliveSeconds: 120 });
    expect(table.step()).toEqual([]);
    table.relist({ ...roaming(260_000), keepaliveSeconds: 120 });
    expect(table.step()).toEqual([`peer 1 flags ${UPDATE} at 192.0.2.1 51820`]);
  });

  test("is where it says if it was not heard of for long", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(roaming(60_000));
    table.step();
    table.relist(roaming(200_000));
    expect(table.step()).toEqual([`peer 1 flags ${UPDATE} at 192.0.2.1 51820`]);
  });

  test("is where it says as soon as it says something else", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(roaming(1_000));
    table.step();
    const moved = wish(1, { endpoint: { ip: ip("192.0.2.77"), port: 51_820 } });
    table.want(moved);
    expect(table.step()).toEqual([`peer 1 flags ${UPDATE} at 192.0.2.77 51820`]);
    // It is heard of from behind its translation again.
    table.relist(roaming(1_000));
    expect(table.step()).toEqual([]);
  });

  test("stays when something else of it is mended", () => {
    const table = tableOf();
    table.want(wish(1, { keepaliveSeconds: 25 }));
    table.relist(roaming(1_000));
    expect(table.step()).toEqual([`peer 1 flags ${UPDATE} keepalive 25`]);
  });

  test("is where it says if the clock was changed and nobody knows when it was heard of", () => {
    const table = tableOf();
    table.want(wish(1));
    table.relist(roaming(-1_000_000));
    expect(table.step()).toEqual([`peer 1 flags ${UPDATE} at 192.0.2.1 51820`]);
  });
});
