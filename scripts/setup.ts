/**
 * Makes sure that the small programs are there that the demo, the tests and the benchmark look through: iproute2,
 * nftables, iptables, strace, procps, tcpdump, conntrack, binutils. As root on Debian or Ubuntu the missing ones are installed;
 * elsewhere they are named. Daemons are never installed.
 */
import { readFileSync } from "node:fs";
import { command } from "./command.ts";

/** Program, and the Debian package that it comes in. */
const needed = {
  ip: "iproute2",
  nft: "nftables",
  iptables: "iptables",
  "iptables-save": "iptables",
  "ip6tables-restore": "iptables",
  strace: "strace",
  sysctl: "procps",
  tcpdump: "tcpdump",
  conntrack: "conntrack",
  strip: "binutils",
} as const;

/** Packages of programs that are not to be found. */
function missingPackages(): readonly string[] {
  const missing = Object.entries(needed).filter(
    ([program]) => Bun.which(program, { PATH: searchPath }) === null,
  );
  return [...new Set(missing.map(([, name]) => name))];
}

const searchPath = `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`;

function isDebianLike(): boolean {
  try {
    return /^ID(?:_LIKE)?=.*\b(?:debian|ubuntu)\b/m.test(readFileSync("/etc/os-release", "utf8"));
  } catch {
    return false; // No such file: some other system.
  }
}

/**
 * Installs what is missing, if that can be done.
 * @throws with one line for people, naming what to install, if it cannot
 */
export async function setup(): Promise<void> {
  if (process.platform !== "linux") return; // Only what needs no kernel of ours runs elsewhere.
  const missing = missingPackages();
  if (missing.length === 0) return;
  const please = `missing on this machine: ${missing.join(", ")}`;
  if (!isDebianLike()) throw new Error(`${please}; please install them with your system's package manager`);
  if (process.geteuid?.() !== 0)
    throw new Error(`${please}; run as root, or first: sudo apt-get install ${missing.join(" ")}`);
  console.log(`setup: installing ${missing.join(", ")}`);
  await aptInstall(missing);
  const still = missingPackages();
  if (still.length > 0) throw new Error(`installed, and yet not to be found: ${still.join(", ")}`);
}

async function aptInstall(names: readonly string[]): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", ...names];
  try {
    await command(install, { env });
  } catch {
    // The usual reason on a fresh image: there are no package lists yet, or old ones.
    await command(["apt-get", "-qq", "update"], { env });
    await command(install, { env });
  }
}

if (import.meta.main) {
  try {
    await setup();
  } catch (e) {
    console.error(`setup: ${e instanceof Error ? e.message : String(e)}`);
    process.exitCode = 1;
  }
}
