/** Tunnels and their peers in a real kernel: what others change, take or have made. */
import { describe, expect, test as plainTest } from "bun:test";
import { peerRemoval, peerSetting, wireguardSetting } from "../../genl/wireguard.ts";
import type { Request } from "../../netlink/message.ts";
import { cidr, ip } from "../../testing/address.ts";
import { numbered, numberedNetwork } from "../../testing/fabric.ts";
import { type FabricHost, fabricLan } from "../../testing/fabric-lan.ts";
import { kernelHas } from "../../testing/features.ts";
import { kernelTest as test, onKernelWith, whyNot } from "../../testing/needs.ts";
import { keyPair, keyText } from "../../testing/wireguard.ts";
import {
  answers,
  desiredOn,
  device,
  failed,
  indexOf,
  isQuiet,
  joined,
  LINK,
  meddle,
  node,
  reconcile,
  told,
  usual,
} from "../../testing/wireguard-lan.ts";
import { type HostState, nothing } from "../host-state.ts";
import type { FabricNode } from "../model.ts";
import { wireguardTransport } from "../transport/wireguard.ts";

onKernelWith(["wireguard"], () => {
  describe("a tunnel", () => {
    test("that others change is put right at the next look", async () => {
      let now = 0;
      await using lan = await fabricLan(2, () => now);
      const [state = nothing] = await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      /** But for when it was heard of: a keepalive that somebody asks for is sent. */
      const settings = () => {
        const { peers, ...rest } = device(one);
        return { ...rest, peers: peers.map(({ handshakeMs: _, ...peer }) => peer) };
      };
      const before = settings();
      const [two, stranger] = [keyPair(2).publicKey, keyPair(77).publicKey];
      const looked = (): readonly string[] => {
        // Less often than what would be a fight.
        now += 60_000;
        one.reconciler.relist();
        return told(reconcile(one, state));
      };
      const wrongs: readonly [(family: number, index: number) => Request, readonly string[]][] = [
        [(f, i) => peerRemoval(f, i, two), [`repaired peer ${two} ${LINK}`]],
        [(f, i) => peerSetting(f, i, { publicKey: stranger }), [`removed peer ${stranger} ${LINK}`]],
        [
          (f, i) => peerSetting(f, i, { publicKey: stranger, allowed: [cidr("10.0.2.0/24")] }),
          [`removed peer ${stranger} ${LINK}`, `repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, allowed: [cidr("10.0.9.0/24")] }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, endpoint: { ip: ip("192.0.2.66"), port: 1 } }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, keepaliveSeconds: 9 }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => peerSetting(f, i, { publicKey: two, presharedKey: keyPair(9).privateKey }),
          [`repaired peer ${two} ${LINK}`],
        ],
        [
          (f, i) => wireguardSetting(f, i, { privateKey: keyPair(50).privateKey, listenPort: 999 }),
          [`repaired tunnel ${LINK}`],
        ],
      ];
      for (const [wrong, repairs] of wrongs) {
        meddle(one, wrong);
        expect(looked()).toEqual(repairs);
        expect(settings()).toEqual(before);
        expect(looked()).toEqual([]);
      }
      expect(await answers(lan, 1, 2)).toBeTrue();
    });

    test("that somebody removes is there again, with its peers", async () => {
      await using lan = await fabricLan(2);
      const [state = nothing] = await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      expect(await answers(lan, 2, 1)).toBeTrue();
      await one.ip(`link delete ${LINK}`);
      one.reconciler.relist();
      expect(told(reconcile(one, state))).toEqual([
        `repaired address 10.0.1.0/32 ${LINK}`,
        `repaired link ${LINK}`,
        `repaired peer ${keyText(2)} ${LINK}`,
        "repaired route 10.0.0.0/8",
        `repaired tunnel ${LINK}`,
      ]);
      expect(await answers(lan, 1, 2)).toBeTrue();
    });

    test("that somebody else made is taken over as it is", async () => {
      await using lan = await fabricLan(1);
      const [one] = lan.hosts as [FabricHost];
      const state = desiredOn(one, 1, [node(2)]);
      await one.ip(`link add ${LINK} mtu 1420 type wireguard`, `link set ${LINK} up`);
      const index = indexOf(one, LINK);
      meddle(one, (f, i) => wireguardSetting(f, i, { ...keyPair(1), listenPort: 51_820 }));
      meddle(one, (f, i) =>
        peerSetting(f, i, {
          publicKey: keyPair(2).publicKey,
          endpoint: { ip: ip("192.0.2.2"), port: 51_820 },
          allowed: [cidr("10.0.2.0/24")],
        }),
      );
      expect(told(reconcile(one, state))).toEqual([
        "added address 10.0.1.0/32 flannel-wg",
        "added route 10.0.0.0/8",
        `adopted link ${LINK}`,
      ]);
      expect(indexOf(one, LINK)).toBe(index);
    });

    test("whose port is taken says so, and gets it when it is free", async () => {
      let now = 0;
      await using lan = await fabricLan(1, () => now);
      const [one] = lan.hosts as [FabricHost];
      const state = desiredOn(one, 1, [node(2)]);
      {
        const hold = `await Bun.udpSocket({ hostname: "192.0.2.1", port: 51820 }); console.log("held");`;
        await using other = one.net.start([process.execPath, "-e", hold]);
        await other.printed("held");
        const report = one.reconciler.reconcile(state);
        expect(failed(report)).toEqual([
          `tunnel ${LINK}: host port 51820/udp of ${LINK} is taken by somebody else on this host`,
        ]);
      }
      now += 2_000;
      expect(told(reconcile(one, state))).toEqual([`added tunnel ${LINK}`]);
      expect(device(one).peers).toHaveLength(1);
    });

    test("with a thousand peers takes several messages, and one more peer is one request", async () => {
      await using lan = await fabricLan(1);
      const [one] = lan.hosts as [FabricHost];
      const COUNT = 1_000;
      const facts = { ...one.facts, keys: keyPair(1) };
      const nodes = Array.from({ length: COUNT + 1 }, (_, i): FabricNode => {
        const told = { PublicKey: keyText(i + 2) };
        return { ...numbered(i + 2, [4, 6]), backend: { type: "wireguard", v4: told, v6: told } };
      });
      const transport = wireguardTransport({ ...usual, mode: "auto" });
      const desired = (count: number): HostState =>
        transport.desired(
          { network: numberedNetwork, self: numbered(1, [4, 6]), peers: nodes.slice(0, count) },
          facts,
        ).state;
      reconcile(one, desired(COUNT));
      const { peers } = device(one);
      expect(peers).toHaveLength(COUNT);
      expect(peers.every(({ allowed }) => allowed.length === 2)).toBeTrue();
      one.reconciler.relist();
      isQuiet(reconcile(one, desired(COUNT)));
      expect(told(reconcile(one, desired(COUNT + 1)))).toEqual([`added peer ${keyText(COUNT + 2)} ${LINK}`]);
      reconcile(one, desired(2));
      expect(device(one).peers).toHaveLength(2);
      reconcile(one, nothing);
      expect(() => indexOf(one, LINK)).toThrow("ENODEV");
    });
  });
});

const lacking = whyNot({ root: true, programs: ["ip", "unshare"] }) === undefined && !kernelHas("wireguard");
plainTest.skipIf(!lacking)("a kernel without wireguard is told in plain words, once", async () => {
  await using lan = await fabricLan(1);
  const [one] = lan.hosts as [FabricHost];
  const report = one.reconciler.reconcile(desiredOn(one, 1, [node(2), node(3)]));
  expect(failed(report)).toEqual([
    `link ${LINK}: the kind wireguard of links is not available: needs the kernel's module wireguard (modprobe wireguard)`,
  ]);
});
