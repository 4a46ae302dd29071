/**
 * A lab for tests, made by the executable as anybody makes one. Its name holds the number of the test process, so that parallel
 * tests do not meet, and what a killed test has left is removed by the next one.
 */
import { existsSync, readdirSync } from "node:fs";
import { parseJson } from "../cni/json.ts";
import type { SeenLab } from "../lab/look.ts";
import { LABS, type LabPaths, labPaths } from "../lab/paths.ts";
import type { Pinged } from "../lab/ping.ts";
import type { HeddleBinary } from "./executable.ts";
import { type Outcome, plainEnv, run, type RunOptions } from "./run.ts";

export interface TestLab extends AsyncDisposable {
  readonly name: string;
  readonly paths: LabPaths;
  /** `heddle lab WORDS… --name NAME`; throws if it fails, unless `mustSucceed` is false. */
  command(words: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Runs a program in a host, or in HOST/CONTAINER. */
  exec(place: string, argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  status(): Promise<SeenLab>;
  /** Everyone to everyone; the exit code and the pairs, those that failed apart. Options of `heddle lab ping` may follow. */
  ping(...words: readonly string[]): Promise<{
    readonly code: number;
    readonly all: readonly Pinged[];
    readonly failed: readonly string[];
  }>;
}

const NAME = /^t(\d+)-/;
let made = 0;
let swept = false;

/** A name for a lab of this test process; what tests that were killed have left is removed first. */
export async function labName(heddle: HeddleBinary): Promise<string> {
  if (!swept && existsSync(LABS))
    for (const name of readdirSync(LABS)) {
      const pid = NAME.exec(name)?.[1];
      if (pid !== undefined && !existsSync(`/proc/${pid}`))
        await run([heddle.path, "lab", "down", "--name", name], { mustSucceed: false });
    }
  swept = true;
  // A file that failed to remove its own is no hindrance to the next one of the same process.
  return `t${process.pid}-${Date.now().toString(36)}-${++made}`;
}

/** The executable, and the environment that the lab is made in. */
interface LabMaker {
  readonly heddle: HeddleBinary;
  readonly env: Readonly<Record<string, string>>;
}

/** Makes one: `words` are options of `heddle lab up`. Bind it with `await using`. */
export async function testLab(maker: HeddleBinary | LabMaker, ...words: readonly string[]): Promise<TestLab> {
  const { heddle, env } = "heddle" in maker ? maker : { heddle: maker, env: plainEnv };
  const name = await labName(heddle);
  await run([heddle.path, "lab", "up", "--name", name, ...words], { timeoutMs: 120_000, env });
  return labCalled(heddle, name);
}

/** One that is there. */
export function labCalled(heddle: HeddleBinary, name: string): TestLab {
  const command: TestLab["command"] = ([first = "", ...rest], options) => {
    const words =
      first === "fault"
        ? [first, rest[0] ?? "", "--name", name, ...rest.slice(1)]
        : [first, "--name", name, ...rest];
    return run([heddle.path, "lab", ...words], options);
  };
  return {
    name,
    paths: labPaths(name),
    command,
    exec: (place, argv, options) => command(["exec", place, "--", ...argv], { env: plainEnv, ...options }),
    status: async () => parseJson((await command(["status", "--json"])).stdout, "status") as SeenLab,
    ping: async (...words) => {
      const { code, stdout } = await command(["ping", "--json", ...words], { mustSucceed: false });
      const all = parseJson(stdout, "ping") as readonly Pinged[];
      return { code, all, failed: all.filter((p) => p.received === 0).map((p) => `${p.from} ${p.address}`) };
    },
    [Symbol.asyncDispose]: async () => {
      if (existsSync(labPaths(name).dir)) await command(["down"]);
    },
  };
}
