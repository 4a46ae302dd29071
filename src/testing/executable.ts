/**
 * The compiled program for tests: built if it is older than its sources, with a directory of links as an installation
 * has it, and a way to call a plugin as a container runtime does.
 */
import { afterAll, beforeAll } from "bun:test";
import { symlinkSync } from "node:fs";
import { ensureBuilt } from "../../scripts/build.ts";
import { pluginTypes } from "../plugins/registry.ts";
import { plainEnv, run, type Outcome } from "./run.ts";
import { tempDir } from "./temp-dir.ts";

export interface HeddleBinary {
  /** The executable itself. */
  readonly path: string;
  /** A directory for `CNI_PATH`: `heddle`, `cnitool` and every plugin's name, each a link to the executable. */
  readonly cniPath: string;
  /** The path of one of these names. */
  at(name: string): string;
}

/** Builds if needed; bind it with `using`. */
export async function heddleBinary(): Promise<HeddleBinary & Disposable> {
  const path = await ensureBuilt();
  const dir = tempDir("cni-path");
  for (const name of ["heddle", "cnitool", ...pluginTypes]) symlinkSync(path, dir.in(name));
  return {
    path,
    cniPath: dir.path,
    at: (name) => dir.in(name),
    [Symbol.dispose]: () => dir[Symbol.dispose](),
  };
}

/** What a build may take before the first test. */
const BUILD_LIMIT_MS = 120_000;

/** The executable for all tests of one file: there before the first, put away after the last. For the top of the file. */
export function heddleOfFile(): HeddleBinary {
  let made: (HeddleBinary & Disposable) | undefined;
  beforeAll(async () => {
    made = await heddleBinary();
  }, BUILD_LIMIT_MS);
  afterAll(() => made?.[Symbol.dispose]());
  const ready = (): HeddleBinary => {
    if (made === undefined) throw new Error("the executable is there when the tests run, not before");
    return made;
  };
  return {
    get path() {
      return ready().path;
    },
    get cniPath() {
      return ready().cniPath;
    },
    at: (name) => ready().at(name),
  };
}

/** The variables of a plugin call. Those that are not given are not set. */
export interface PluginCall {
  readonly command: "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifname?: string;
  readonly cniPath?: string;
  readonly args?: string;
  /** After so many milliseconds the call is killed; as of every program of a test unless told. */
  readonly timeoutMs?: number;
  /** More variables, and the usual ones in another way than a runtime would set them. */
  readonly env?: Readonly<Record<string, string>>;
}
export interface PluginOutcome extends Outcome {
  /** What was printed, if it is JSON: the result, or the error object. */
  readonly json: unknown;
}

/** Runs a plugin's executable with this call and this configuration (an object, or text as it stands). */
export async function runPlugin(
  file: string,
  call: PluginCall,
  conf: object | string,
  cwd?: string,
): Promise<PluginOutcome> {
  const variables = {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId,
    CNI_NETNS: call.netns,
    CNI_IFNAME: call.ifname,
    CNI_PATH: call.cniPath,
    CNI_ARGS: call.args,
    ...call.env,
  };
  const given = Object.entries(variables).filter((pair): pair is [string, string] => pair[1] !== undefined);
  const outcome = await run([file], {
    env: { ...plainEnv, ...Object.fromEntries(given) },
    stdin: typeof conf === "string" ? conf : JSON.stringify(conf),
    mustSucceed: false,
    ...(call.timeoutMs === undefined ? {} : { timeoutMs: call.timeoutMs }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  return { ...outcome, json: jsonOf(outcome.stdout) };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // Most verbs print nothing.
  }
}
