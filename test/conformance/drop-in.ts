/**
 * A node changes over while its containers run, either way: what the reference attached, of Debian's release and of the
 * newest version, is checked and detached by ours and leaves nothing; what ours attached is checked and detached by the
 * reference, and our GC takes what that does not know.
 */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { peerDir } from "../../scripts/peer.ts";
import type { Version } from "../../src/cni/version.ts";
import { cniHost, type CniHost, type PluginReply } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { pairEnds, untilOnly } from "../../src/testing/dying.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { demand, difference } from "../faults/loop.ts";
import { type Families, type Json, type Network, networks } from "./networks.ts";
import { confsOf, type Player } from "./observe.ts";
import { kernel } from "./setting.ts";

export interface DropIn {
  readonly network: Network;
  readonly kind: Families;
  /** The reference: of Debian's release (1.1.1), or of `sid` (1.9.1). */
  readonly suite: "release" | "sid";
  readonly version: Version;
}

export const dropIns: readonly DropIn[] = networks.flatMap((network) => {
  const kind = network.families.find((f) => f === "dual stack") ?? network.families[0] ?? "v4";
  const newest: DropIn = { network, kind, suite: "sid", version: "1.1.0" };
  return network.newerThan111 ? [newest] : [newest, { network, kind, suite: "release", version: "1.0.0" }];
});

/** The attachment, as GC is told of it. */
const KEY = { containerID: "drop-in", ifname: "eth0" };

interface Lane {
  readonly confs: readonly Json[];
  readonly netns: string;
  call(by: Player, command: "ADD" | "CHECK" | "DEL" | "GC", conf: Json): Promise<PluginReply>;
}

function laneOf({ network, kind, version }: DropIn, by: Player, netns: string): Lane {
  return {
    confs: confsOf(by, network, kind, version),
    netns,
    call: (player, command, conf) => {
      const key = { containerId: KEY.containerID, netns, ifname: KEY.ifname, env: { CNI_PATH: player.path } };
      const args = network.args ? { args: network.args } : {};
      return player.host.call(player.file(String(conf["type"])), { command, ...key, ...args }, conf);
    },
  };
}

async function attach(lane: Lane, by: Player): Promise<Json> {
  let prevResult: Json | undefined;
  for (const conf of lane.confs) {
    const reply = await lane.call(by, "ADD", prevResult ? { ...conf, prevResult } : conf);
    prevResult = demand(`ADD of ${String(conf["type"])}`, reply).result;
  }
  return prevResult ?? {};
}

/** The reference fails to remove rules of iptables that were never made, and goes on all the same. */
const HARMLESS = /does not exist|No chain\/target\/match/;

async function detach(lane: Lane, by: Player, prevResult: Json): Promise<void> {
  for (const conf of lane.confs.toReversed()) {
    const reply = await lane.call(by, "DEL", { ...conf, prevResult });
    if (!HARMLESS.test(reply.message)) demand(`DEL of ${String(conf["type"])}`, reply);
  }
}

/** The code of each plugin's CHECK. */
async function checked(lane: Lane, by: Player, prevResult: Json): Promise<readonly number[]> {
  const codes: number[] = [];
  for (const conf of lane.confs) codes.push((await lane.call(by, "CHECK", { ...conf, prevResult })).code);
  return codes;
}

/** GC by each plugin that has it, also where the network is of an older version. */
async function collect(lane: Lane, by: Player, valid: readonly Json[]): Promise<void> {
  const said = { cniVersion: "1.1.0", "cni.dev/valid-attachments": valid };
  for (const conf of lane.confs)
    demand(`GC of ${String(conf["type"])}`, await lane.call(by, "GC", { ...conf, ...said }));
}

const both = (
  heddle: HeddleBinary,
  host: CniHost,
  peerPath: string,
): readonly [reference: Player, ours: Player] => [
  { host, file: (type) => join(peerPath, type), path: peerPath },
  { host, file: (type) => heddle.at(type), path: heddle.cniPath },
];

/** Whether somebody else needs the loopback only a record can tell, and each has its own or none. */
const LOOPBACK = /: (link lo |address ::1\/128 on lo$)/;
const left = (before: readonly string[], after: readonly string[]): readonly string[] =>
  difference(before, after).filter((line) => line.startsWith("left") && !LOOPBACK.test(line));

/** Tables and chains that the reference makes when it looks for what it should remove. */
const REFERENCE = /nft: table (ip|ip6|inet|bridge) (nat|filter|cni_\w+)/;
/** Plugins whose rules have another form with the reference, so that its CHECK misses them. */
const OF_ANOTHER_FORM = new Set(["portmap"]);

/** Makes the tests of these cases; `heddle` is there when they run. */
export function dropInTests(group: readonly DropIn[], heddleOf: () => HeddleBinary): void {
  const titled = group.map((c) => [c.network.name, c.suite === "sid" ? "1.9.1" : "1.1.1", c] as const);

  describe("an attachment of the reference", () => {
    kernel.each(titled)(
      "to %s by %s passes our CHECK and stays through our GC, and our DEL leaves nothing of it",
      async (_name, _peer, c) => {
        await using host = await cniHost(heddleOf());
        await using container = await testNetns();
        const [reference, ours] = both(heddleOf(), host, await peerDir(c.suite));
        const lane = laneOf(c, reference, container.path);
        await c.network.prepare?.({ host, container });
        await detach(lane, reference, await attach(lane, reference));
        const before = await host.snapshot([container.path]);
        const result = await attach(lane, reference);
        for (const conf of lane.confs)
          demand(
            `CHECK of ${String(conf["type"])}`,
            await lane.call(ours, "CHECK", { ...conf, prevResult: result }),
          );
        const made = await host.snapshot([container.path]);
        await collect(lane, ours, [KEY]);
        expect(difference(made, await host.snapshot([container.path]))).toEqual([]);
        await detach(lane, ours, result);
        expect(left(before, await host.snapshot([container.path]))).toEqual([]);
        await detach(lane, ours, result);
        await collect(lane, ours, []);
        expect(left(before, await host.snapshot([container.path]))).toEqual([]);
      },
      patience(60_000),
    );
  });

  // Where the reference's firewall notes no owner, only the previous result tells what was made.
  // A link on another one of the container is nowhere else.
  const byKey = titled.filter(
    ([, , { network }]) =>
      !network.plugins.some((p) => p["type"] === "firewall" || p["linkInContainer"] === true),
  );
  describe("an attachment of the reference whose namespace is gone", () => {
    kernel.each(byKey)(
      "to %s by %s leaves nothing after our DEL, which is told no more than the key",
      async (_name, _peer, c) => {
        await using host = await cniHost(heddleOf());
        await using other = await testNetns();
        const [reference, ours] = both(heddleOf(), host, await peerDir(c.suite));
        await c.network.prepare?.({ host, container: other });
        const stays = laneOf(c, reference, other.path);
        await detach(stays, reference, await attach(stays, reference));
        const [before, ends] = [await host.snapshot(), await pairEnds(host)];
        {
          await using container = await testNetns();
          await attach(laneOf(c, reference, container.path), reference);
        }
        await untilOnly(host, ends);
        const gone = laneOf(c, ours, "/run/netns/gone");
        for (const { runtimeConfig: _, ...conf } of gone.confs.toReversed())
          demand(`DEL of ${String(conf["type"])}`, await gone.call(ours, "DEL", conf));
        expect(left(before, await host.snapshot())).toEqual([]);
      },
      patience(60_000),
    );
  });

  describe("an attachment of ours", () => {
    kernel.each(titled)(
      "to %s is checked and detached by the reference %s; our GC takes what that does not know",
      async (_name, _peer, c) => {
        await using host = await cniHost(heddleOf());
        await using container = await testNetns();
        const [reference, ours] = both(heddleOf(), host, await peerDir(c.suite));
        const lane = laneOf(c, ours, container.path);
        await c.network.prepare?.({ host, container });
        const own = await attach(lane, reference);
        const expected = await checked(lane, reference, own);
        await detach(lane, reference, own);
        await detach(lane, ours, await attach(lane, ours));
        const before = await host.snapshot([container.path]);
        const result = await attach(lane, ours);
        const found = await checked(lane, reference, result);
        const counts = (_code: number, i: number): boolean =>
          !OF_ANOTHER_FORM.has(String(lane.confs[i]?.["type"]));
        expect(found.filter(counts)).toEqual(expected.filter(counts));
        await detach(lane, reference, result);
        await collect(lane, ours, []);
        const after = left(before, await host.snapshot([container.path]));
        expect(after.filter((line) => !REFERENCE.test(line))).toEqual([]);
      },
      patience(60_000),
    );
  });
}
