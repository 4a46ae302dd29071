import { describe, expect, test } from "bun:test";
import { type SecretKey, wireguardKeyBytes } from "../net/wireguard-key.ts";
import { cidr, ip } from "../testing/address.ts";
import { readGolden } from "../testing/golden.ts";
import { keyPair, privateBytes } from "../testing/wireguard.ts";
import { genericAnswer, genericRequest } from "./family.ts";
import {
  decodeWireguard,
  peerRemoval,
  peerSetting,
  wireguardAttrs,
  type WireguardPeer,
  wireguardSetting,
} from "./wireguard.ts";

const FAMILY = 33;
const words = (text: string): string => text.replaceAll(/\s/g, "");
const [own, peer, other] = [keyPair(1), keyPair(2), keyPair(3)];
const publicHex = wireguardKeyBytes(peer.publicKey).toHex();
const presharedKey: SecretKey = keyPair(9).privateKey;

/** A message of the kernel. */
const answer = (device: Parameters<typeof wireguardAttrs.encode>[0]) =>
  genericRequest(FAMILY, { number: 0, name: "answer" }, wireguardAttrs, device);
const raw = (key: WireguardPeer["publicKey"]): Uint8Array => wireguardKeyBytes(key);
const v4 = (address: string, bits: number) => ({ family: 2, address: ip(address).bytes, bits });

describe("what is told of a device", () => {
  test("is its port, its public key and its peers, and never its private key", () => {
    const device = decodeWireguard([
      answer({
        index: 7,
        name: "flannel-wg",
        privateKey: privateBytes(1),
        publicKey: raw(own.publicKey),
        listenPort: 51_820,
        mark: 0,
        peers: [
          {
            publicKey: raw(peer.publicKey),
            presharedKey: presharedKey.reveal(),
            endpoint: Uint8Array.fromHex("0200ca6cc000020200000000000000".padEnd(32, "0")),
            keepaliveSeconds: 25,
            lastHandshake: { seconds: 1_700_000_000n, nanoseconds: 250_000_000n },
            receivedBytes: 1n,
            sentBytes: 2n,
            allowed: [v4("10.0.2.0", 24)],
            protocolVersion: 1,
          },
        ],
      }),
    ]);
    expect({ ...device, peers: [] }).toEqual({
      index: 7,
      publicKey: own.publicKey,
      listenPort: 51_820,
      peers: [],
    });
    expect(device.peers).toEqual([
      {
        publicKey: peer.publicKey,
        presharedKey,
        endpoint: { ip: ip("192.0.2.2"), port: 51_820 },
        keepaliveSeconds: 25,
        allowed: [cidr("10.0.2.0/24")],
        handshakeMs: 1_700_000_000_250,
      },
    ]);
    expect(Bun.inspect(device, { depth: 9 })).not.toContain("64, 1, 0, 64");
  });

  test("of a new one is nothing but that it is there", () => {
    const none = new Uint8Array(32);
    expect(decodeWireguard([answer({ index: 7, listenPort: 0, privateKey: none, publicKey: none })])).toEqual(
      { index: 7, listenPort: 0, peers: [] },
    );
  });

  test("goes on from message to message, also in the middle of a peer", () => {
    const part = (key: WireguardPeer["publicKey"], ...prefixes: readonly string[]) => ({
      publicKey: raw(key),
      allowed: prefixes.map((address) => v4(address, 24)),
    });
    const { peers, listenPort } = decodeWireguard([
      answer({ index: 7, listenPort: 51_820, peers: [{ ...part(peer.publicKey, "10.0.2.0") }] }),
      answer({ name: "wg", peers: [part(peer.publicKey, "10.0.3.0"), part(other.publicKey, "10.0.4.0")] }),
      answer({ name: "wg", peers: [part(other.publicKey, "10.0.5.0")] }),
    ]);
    expect(listenPort).toBe(51_820);
    expect(peers.map(({ publicKey, allowed }) => [publicKey, ...allowed.map(({ text }) => text)])).toEqual([
      [peer.publicKey, "10.0.2.0/24", "10.0.3.0/24"],
      [other.publicKey, "10.0.4.0/24", "10.0.5.0/24"],
    ]);
  });

  test("of a peer that never spoke has no time and no preshared key", () => {
    const [found] = decodeWireguard([
      answer({
        peers: [
          {
            publicKey: raw(peer.publicKey),
            presharedKey: new Uint8Array(32),
            lastHandshake: { seconds: 0n, nanoseconds: 0n },
          },
        ],
      }),
    ]).peers;
    expect(found).toEqual({ publicKey: peer.publicKey, keepaliveSeconds: 0, allowed: [] });
  });
});

describe("a request", () => {
  test("gives a device its key and its port", () => {
    const request = wireguardSetting(FAMILY, 7, { ...own, listenPort: 51_820 });
    expect(request.type).toBe(FAMILY);
    expect(request.body.toHex()).toBe(
      words(`01010000  0800 0100 07000000  2400 0300 ${privateBytes(1).toHex()}  0600 0600 6cca 0000`),
    );
    expect(request.what).toBe("WG_CMD_SET_DEVICE #7");
  });

  test("adds a peer with all that it has", () => {
    const request = peerSetting(FAMILY, 7, {
      publicKey: peer.publicKey,
      presharedKey,
      endpoint: { ip: ip("192.0.2.2"), port: 51_820 },
      keepaliveSeconds: 25,
      allowed: [cidr("10.0.2.0/24"), cidr("fd00:10:2::/64")],
      onlyThese: true,
    });
    expect(request.body.toHex()).toBe(
      words(`01010000  0800 0100 07000000  bc00 0880  b800 0080
             2400 0100 ${publicHex}  2400 0200 ${presharedKey.reveal().toHex()}
             0800 0300 02000000  1400 0400 0200 ca6c c0000202 0000000000000000
             0600 0500 1900 0000
             4800 0980
               1c00 0080  0600 0100 0200 0000  0800 0200 0a000200  0500 0300 18000000
               2800 0080  0600 0100 0a00 0000  1400 0200 fd000010000200000000000000000000  0500 0300 40000000`),
    );
  });

  test("changes of a peer what is said and nothing else", () => {
    const request = peerSetting(FAMILY, 7, {
      publicKey: peer.publicKey,
      onlyIfThere: true,
      presharedKey: "none",
      endpoint: { ip: ip("2001:db8::2"), port: 51_821 },
    });
    expect(request.body.toHex()).toBe(
      words(`01010000  0800 0100 07000000  7800 0880  7400 0080
             2400 0100 ${publicHex}  2400 0200 ${"00".repeat(32)}
             0800 0300 04000000
             2000 0400 0a00 ca6d 00000000 20010db8000000000000000000000002 00000000`),
    );
  });

  test("removes a peer", () => {
    expect(peerRemoval(FAMILY, 7, peer.publicKey).body.toHex()).toBe(
      words(`01010000  0800 0100 07000000  3400 0880  3000 0080  2400 0100 ${publicHex}  0800 0300 01000000`),
    );
  });

  test("is read as it was written", () => {
    const { body } = peerSetting(FAMILY, 7, { publicKey: peer.publicKey, allowed: [cidr("10.0.2.0/24")] });
    expect(wireguardAttrs.encode(genericAnswer({ body }, wireguardAttrs))).toEqual(body.slice(4));
  });
});

describe("what wg asks and the kernel tells", () => {
  const [keyed, added, removed, shown] = readGolden(new URL("golden/wireguard.txt", import.meta.url));
  const body = (capture: typeof keyed): Uint8Array => capture?.bytes ?? new Uint8Array(0);
  const said = (raw: Uint8Array) => genericAnswer({ body: raw }, wireguardAttrs);
  /** It names the link, ours its number. */
  const named = (raw: Uint8Array) => ({ ...said(raw), name: undefined, index: undefined });
  const full = {
    publicKey: peer.publicKey,
    presharedKey,
    endpoint: { ip: ip("192.0.2.2"), port: 51_820 },
    keepaliveSeconds: 25,
    allowed: [cidr("10.0.2.0/24"), cidr("fd00:10:2::/64")],
  };

  test("is what we ask: a key and a port", () => {
    const ours = wireguardSetting(FAMILY, 3, { ...own, listenPort: 51_820 });
    expect(named(ours.body)).toEqual(named(body(keyed)));
    expect(ours.body.subarray(0, 4)).toEqual(body(keyed).subarray(0, 4));
  });

  test("is what we ask: a peer", () => {
    const ours = peerSetting(FAMILY, 3, { ...full, onlyThese: true });
    expect(named(ours.body)).toEqual(named(body(added)));
  });

  test("is what we ask: a peer less", () => {
    expect(named(peerRemoval(FAMILY, 3, other.publicKey).body)).toEqual(named(body(removed)));
  });

  test("is read: a device with a peer that was heard of and one that was not", () => {
    expect(decodeWireguard([{ body: body(shown) }])).toEqual({
      index: 3,
      publicKey: own.publicKey,
      listenPort: 51_820,
      peers: [
        { ...full, handshakeMs: 1_795_384_363_249 },
        {
          publicKey: other.publicKey,
          endpoint: { ip: ip("2001:db8::3"), port: 51_821 },
          keepaliveSeconds: 0,
          allowed: [cidr("10.0.3.0/24")],
        },
      ],
    });
  });

  test("keeps every attribute when it is read and written again", () => {
    for (const capture of [keyed, added, removed, shown]) {
      const value = said(body(capture));
      const again = wireguardAttrs.encode(value);
      expect(again).toHaveLength(body(capture).length - 4);
      expect(wireguardAttrs.decode(again)).toEqual(value);
      expect(Bun.inspect(value, { depth: 9 })).not.toContain("unknown");
    }
  });
});
