/** `heddle doctor`: looks, puts right what it may if that is asked for, and reports. */
import { stateDir } from "../../dhcp/store.ts";
import { pluginHost } from "../../plugins/registry.ts";
import { splitPath } from "../../cni/invoke.ts";
import { confDirOf } from "../cni-request.ts";
import { complain, print } from "../output.ts";
import { progress, terminal } from "../terminal.ts";
import { examine } from "./checks.ts";
import { dirsOf, gatherFacts, type HostFacts, type Where } from "./facts.ts";
import { type FixMeans, planFixes } from "./fix.ts";
import { type Fixed, toJson, toText } from "./render.ts";

export interface DoctorOptions {
  readonly json?: boolean;
  readonly all?: boolean;
  readonly fix?: boolean;
  readonly dryRun?: boolean;
  readonly cacheDir?: string;
}

/** Prints the report; the exit code is 1 if there is a problem, or something could not be put right. */
export async function runDoctor(options: DoctorOptions): Promise<void> {
  const { env } = process;
  const cache = options.cacheDir === undefined ? {} : { cacheDir: options.cacheDir };
  const where: Where = {
    confDir: confDirOf(env),
    pluginPath: splitPath(env["CNI_PATH"]),
    stateDir: stateDir(env),
    ...cache,
  };
  const looked = async (): Promise<HostFacts> => {
    const working = progress("looking at");
    const facts = await gatherFacts(where, Date.now(), (step) => working.step(step));
    working.done();
    return facts;
  };
  const facts = await looked();
  const dirs = dirsOf(facts.runtimes.pluginPaths);
  const means: FixMeans = {
    runtime: {
      host: pluginHost(true, { standIn: true }),
      path: (dirs.known ? dirs.value : []).join(":"),
      env,
      log: complain,
      ...cache,
    },
    confDir: where.confDir,
  };
  const findings = examine(facts);
  const fixed =
    options.fix === true ? await fixAll(planFixes(findings, facts, means), options.dryRun === true) : [];
  const after = fixed.some((f) => f.done !== undefined) ? examine(await looked()) : findings;
  const report = { findings: after, fixed };
  print(options.json === true ? toJson(report) : toText(report, options.all === true, terminal()));
  const failed = fixed.some((f) => f.done?.some((d) => d.failure !== undefined));
  if (failed || after.some((f) => f.severity === "problem")) process.exitCode = 1;
}

async function fixAll(fixes: ReturnType<typeof planFixes>, dryRun: boolean): Promise<readonly Fixed[]> {
  const fixed: Fixed[] = [];
  for (const fix of fixes) fixed.push(dryRun ? { fix } : { fix, done: await fix.run() });
  return fixed;
}
