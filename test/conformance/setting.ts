/** What the comparisons have in common: where the reference is, what they need, and tests by what the kernel must have. */
import { type KernelFeature, rareFeatures } from "../../src/testing/features.ts";
import { onKernelWith, testWith, whyNot } from "../../src/testing/needs.ts";
import { peerProgram } from "../../src/testing/peer.ts";

const peer = whyNot({ root: true }) === undefined ? await peerProgram("bridge") : undefined;
/** The folder of the reference's executables. */
export const peerPath = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

export const kernel = testWith({
  root: true,
  programs: ["ip", "tc", "nft", "iptables", "nsenter", "unshare"],
  feature: peer === undefined ? "needs the reference plugins" : true,
});

interface OfFeature {
  readonly network: { readonly feature?: KernelFeature };
}

/** True for what mostly runs in the virtual machine, where one takes a minute or more. */
export const isRare = ({ network: { feature } }: OfFeature): boolean =>
  feature !== undefined && rareFeatures.includes(feature);

/** Calls `tests` with the cases of each feature, where it runs: here, or in the virtual machine. */
export function byFeature<T extends OfFeature>(cases: readonly T[], tests: (of: readonly T[]) => void): void {
  const groups = Map.groupBy(cases, (c) => c.network.feature);
  for (const [feature, group] of groups)
    if (feature === undefined) tests(group);
    else onKernelWith([feature], () => tests(group));
}
