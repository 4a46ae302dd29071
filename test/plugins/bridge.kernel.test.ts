/** `bridge` by the built executable: what its options mean for packets, beyond what `networks.test.ts` shows. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { seenFrom } from "../../src/testing/traffic.ts";
import { addressIn, bridgeOn, type ListSite, listSite } from "./list-site.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });

const heddle = heddleOfFile();

const V4 = ["10.83.0.0/24"];

/** Bridged packets pass the host's IP rules as well, or do not, where the host has br_netfilter. */
const bridgedRules = (on: ListSite, value: "0" | "1") =>
  on.host.exec(["sysctl", "-qw", `net.bridge.bridge-nf-call-iptables=${value}`]);

describe("portIsolation", () => {
  kernel(
    "keeps isolated containers apart, whether bridged packets pass the host's rules or not",
    async () => {
      await using on = await listSite(heddle);
      const [a, b, c] = [await on.container(), await on.container(), await on.container()];
      const conf = bridgeOn(on, V4, { portIsolation: true });
      const ra = await on.add(a, [conf]);
      const rb = await on.add(b, [conf]);
      const rc = await on.add(c, [bridgeOn(on, V4)]);
      for (const value of ["0", "1"] as const) {
        await bridgedRules(on, value);
        expect(await seenFrom(a.path, b.path, addressIn(rb), 80)).toBeUndefined();
        // One that is not isolated reaches them, and they reach it and the gateway.
        expect(await seenFrom(c.path, a.path, addressIn(ra), 80)).toBe(addressIn(rc));
        expect(await seenFrom(a.path, c.path, addressIn(rc), 80)).toBe(addressIn(ra));
        expect(await seenFrom(a.path, on.home, "10.83.0.1", 80)).toBe(addressIn(ra));
      }
    },
  );
});

describe("hairpinMode", () => {
  /** Two links on the container's interface that reach each other by way of the switch alone (VEPA). */
  async function behindOnePort(at: TestNetns, others: readonly TestNetns[]): Promise<void> {
    for (const [i, { name, exec }] of others.entries()) {
      await at.exec(["ip", "link", "add", `m${i}`, "link", "eth0", "type", "macvlan", "mode", "vepa"]);
      await at.exec(["ip", "link", "set", `m${i}`, "netns", name]);
      await exec(["ip", "address", "add", `198.18.0.${i + 1}/24`, "dev", `m${i}`]);
      await exec(["ip", "link", "set", `m${i}`, "up"]);
    }
  }
  kernel("sends frames back by the port that they came by, and is off without it", async () => {
    for (const hairpinMode of [true, false]) {
      await using on = await listSite(heddle);
      const [a, b, c] = [await on.container(), await on.container(), await on.container()];
      await on.add(a, [bridgeOn(on, V4, { hairpinMode })]);
      await behindOnePort(a, [b, c]);
      const seen = await seenFrom(b.path, c.path, "198.18.0.2", 80);
      expect(seen).toBe(hairpinMode ? "198.18.0.1" : undefined);
    }
  });
});

describe("several ranges of both families", () => {
  kernel("can all be used as soon as ADD is done", async () => {
    await using on = await listSite(heddle);
    const [a, b] = [await on.container(), await on.container()];
    const subnets = [...V4, "10.82.0.0/24", "fd83::/64", "fd82::/64"];
    const conf = bridgeOn(on, subnets, { isDefaultGateway: true });
    const ra = await on.add(a, [conf]);
    const rb = await on.add(b, [conf]);
    // A port's own link-local address is nobody's concern.
    const tentative = async (net: string, link: string): Promise<readonly unknown[]> =>
      (await on.ip(net, "-6", "address", "show", "tentative"))
        .filter((l) => l["ifname"] === link)
        .flatMap((l) => l["addr_info"] as readonly unknown[]);
    expect(await tentative(b.path, "eth0")).toEqual([]);
    expect(await tentative(on.home, "lists0")).toEqual([]);
    for (const nth of [0, 1, 2, 3])
      expect(await seenFrom(a.path, b.path, addressIn(rb, nth), 80)).toBe(addressIn(ra, nth));
    await on.check(a, [conf], ra);
  });
});

describe("a bridge that another program made", () => {
  kernel("and whose last port took its address along gets one of its own", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const lines = [
      "link add lists0 up type bridge",
      "link add p0 type veth peer name p1",
      "link set p0 master lists0",
      "link delete p0",
    ];
    await on.host.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
    const [bare] = await on.ip(on.home, "link", "show", "lists0");
    expect(bare?.["address"]).toBe("00:00:00:00:00:00");
    const result = await on.add(a, [bridgeOn(on, V4)]);
    expect(await seenFrom(a.path, on.home, "10.83.0.1", 80)).toBe(addressIn(result));
    await on.check(a, [bridgeOn(on, V4)], result);
  });
});
