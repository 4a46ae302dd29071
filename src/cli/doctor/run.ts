/** `heddle doctor`: looks, puts right what it may if that is asked for, and reports. */
import { stateDir } from "../../dhcp/store.ts";
import { pluginHost } from "../../plugins/registry.ts";
import { splitPath } from "../../cni/invoke.ts";
import { confDirOf } from "../cni-request.ts";
import { complain, print } from "../output.ts";
import { examine } from "./checks.ts";
import { gatherFacts, type HostFacts, type Where } from "./facts.ts";
import { type FixMeans, planFixes } from "./fix.ts";
import { type Fixed, toJson, toText } from "./render.ts";

export interface DoctorOptions {
  readonly json?: boolean;
  readonly all?: boolean;
  readonly fix?: boolean;
  readonly dryRun?: boolean;
  readonly cacheDir?: string;
}

const PLUGIN_DIR = "/opt/cni/bin";

/** Prints the report; the exit code is 1 if there is a problem, or something could not be put right. */
export async function runDoctor(options: DoctorOptions): Promise<void> {
  const { env } = process;
  const path = env["CNI_PATH"] === undefined || env["CNI_PATH"] === "" ? PLUGIN_DIR : env["CNI_PATH"];
  const cache = options.cacheDir === undefined ? {} : { cacheDir: options.cacheDir };
  const where: Where = {
    confDir: confDirOf(env),
    pluginPath: splitPath(path),
    stateDir: stateDir(env),
    ...cache,
  };
  const means: FixMeans = {
    runtime: { host: pluginHost(true), path, env, log: complain, ...cache },
    confDir: where.confDir,
  };
  const looked = async (): Promise<HostFacts> => gatherFacts(where, Date.now(), progress());
  const facts = await looked();
  const findings = examine(facts);
  const fixed =
    options.fix === true ? await fixAll(planFixes(findings, facts, means), options.dryRun === true) : [];
  const after = fixed.some((f) => f.done !== undefined) ? examine(await looked()) : findings;
  const report = { findings: after, fixed };
  print(options.json === true ? toJson(report) : toText(report, options.all === true));
  const failed = fixed.some((f) => f.done?.some((d) => d.failure !== undefined));
  if (failed || after.some((f) => f.severity === "problem")) process.exitCode = 1;
}

async function fixAll(fixes: ReturnType<typeof planFixes>, dryRun: boolean): Promise<readonly Fixed[]> {
  const fixed: Fixed[] = [];
  for (const fix of fixes) fixed.push(dryRun ? { fix } : { fix, done: await fix.run() });
  return fixed;
}

/** Nothing is said of what is done within this time. */
const QUIET_MS = 1000;

/** Says on standard error, if that is a terminal, what is looked at once it has taken a while. */
function progress(): (step: string) => void {
  const started = performance.now();
  return (step) => {
    if (process.stderr.isTTY && performance.now() - started > QUIET_MS) complain(`looking at ${step} …`);
  };
}
