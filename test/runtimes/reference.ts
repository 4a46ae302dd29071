/** The reference plugins on a ground, in the place of Heddle's or of some of them. */
import { join } from "node:path";
import { peerDir } from "../../scripts/peer.ts";
import type { Ground } from "./ground.ts";

/** Plugins of the lists that runtimes use. */
export const LISTED = ["bridge", "host-local", "portmap", "firewall", "tuning"] as const;
export type Listed = (typeof LISTED)[number];

/** Puts the reference's executables in the place of Heddle's, for these types. */
export async function useReference(on: Ground, types: readonly string[]): Promise<void> {
  const dir = await peerDir();
  // A file in the place of a link, not through it.
  await on.exec(["rm", "-f", ...types.map((type) => join("/opt/cni/bin", type))]);
  for (const type of types)
    on.write(join("/opt/cni/bin", type), await Bun.file(join(dir, type)).bytes(), 0o755);
}

/** Lists whose plugins are of both: what of them is the reference's. */
export const mixtures = [
  ["bridge", "host-local"],
  ["portmap", "firewall", "tuning"],
  ["host-local", "portmap"],
  ["bridge", "firewall"],
] as const satisfies readonly (readonly Listed[])[];
export type Mixture = (typeof mixtures)[number];

export const mixtureTitle = (mixture: Mixture): string => {
  const reference: readonly string[] = mixture;
  const ours = LISTED.filter((type) => !reference.includes(type));
  return `${reference.join(", ")} of the reference with ${ours.join(", ")} of Heddle`;
};
