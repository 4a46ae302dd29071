/**
 * Packages of Debian, unpacked into the cache and not installed: a few for programs of this machine, or a system of its
 * own. apt fetches and verifies them from the mirror that the machine already uses, with lists and a cache of its own,
 * so that nothing of the machine's changes.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { command } from "./command.ts";

/** A suite by its name (`sid`, `bookworm`), or what the machine itself is configured to install from. */
export type Suite = "this machine's" | "bookworm" | "trixie" | "sid";

export interface Apt {
  /** Fetches these packages alone. */
  download(names: readonly string[]): Promise<void>;
  /** Fetches these packages, and of what they depend on what the machine does not have. */
  downloadWithMissing(names: readonly string[]): Promise<void>;
  /** Fetches these packages and all that they depend on, whatever the machine has. */
  downloadWithAll(names: readonly string[]): Promise<void>;
  /** Whether the suite has such a package. */
  has(name: string): Promise<boolean>;
  /** What a package depends on directly. */
  dependencies(name: string): Promise<readonly string[]>;
}

type Finish = (tree: string) => Promise<void>;
type Fill = (archives: readonly string[], tree: string) => Promise<void>;

/**
 * Makes the directory `root` from the packages that `fetch` downloads, unless it is there. `finish` completes the tree
 * before it gets its name. `architecture` is the machine's own unless told.
 * @throws if apt is not there or cannot fetch a package
 */
export function unpackDebian(
  root: string,
  suite: Suite,
  fetch: (apt: Apt) => Promise<void>,
  finish?: Finish,
  architecture?: "amd64" | "arm64",
): Promise<void> {
  const fill: Fill = async (archives, tree) => {
    for (const deb of archives) await command(["dpkg", "-x", deb, tree]);
    await finish?.(tree);
  };
  return makeTree(root, suite, fetch, fill, architecture);
}

/**
 * Makes the directory `root`, unless it is there, into a file system whose programs find everything in it that these
 * packages depend on. No script of a package runs: what they would set up is left to `finish`.
 * @throws if apt is not there or cannot fetch a package
 */
export function debianSystem(
  root: string,
  suite: Suite,
  names: readonly string[],
  finish?: Finish,
): Promise<void> {
  const fetch = (apt: Apt): Promise<void> => apt.downloadWithAll(names);
  return makeTree(root, suite, fetch, async (archives, tree) => {
    for (const dir of ["bin", "sbin", "lib", "lib64"]) {
      mkdirSync(join(tree, "usr", dir), { recursive: true });
      symlinkSync(join("usr", dir), join(tree, dir));
    }
    for (const deb of archives) await unpackOverLinks(deb, tree);
    await finish?.(tree);
  });
}

/** dpkg itself would put a directory in the place of a link to one. */
async function unpackOverLinks(deb: string, tree: string): Promise<void> {
  const packed = Bun.spawn(["dpkg-deb", "--fsys-tarfile", deb], { stdin: "ignore", stdout: "pipe" });
  const tar = ["tar", "--extract", "--keep-directory-symlink", "--directory", tree];
  const unpacked = Bun.spawn(tar, { stdin: packed.stdout });
  const codes = await Promise.all([packed.exited, unpacked.exited]);
  if (codes.some((code) => code !== 0)) throw new Error(`${deb} cannot be unpacked`);
}

async function makeTree(
  root: string,
  suite: Suite,
  fetch: (apt: Apt) => Promise<void>,
  fill: Fill,
  architecture?: string,
): Promise<void> {
  if (existsSync(root)) return;
  if (Bun.which("apt-get") === null) throw new Error("needs Debian's apt to fetch packages");
  const work = join(dirname(root), `fetching-${process.pid}-${basename(root)}`);
  const tree = join(work, "tree");
  const archives = join(work, "cache/archives");
  for (const dir of [tree, join(archives, "partial"), join(work, "lists/partial")])
    mkdirSync(dir, { recursive: true });
  try {
    await fetch(await aptOf(suite, work, architecture));
    const names = readdirSync(archives).filter((name) => name.endsWith(".deb"));
    await fill(
      names.map((name) => join(archives, name)),
      tree,
    );
    try {
      renameSync(tree, root);
    } catch (e) {
      if (!existsSync(root)) throw e; // Otherwise somebody else was quicker.
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** How apt fetches what it would install. */
const HOW = ["--download-only", "--yes", "--no-install-recommends"];

async function aptOf(suite: Suite, work: string, architecture?: string): Promise<Apt> {
  const sources = join(work, "sources.list");
  writeFileSync(sources, `${(await sourcesOf(suite)).join("\n")}\n`);
  const options = [
    `Dir::Etc::SourceList=${sources}`,
    "Dir::Etc::SourceParts=-",
    `Dir::State::Lists=${join(work, "lists")}`,
    `Dir::Cache=${join(work, "cache")}`,
    "Acquire::Languages=none",
    "APT::Sandbox::User=root",
    // Nothing is installed, and all that is written is in directories of this process: what else the machine does with apt is no concern.
    "Debug::NoLocking=1",
    ...(architecture === undefined ? [] : [`APT::Architecture=${architecture}`]),
  ].flatMap((option) => ["-o", option]);
  const get = (...words: readonly string[]): Promise<string> =>
    command(["apt-get", "-qq", ...options, ...words], { cwd: join(work, "cache/archives") });
  const cache = (...words: readonly string[]): Promise<string> =>
    command(["apt-cache", ...options, ...words], { cwd: work });
  await get("update");
  const nothingInstalled = join(work, "status");
  writeFileSync(nothingInstalled, "");
  const asIfNew = ["-o", `Dir::State::Status=${nothingInstalled}`];
  return {
    // Otherwise apt looks for the version that the machine has, from wherever it came.
    download: async (names) => void (await get("download", ...asIfNew, ...names)),
    downloadWithMissing: async (names) => {
      await get("install", "--reinstall", ...HOW, ...names);
    },
    downloadWithAll: async (names) => {
      await get("install", ...asIfNew, ...HOW, ...names);
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
