/** What the tests of many plugins and many containers have in common: what they need of the machine. */
import { rareFeatures } from "../../src/testing/features.ts";
import { onKernelWith, testWith } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { needsOf } from "./plugins.ts";

const test = testWith({
  root: true,
  programs: ["ip", "tc", "nft", "iptables-restore", "nsenter", "unshare"],
});

interface List {
  readonly types: readonly string[];
}

/** A test for each list, on a kernel that has what its plugins need. */
export function eachList<T extends List>(
  lists: readonly T[],
  titleOf: (list: T) => string,
  limitMs: number,
  body: (list: T) => Promise<void>,
): void {
  for (const list of lists) {
    const one = (): void => test(titleOf(list), () => body(list), patience(limitMs));
    const features = needsOf(list.types);
    if (features.length === 0) one();
    else onKernelWith(features, one);
  }
}

/** Such lists are costly, since they mostly run in a virtual machine. */
export const isRare = ({ types }: List): boolean => needsOf(types).some((f) => rareFeatures.includes(f));
