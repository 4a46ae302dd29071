/**
 * What every backend has to stand, each a piece that leaves the lab as it found it, so that they go in any order. Limits are those
 * of a usual machine.
 */
import { expect } from "bun:test";
import type { Family } from "../../src/net/ip.ts";
import { OUTSIDE, ROUTER } from "../../src/lab/underlay.ts";
import { countDatagrams, tcpArrives } from "../../src/testing/loads.ts";
import { slowdown } from "../../src/testing/slowdown.ts";
import { seenFrom } from "../../src/testing/traffic.ts";
import { type Backend, type IpChoice, underlaysOf } from "./backends.ts";
import {
  addressOf,
  CONTAINER,
  containerOf,
  expectReached,
  type Fabric,
  hostOf,
  HOSTS,
  isContainer,
  twoContainers,
  untilAgents,
  untilPeers,
  untilReached,
} from "./fabric.ts";
import { learnedMtu, piecesMade, sendBack, setMtu } from "./path-mtu.ts";

export interface Situation {
  /** A sentence about the lab. */
  readonly title: string;
  /** Not for backends that leave packets between hosts to somebody else. */
  readonly joined?: true;
  /** Not for backends that put nothing back. */
  readonly repaired?: true;
  /** Only where the hosts have etcd. */
  readonly etcd?: true;
  /** It takes a while: one underlay is enough. */
  readonly once?: true;
  readonly limitMs: number;
  readonly run: (fabric: Fabric) => Promise<void>;
}

const everyone: Situation = {
  title: "everyone reaches everyone, host or container, and what is outside",
  limitMs: 30_000,
  run: (fabric) =>
    fabric.backend.joinsHosts
      ? expectReached(fabric)
      : expectReached(fabric, (from, to) => isContainer(to) && hostOf(from) !== hostOf(to)),
};

export const transfer = (megabytes: number): Situation => ({
  title: `${megabytes} MB of TCP arrive as they were sent`,
  joined: true,
  limitMs: 60_000,
  run: async (fabric) => {
    const [from, to] = await twoContainers(fabric);
    for (const family of fabric.families)
      expect(await tcpArrives(from, to.netns, addressOf(to, family), megabytes)).toBe("same");
  },
});

/** By how much containers are given too large an MTU. */
const TOO_MUCH = 100;

const pathMtu: Situation = {
  title: "the largest packet passes whole, and who sends a larger one is told and goes on with less",
  joined: true,
  limitMs: 60_000,
  run: async (fabric) => {
    const [from, to] = await twoContainers(fabric);
    const containers = [from.place, to.place];
    const everywhere = [from.host, to.host, ...containers];
    for (const family of fabric.families) {
      const before = await piecesMade(fabric, everywhere);
      expect(await sendBack(from, to, family, fabric.mtuBytes)).toBe("back");
      expect(await piecesMade(fabric, everywhere)).toBe(before);
      // One byte more, and each of the two has made two pieces of it.
      const cut = await piecesMade(fabric, containers);
      expect(await sendBack(from, to, family, fabric.mtuBytes + 1)).toBe("back");
      expect(await piecesMade(fabric, containers)).toBeGreaterThanOrEqual(cut + 4);
    }
    await tellsWide(fabric);
  },
};

/** Two containers of their own, whose links promise more than the way between them carries. */
async function tellsWide(fabric: Fabric): Promise<void> {
  const { lab, families, mtuBytes } = fabric;
  for (const host of ["host1", "host2"]) await lab.command(["attach", host, "wide"]);
  const [from, to] = [await containerOf(fabric, "host1", "wide"), await containerOf(fabric, "host2", "wide")];
  for (const container of [from, to]) await setMtu(fabric, container, mtuBytes + TOO_MUCH);
  for (const family of families) {
    const address = addressOf(to, family);
    expect(await tcpArrives(from, to.netns, address, 1)).toBe("same");
    const learned = (await learnedMtu(fabric, from, address)) ?? 0;
    expect(learned).toBeGreaterThanOrEqual(mtuBytes);
    expect(learned).toBeLessThan(mtuBytes + TOO_MUCH);
    const hosts = [from.host, to.host];
    const before = await piecesMade(fabric, hosts);
    expect(await sendBack(from, to, family, learned)).toBe("back");
    expect(await piecesMade(fabric, hosts)).toBe(before);
  }
  for (const host of ["host1", "host2"]) await lab.command(["detach", host, "wide"]);
}

const PORT = 7400;

const senders: Situation = {
  title:
    "outside of the fabric a container has its host's address, and inside everybody sees the true sender",
  limitMs: 60_000,
  run: async (fabric) => {
    const { lab, families, backend } = fabric;
    const [from, to] = await twoContainers(fabric);
    const router = lab.paths.host(ROUTER).net;
    const host = lab.paths.host(from.host).net;
    for (const family of families) {
      const own = await ownAddresses(fabric, from.host, family);
      const outside = await seenFrom(from.netns.path, router, OUTSIDE[family], PORT);
      expect(own.uplink).toContain(outside ?? "nobody");
      if (!backend.joinsHosts) continue;
      const inside = await seenFrom(from.netns.path, to.netns.path, addressOf(to, family), PORT);
      expect(inside).toBe(addressOf(from, family));
      // From a host to a container of another one.
      expect(own.all).toContain(
        (await seenFrom(host, to.netns.path, addressOf(to, family), PORT)) ?? "nobody",
      );
    }
  },
};

/** The addresses of a host, and those of its link to the underlay. */
async function ownAddresses({ lab }: Fabric, host: string, family: Family) {
  const { stdout } = await lab.exec(host, ["ip", "-j", `-${family}`, "address"]);
  const links = JSON.parse(stdout) as readonly {
    readonly ifname?: string;
    // Links without an address of the family are empty objects.
    readonly addr_info?: readonly { readonly local: string }[];
  }[];
  const all = links.flatMap(({ ifname, addr_info = [] }) =>
    addr_info.map(({ local }) => ({ ifname, local })),
  );
  return {
    all: all.map(({ local }) => local),
    uplink: all.filter(({ ifname }) => ifname === "eth0").map(({ local }) => local),
  };
}

const rejoin: Situation = {
  title: "a host that leaves is forgotten by the others, and reached again when it has come back",
  joined: true,
  once: true,
  limitMs: 90_000,
  run: async (fabric) => {
    const { lab } = fabric;
    await lab.command(["detach", "host3", CONTAINER]);
    await lab.exec("host3", ["heddle", "agent", "drain"]);
    await untilPeers(fabric, ["host1", "host2"], 1);
    // It is a host like any other outside of the fabric now.
    await expectReached(fabric, (from, to) => hostOf(from) === "host3" && isContainer(to));
    await fabric.fault("kill", "host3", "agent");
    await fabric.fault("start", "host3", "agent");
    await untilPeers(fabric, HOSTS, 2);
    await lab.command(["attach", "host3", CONTAINER]);
    await expectReached(fabric);
  },
};

/** Datagrams a second. */
const rate = (usual: number): number => Math.ceil(usual / slowdown);

/** Sends numbered datagrams from a container of the first host to one of the second while `work` is done: none is lost. */
async function withoutGap(
  fabric: Fabric,
  load: { readonly rate: number; readonly seconds: number },
  work: () => Promise<void>,
): Promise<void> {
  const [from, to] = await twoContainers(fabric);
  const places = [from.place, from.host, ROUTER, to.host, to.place];
  const before = await drops(fabric, places);
  const { seen, sent, gapMs } = await countDatagrams(from, to, load, work);
  const after = await drops(fabric, places);
  const where = Object.fromEntries(
    Object.entries(after)
      .map(([name, n]) => [name, n - (before[name] ?? 0)] as const)
      .filter(([, n]) => n !== 0),
  );
  // The counters are beside it for who has to find out where.
  expect({ lost: sent - seen, gapMs, where }).toEqual({ lost: 0, gapMs, where });
}

/**
 * What these places have counted of packets that went no further: their links, the counters of their IP and UDP (RFC 4293, RFC 4113,
 * and the kernel's own).
 */
async function drops({ lab }: Fabric, places: readonly string[]): Promise<Readonly<Record<string, number>>> {
  const all: Record<string, number> = {};
  for (const place of places) {
    const { stdout } = await lab.exec(place, ["ip", "-j", "-s", "link"]);
    const links = JSON.parse(stdout) as readonly {
      readonly ifname: string;
      readonly stats64: {
        readonly rx: { readonly dropped: number };
        readonly tx: { readonly dropped: number };
      };
    }[];
    for (const { ifname, stats64 } of links)
      all[`${place} ${ifname} dropped`] = stats64.rx.dropped + stats64.tx.dropped;
    for (const [name, n] of Object.entries(await countersOf(lab, place))) all[`${place} ${name}`] = n;
  }
  return all;
}

/** Counters of what was dropped or refused. */
const LOSSES = /(?:Errors|NoRoutes|Discards|NoPorts|DestUnreachs|TimeExcds)$/;

async function countersOf(lab: Fabric["lab"], place: string): Promise<Readonly<Record<string, number>>> {
  const { stdout } = await lab.exec(place, ["cat", "/proc/net/snmp", "/proc/net/netstat", "/proc/net/snmp6"]);
  const lines = stdout.split("\n").map((line) => line.split(/\s+/));
  const single = lines.flatMap(([name = "", n = ""]) =>
    /^(?:Ip|Udp|Icmp)6/.test(name) ? [[name, Number(n)] as const] : [],
  );
  const tables = lines.flatMap(([name = "", ...words], i) => {
    const values = lines[i + 1] ?? [];
    return name.endsWith(":") && name === values[0] && Number.isNaN(Number(words[0]))
      ? words.map((word, at) => [`${name.slice(0, -1)}${word}`, Number(values[at + 1])] as const)
      : [];
  });
  return Object.fromEntries([...single, ...tables].filter(([name]) => LOSSES.test(name)));
}

const ROUNDS = 3;

const killed: Situation = {
  title: "agents that are killed under load lose no packet, and the next ones take over",
  joined: true,
  once: true,
  limitMs: 120_000,
  run: async (fabric) => {
    await withoutGap(fabric, { rate: rate(5_000), seconds: 30 }, async () => {
      for (let round = 0; round < ROUNDS; round++)
        for (const host of ["host1", "host2"]) {
          await fabric.fault("kill", host, "agent");
          await fabric.fault("start", host, "agent");
          await untilPeers(fabric, [host], HOSTS.length - 1);
        }
    });
    await expectReached(fabric);
  },
};

/** How long etcd is away; half of it it hangs, and then it is dead. */
const AWAY_MS = 60_000;

const storeAway: Situation = {
  title: "etcd is away for a minute while containers talk and one comes",
  joined: true,
  etcd: true,
  once: true,
  limitMs: 240_000,
  run: async (fabric) => {
    const { lab } = fabric;
    await withoutGap(fabric, { rate: rate(1_000), seconds: AWAY_MS / 1e3 }, async () => {
      const began = performance.now();
      const passed = async (part: number): Promise<void> =>
        Bun.sleep(Math.max(0, AWAY_MS * part - (performance.now() - began)));
      await fabric.fault("stop", ROUTER, "etcd");
      await lab.command(["attach", "host3", "late"]);
      await expectReached(fabric);
      await passed(0.5);
      await fabric.fault("kill", ROUTER, "etcd");
      await untilAgents(fabric, HOSTS, "without a store", (s) => s.ready && !s.store.up);
      await passed(1);
      await fabric.fault("start", ROUTER, "etcd");
    });
    await untilAgents(fabric, HOSTS, "with a store", (s) => s.ready && s.store.up && s.nodes.peers === 2);
    await expectReached(fabric);
    await lab.command(["detach", "host3", "late"]);
  },
};

/** Between the first host and the others. */
const across = (from: string, to: string): boolean =>
  to !== "outside" && (hostOf(from) === "host1") !== (hostOf(to) === "host1");

const partition: Situation = {
  title: "a partition parts its two sides and nobody else, and heals",
  joined: true,
  once: true,
  limitMs: 60_000,
  run: async (fabric) => {
    await fabric.fault("partition", "host1", "host2,host3");
    await expectReached(fabric, across);
    await fabric.fault("heal");
    await expectReached(fabric);
    await untilPeers(fabric, HOSTS, HOSTS.length - 1);
  },
};

const pulled: Situation = {
  title: "a host whose cable was pulled is cut off from everybody, and back when it is put in again",
  joined: true,
  repaired: true,
  once: true,
  limitMs: 60_000,
  run: async (fabric) => {
    await fabric.fault("cut", "host1");
    await expectReached(
      fabric,
      (from, to) => across(from, to) || (to === "outside" && hostOf(from) === "host1"),
    );
    await fabric.fault("heal");
    await expectReached(fabric);
    await untilPeers(fabric, HOSTS, HOSTS.length - 1);
  },
};

/** Another address, and everybody has heard of it. */
async function move(fabric: Fabric, host: string): Promise<void> {
  await fabric.fault("move-address", host);
  const { hosts } = await fabric.lab.status();
  const own = hosts.find(({ name }) => name === host)?.uplink.addresses ?? [];
  await untilAgents(fabric, [host], "announced anew", (s) =>
    own.some((address) => s.publicAddress?.includes(address.split("/", 1)[0] ?? "?") === true),
  );
  await untilReached(fabric);
}

const moved: Situation = {
  title: "a host that gets another address is found there by the others",
  joined: true,
  repaired: true,
  once: true,
  limitMs: 90_000,
  run: (fabric) => move(fabric, "host2"),
};

const heard: Situation = {
  title: "an agent that is killed right after it heard of a move, before it kept that, loses no packet",
  joined: true,
  repaired: true,
  once: true,
  limitMs: 120_000,
  run: async (fabric) => {
    // What is known is kept at once after a pause, and then only every few seconds.
    for (let i = 0; i < 2; i++) await move(fabric, "host2");
    await withoutGap(fabric, { rate: rate(2_000), seconds: 3 }, async () => {
      await fabric.fault("kill", "host1", "agent");
      await fabric.fault("start", "host1", "agent");
      await untilPeers(fabric, ["host1"], HOSTS.length - 1);
    });
  },
};

/** Those that are over in a moment, and then all; etcd has to be there for some. */
export const quick: readonly Situation[] = [everyone, transfer(8), pathMtu, senders];
const situations: readonly Situation[] = [
  ...[everyone, transfer(64), pathMtu, senders, rejoin, killed, partition, pulled, moved, heard],
  storeAway,
];

/** What a backend has to stand on an underlay. */
export const situationsFor = (backend: Backend, ip: IpChoice): readonly Situation[] =>
  situations.filter(
    ({ joined, repaired, once }) =>
      (joined !== true || backend.joinsHosts) &&
      (repaired !== true || backend.repairs !== false) &&
      (once !== true || ip === underlaysOf(backend).at(-1)),
  );
