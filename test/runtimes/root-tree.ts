/**
 * Root file systems of Debian for grounds: a runtime's packages with everything that they depend on, in the project's
 * cache. Nothing is installed, and no script of a package runs.
 */
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { debianSystem, type Suite } from "../../scripts/debian.ts";
import { cacheDir } from "../../scripts/paths.ts";
import { fetchedOr } from "../../src/testing/fetched.ts";
import { whyNot } from "../../src/testing/needs.ts";

/** What the machine must have for a ground. */
export const GROUND_NEEDS = {
  root: true,
  programs: ["ip", "nft", "tc", "mount", "nsenter", "pivot_root", "setpriv", "unshare"],
} as const;

/** What every ground has: small programs, and what shows and changes a network. */
const BASE = [
  ...["busybox-static", "dash", "coreutils", "grep", "sed", "mount", "util-linux"],
  ...["iproute2", "iptables", "nftables"],
];

/** Programs of iptables as Debian's choice between two of them would link them. */
const IPTABLES = ["iptables", "iptables-save", "iptables-restore"].flatMap((name) => [
  name,
  name.replace("ip", "ip6"),
]);

/**
 * A directory with these packages of the suite, to be the root of grounds, which write to a layer above it. `finish`
 * may add files once. It is made again when the list of packages is another one. Undefined where no ground can be, and as
 * `fetchedOr` says.
 */
export async function rootTree(
  name: string,
  suite: Suite,
  packages: readonly string[],
  finish: (tree: string) => void = () => undefined,
): Promise<string | undefined> {
  if (whyNot(GROUND_NEEDS) !== undefined) return undefined; // And the tests say why.
  const all = [...BASE, ...packages];
  const root = join(cacheDir("runtimes"), `${name}-${Bun.hash([suite, ...all].join(" ")).toString(16)}`);
  return fetchedOr(name, async () => {
    await debianSystem(root, suite, all, async (tree) => {
      for (const program of IPTABLES)
        symlinkSync(program.replace("tables", "tables-nft"), join(tree, "usr/sbin", program));
      for (const dir of ["etc/cni/net.d", "opt/cni/bin", "usr/local/bin", "usr/local/sbin", "root", "mnt"])
        mkdirSync(join(tree, dir), { recursive: true });
      finish(tree);
    });
    return root;
  });
}

/**
 * The tree with nothing but the base, which has the init of every ground as well: a static one, since it starts in the
 * machine's file system, which later suites do not have. Undefined as above.
 */
export const baseTree = (): Promise<string | undefined> => rootTree("base", "bookworm", ["tini"]);
