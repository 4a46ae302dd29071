/**
 * The reference plugins, to compare with: Debian's containernetworking-plugins, unpacked into the cache and not
 * installed. apt fetches and verifies them from the mirror that the machine already uses; only the suite differs.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import { cacheDir } from "./paths.ts";

const PACKAGE = "containernetworking-plugins";

/**
 * A directory with the reference's executables: of Debian's `sid` suite (1.9.1 or newer), or of the release that runs
 * on this machine (1.1.1 on Debian 12). `HEDDLE_PEER_DIR` names a directory to use instead of the first.
 * @throws if apt is not there or cannot fetch the package
 */
export async function peerDir(which: "sid" | "release" = "sid"): Promise<string> {
  const own = process.env["HEDDLE_PEER_DIR"];
  if (which === "sid" && own !== undefined && own !== "") return own;
  const root = join(cacheDir("peer"), which);
  const plugins = join(root, "usr/lib/cni");
  if (!existsSync(plugins)) await unpack(which, root);
  return plugins;
}

async function unpack(which: "sid" | "release", root: string): Promise<void> {
  const work = join(cacheDir("peer"), `fetching-${process.pid}-${which}`);
  const tree = join(work, "tree");
  mkdirSync(tree, { recursive: true });
  try {
    const apt = await aptOfSuite(which === "sid" ? "sid" : runningRelease(), work);
    await command([...apt, "download", PACKAGE], { cwd: work });
    for (const deb of readdirSync(work).filter((name) => name.endsWith(".deb")))
      await command(["dpkg", "-x", join(work, deb), tree]);
    try {
      renameSync(tree, root);
    } catch (e) {
      if (!existsSync(root)) throw e; // Otherwise somebody else was quicker.
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function runningRelease(): string {
  const name = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1];
  if (name === undefined) throw new Error("the system does not name its release in /etc/os-release");
  return name;
}

/** `apt-get` with lists and cache of its own, that sees the suite alone and changes nothing of the machine's. */
async function aptOfSuite(suite: string, work: string): Promise<readonly string[]> {
  const targets = await command([
    "apt-get",
    "indextargets",
    "--format",
    "$(REPO_URI)",
    "Created-By: Packages",
  ]);
  const uri = targets.split("\n").find((line) => /\/debian\/?$/.test(line));
  if (uri === undefined) throw new Error(`apt has no Debian mirror configured, needed for ${PACKAGE}`);
  mkdirSync(join(work, "lists/partial"), { recursive: true });
  mkdirSync(join(work, "cache/archives/partial"), { recursive: true });
  const sources = join(work, "sources.list");
  const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  writeFileSync(sources, `deb [signed-by=${keyring}] ${uri} ${suite} main\n`);
  const options = [
    `Dir::Etc::SourceList=${sources}`,
    "Dir::Etc::SourceParts=-",
    `Dir::State::Lists=${join(work, "lists")}`,
    `Dir::Cache=${join(work, "cache")}`,
    "APT::Sandbox::User=root",
  ];
  const apt = ["apt-get", "-qq", ...options.flatMap((option) => ["-o", option])];
  await command([...apt, "update"]);
  return apt;
}

if (import.meta.main) console.log(await peerDir(process.argv.includes("--release") ? "release" : "sid"));
