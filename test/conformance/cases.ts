/**
 * The product of networks, families and versions, and one comparison of it: the same calls to the reference and to
 * ours, each on a host of its own.
 */
import { join } from "node:path";
import { type Version, versions } from "../../src/cni/version.ts";
import { cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { type Comparison, compare } from "./compare.ts";
import { type Families, type Network, networks } from "./networks.ts";
import { observe, type Player } from "./observe.ts";
import { NOTHING_PASSES } from "./traffic.ts";

export interface Case {
  readonly title: string;
  readonly network: Network;
  readonly kind: Families;
  readonly version: Version;
}

export const cases: readonly Case[] = networks.flatMap((network) =>
  network.families.flatMap((kind) =>
    versions
      .filter((version) => version >= (network.since ?? "0.1.0"))
      .map((version) => ({ title: `${network.name}, ${kind}`, network, kind, version })),
  ),
);

/** How long a connection may take where a first look found it on one side only, in milliseconds. */
const LONG_SILENCE_MS = 15_000;

/**
 * Attaches and detaches under both; the reference's executables are in `peerPath`. An answer that comes late on a busy machine
 * looks like none: where nothing passes on one side only, both are looked at again, with more time.
 */
export async function compareCase(heddle: HeddleBinary, peerPath: string, c: Case): Promise<Comparison> {
  const first = await compareOnce(heddle, peerPath, c);
  return first.unexplained.some((line) => line.endsWith(NOTHING_PASSES))
    ? compareOnce(heddle, peerPath, c, LONG_SILENCE_MS)
    : first;
}

/** Both at once, each on a host of its own. */
async function compareOnce(
  heddle: HeddleBinary,
  peerPath: string,
  c: Case,
  silenceMs?: number,
): Promise<Comparison> {
  await using theirs = await cniHost(heddle);
  await using mine = await cniHost(heddle);
  const reference: Player = { host: theirs, file: (type) => join(peerPath, type), path: peerPath };
  const ours: Player = { host: mine, file: (type) => heddle.at(type), path: heddle.cniPath };
  const [a, b] = await Promise.all(
    [reference, ours].map((player) => observe(player, c.network, c.kind, c.version, silenceMs)),
  );
  if (a === undefined || b === undefined) throw new TypeError("two players make two observations");
  return compare(c, a, b);
}
