/**
 * Packages of Debian, unpacked into the cache and not installed. apt fetches and verifies them from the mirror that the
 * machine already uses, with lists and a cache of its own, so that nothing of the machine's changes.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { command } from "./command.ts";

/** A suite by its name (`sid`, `bookworm`), or what the machine itself is configured to install from. */
export type Suite = "this machine's" | "bookworm" | "trixie" | "sid";

export interface Apt {
  /** Fetches these packages alone. */
  download(names: readonly string[]): Promise<void>;
  /** Fetches these packages, and of what they depend on what the machine does not have. */
  downloadWithMissing(names: readonly string[]): Promise<void>;
  /** Whether the suite has such a package. */
  has(name: string): Promise<boolean>;
  /** What a package depends on directly. */
  dependencies(name: string): Promise<readonly string[]>;
}

/**
 * Makes the directory `root` from the packages that `fetch` downloads, unless it is there. `finish` completes the tree
 * before it gets its name.
 * @throws if apt is not there or cannot fetch a package
 */
export async function unpackDebian(
  root: string,
  suite: Suite,
  fetch: (apt: Apt) => Promise<void>,
  finish?: (tree: string) => Promise<void>,
): Promise<void> {
  if (existsSync(root)) return;
  if (Bun.which("apt-get") === null) throw new Error("needs Debian's apt to fetch packages");
  const work = join(dirname(root), `fetching-${process.pid}-${basename(root)}`);
  const tree = join(work, "tree");
  const archives = join(work, "cache/archives");
  for (const dir of [tree, join(archives, "partial"), join(work, "lists/partial")])
    mkdirSync(dir, { recursive: true });
  try {
    await fetch(await aptOf(suite, work));
    for (const deb of readdirSync(archives).filter((name) => name.endsWith(".deb")))
      await command(["dpkg", "-x", join(archives, deb), tree]);
    await finish?.(tree);
    try {
      renameSync(tree, root);
    } catch (e) {
      if (!existsSync(root)) throw e; // Otherwise somebody else was quicker.
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function aptOf(suite: Suite, work: string): Promise<Apt> {
  const sources = join(work, "sources.list");
  writeFileSync(sources, `${(await sourcesOf(suite)).join("\n")}\n`);
  const options = [
    `Dir::Etc::SourceList=${sources}`,
    "Dir::Etc::SourceParts=-",
    `Dir::State::Lists=${join(work, "lists")}`,
    `Dir::Cache=${join(work, "cache")}`,
    "Acquire::Languages=none",
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
  const get = (...words: readonly string[]): Promise<string> =>
    command(["apt-get", "-qq", ...options, ...words], { cwd: join(work, "cache/archives") });
  const cache = (...words: readonly string[]): Promise<string> =>
    command(["apt-cache", ...options, ...words], { cwd: work });
  await get("update");
  return {
    download: async (names) => void (await get("download", ...names)),
    downloadWithMissing: async (names) => {
      const how = ["--download-only", "--reinstall", "--yes", "--no-install-recommends"];
      await get("install", ...how, ...names);
    },
    has: async (name) => (await cache("pkgnames", name)).split("\n").includes(name),
    dependencies: async (name) =>
      [...(await cache("depends", name)).matchAll(/^\s*Depends: (\S+)$/gm)].map((match) => match[1] ?? ""),
  };
}

/** Lines for apt's list of sources. The mirror is the one that the machine uses; only the suite differs. */
async function sourcesOf(suite: Suite): Promise<readonly string[]> {
  const format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
  const targets = await command(["apt-get", "indextargets", "--format", format, "Created-By: Packages"]);
  const signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
  const mirrors = targets.split("\n").filter((line) => /^\S+\/debian(?:-security)?\/? /.test(line));
  const main = mirrors.find((line) => /^\S+\/debian\/? /.test(line))?.split(" ")[0];
  if (main === undefined) throw new Error("apt has no Debian mirror configured");
  if (suite !== "this machine's") return [`${signed} ${main} ${suite} main`];
  return [...new Set(mirrors)].map((line) => `${signed} ${line}`);
}
