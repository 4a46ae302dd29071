/**
 * Runs test files in a virtual machine with another kernel:
 * `run.ts FILE… [--kernel=6.1|6.12] [--limit=SECONDS] [--log] [other options of bun test]`, or `run.ts --shell` to look round
 * in one. `--log` prints the guest's kernel log also when all is well.
 */
import { ensureBuilt } from "../../scripts/build.ts";
import { peerDir } from "../../scripts/peer.ts";
import { type GuestOutcome, runInGuest } from "./machine.ts";
import { type KernelVersion, kernelVersions } from "./parts.ts";
import { guestEnv, testArguments } from "./tests.ts";

const words = process.argv.slice(2);
const option = (name: string): string | undefined =>
  words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
const own = /^--(?:kernel|limit)=|^--(?:log|shell)$/;

function kernelWanted(): KernelVersion {
  const word = option("kernel") ?? "6.1";
  const known = kernelVersions.find((version) => version === word);
  if (known === undefined) throw new Error(`no kernel ${word}; there are ${kernelVersions.join(", ")}`);
  return known;
}

function summary({ report, timedOut }: GuestOutcome, tookMs: number): string {
  const took = `${(tookMs / 1e3).toFixed(1)} s`;
  if (timedOut) return `ended after ${took}: the time limit`;
  if (report === undefined) return `ended after ${took} before the program did`;
  return `started after ${report.startedAfterS} s, ended with ${report.code} after ${took}`;
}

/** What tests get from the network has to be here before: the guest reaches none. */
async function fetchPeers(): Promise<void> {
  try {
    await peerDir("sid");
    await peerDir("release");
  } catch (e) {
    console.warn(`vm: without the reference plugins: ${(e as Error).message}`);
  }
}

async function main(): Promise<number> {
  const shell = words.includes("--shell");
  const rest = words.filter((word) => !own.test(word));
  if (!shell && !rest.some((word) => !word.startsWith("-")))
    throw new Error("say which test files, or --shell");
  await ensureBuilt();
  await fetchPeers();
  const started = performance.now();
  const version = kernelWanted();
  const outcome = await runInGuest({
    kernel: version,
    argv: shell ? ["bash", "-i"] : testArguments(rest),
    env: guestEnv(),
    limitS: Number(option("limit") ?? (shell ? 86_400 : 900)),
    ...(shell ? {} : { print: (chunk) => void process.stdout.write(chunk) }),
  });
  const code = outcome.report?.code ?? 1;
  if ((code !== 0 && !shell) || words.includes("--log"))
    console.log(`--- the guest's kernel log\n${outcome.console}`);
  console.log(`guest with kernel ${version}: ${summary(outcome, performance.now() - started)}`);
  return code;
}

try {
  process.exitCode = await main();
} catch (e) {
  console.error(`vm: ${e instanceof Error ? e.message : String(e)}`);
  process.exitCode = 1;
}
