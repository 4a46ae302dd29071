/** Hosts whose containers speak through WireGuard: what can be seen of it, and what ends it. */
import { describe, expect } from "bun:test";
import { numberedLoad } from "../../testing/agent-hosts.ts";
import { type FabricHost, fabricLan, placeIn, testOwner } from "../../testing/fabric-lan.ts";
import { kernelTest as test, onKernelWith } from "../../testing/needs.ts";
import { keyPair, keyText } from "../../testing/wireguard.ts";
import {
  answers,
  desiredOn,
  device,
  indexOf,
  isQuiet,
  joined,
  LINK,
  node,
  portsOf,
  reconcile,
  sniffOn,
  told,
} from "../../testing/wireguard-lan.ts";
import { nothing } from "../host-state.ts";
import { openReconciler } from "../reconcile/reconciler.ts";

onKernelWith(["wireguard"], () => {
  describe("between two hosts", () => {
    test("nothing can be read that their containers say", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      const text = "it is said in clear words, and long enough that it cannot be by chance";
      using underlay = sniffOn(one, "eth0");
      using tunnel = sniffOn(one, LINK);
      expect(await answers(lan, 1, 2, text)).toBeTrue();
      expect(tunnel.seen().some((packet) => packet.includes(text))).toBeTrue();
      const frames = underlay.seen();
      expect(frames.filter((frame) => frame.includes(text.slice(0, 16)))).toEqual([]);
      const all = frames.map(portsOf).filter((ports) => ports !== undefined);
      // An initiation and its answer, then data both ways.
      expect(all.length).toBeGreaterThanOrEqual(4);
      expect(new Set(all)).toEqual(new Set(["17 51820 51820"]));
    });

    test("what is for a host that left, or for nobody, goes nowhere", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one, two] = lan.hosts as [FabricHost, FabricHost];
      expect(await answers(lan, 1, 2)).toBeTrue();
      expect(told(reconcile(one, desiredOn(one, 1, [])))).toEqual([`removed peer ${keyText(2)} ${LINK}`]);
      expect(device(one).peers).toEqual([]);
      await one.ip("route add default via 192.0.2.2");
      const text = "for somebody who is not there any more";
      using leaves = sniffOn(one, "eth0");
      using arrives = sniffOn(two, "eth0");
      expect(await answers(lan, 1, 2, text, 500)).toBeFalse();
      for (const frames of [leaves.seen(), arrives.seen()])
        expect(frames.filter((frame) => frame.includes(text) || portsOf(frame)?.endsWith(" 7007"))).toEqual(
          [],
        );
    });

    test("a new key of one of them is taken in, and the old one goes", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one, two] = lan.hosts as [FabricHost, FabricHost];
      expect(await answers(lan, 1, 2)).toBeTrue();
      const index = indexOf(two, LINK);
      expect(told(reconcile(two, desiredOn(two, 2, [node(1)], { key: 22 })))).toEqual([
        `replaced tunnel ${LINK}`,
      ]);
      expect(indexOf(two, LINK)).toBe(index);
      expect(told(reconcile(one, desiredOn(one, 1, [node(2, { key: 22 })])))).toEqual([
        `added peer ${keyText(22)} ${LINK}`,
        `removed peer ${keyText(2)} ${LINK}`,
      ]);
      expect(await answers(lan, 1, 2)).toBeTrue();
      expect(await answers(lan, 2, 1)).toBeTrue();
    });

    test("a preshared key that only one of them has lets nothing pass", async () => {
      await using lan = await fabricLan(2);
      await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      const options = { presharedKey: keyPair(99).privateKey };
      expect(told(reconcile(one, desiredOn(one, 1, [node(2)], { options })))).toEqual([
        `replaced peer ${keyText(2)} ${LINK}`,
      ]);
      expect(await answers(lan, 1, 2, "hello", 500)).toBeFalse();
      reconcile(one, desiredOn(one, 1, [node(2)]));
      // Who tried in vain waits a few seconds before the next try (REKEY_TIMEOUT).
      expect(await answers(lan, 2, 1)).toBeTrue();
    });

    test("a reconciler that ends and another one that begins lose no packet", async () => {
      await using lan = await fabricLan(2);
      const [state = nothing] = await joined(lan);
      const [one, two] = lan.hosts as [FabricHost, FabricHost];
      expect(await answers(lan, 1, 2)).toBeTrue();
      const before = { index: indexOf(one, LINK), device: device(one) };
      await using load = await numberedLoad(one.net, { net: two.net, address: "10.0.2.1" }, 200);
      one.reconciler[Symbol.dispose]();
      using next = openReconciler(testOwner, { place: placeIn(one.handle) });
      isQuiet(next.reconcile(state));
      const { sent, last, gaps, lost, dropped } = await load.count();
      expect({ gaps, lost }).toEqual({ gaps, lost: dropped });
      expect(last).toBe(sent - 1);
      expect({ index: indexOf(one, LINK), device: device(one) }).toEqual(before);
    });
  });

  describe("a host that is heard of from elsewhere", () => {
    test("is answered there, also with others at the same address, until it is silent for long", async () => {
      await using lan = await fabricLan(3);
      await joined(lan);
      const [one] = lan.hosts as [FabricHost];
      // Both say that they are where neither is, as behind a translation.
      const behind = [2, 3].map((n) => node(n, { at4: "192.0.2.99" }));
      const state = desiredOn(one, 1, behind);
      let today = Date.now();
      using reconciler = openReconciler(testOwner, { place: placeIn(one.handle), today: () => today });
      const places = () =>
        device(one)
          .peers.map(({ publicKey, endpoint }) => [publicKey, endpoint?.ip.text])
          .toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
      const at = (two: string, three: string) =>
        [
          [keyPair(2).publicKey, two],
          [keyPair(3).publicKey, three],
        ].toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1));
      reconciler.reconcile(state);
      expect(places()).toEqual(at("192.0.2.99", "192.0.2.99"));
      expect(await answers(lan, 2, 1)).toBeTrue();
      expect(await answers(lan, 3, 1)).toBeTrue();
      expect(places()).toEqual(at("192.0.2.2", "192.0.2.3"));
      expect(await answers(lan, 1, 2)).toBeTrue();
      today = Date.now();
      reconciler.relist();
      isQuiet(reconciler.reconcile(state));
      using other = openReconciler(testOwner, { place: placeIn(one.handle), today: () => today });
      isQuiet(other.reconcile(state));
      expect(places()).toEqual(at("192.0.2.2", "192.0.2.3"));
      today += 600_000;
      reconciler.relist();
      expect(told(reconciler.reconcile(state))).toEqual(
        [2, 3].map((n) => `repaired peer ${keyText(n)} ${LINK}`).toSorted(),
      );
    });
  });
});
