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

/** Attaches and detaches under both at once; the reference's executables are in `peerPath`. */
export async function compareCase(heddle: HeddleBinary, peerPath: string, c: Case): Promise<Comparison> {
  await using theirs = await cniHost(heddle);
  await using mine = await cniHost(heddle);
  const reference: Player = { host: theirs, file: (type) => join(peerPath, type), path: peerPath };
  const ours: Player = { host: mine, file: (type) => heddle.at(type), path: heddle.cniPath };
  const [a, b] = await Promise.all(
    [reference, ours].map((player) => observe(player, c.network, c.kind, c.version)),
  );
  if (a === undefined || b === undefined) throw new TypeError("two players make two observations");
  return compare(c, a, b);
}
