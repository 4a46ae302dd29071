/**
 * Runs programs for tests: an argument array, a stated environment, a time limit, and all the output kept. Knows nothing
 * of containers or plugins.
 */
import { patience } from "./slowdown.ts";

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
export interface RunOptions {
  readonly stdin?: string;
  /** The whole environment of the program; by default only a `PATH`. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** After this many milliseconds the program is killed; 30 seconds unless told. More where `patience` says so. */
  readonly timeoutMs?: number;
  /** False: a failing program is an outcome, not an error. */
  readonly mustSucceed?: boolean;
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The environment that programs get unless a test says otherwise. */
export const plainEnv: Readonly<Record<string, string>> = { PATH, LC_ALL: "C" };

/** Runs a program to its end. A code other than 0 throws with what it printed, unless `mustSucceed` is false. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = Bun.spawn([...argv], {
    env: { ...(options.env ?? plainEnv) },
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
    timeout: patience(options.timeoutMs ?? 30_000),
    killSignal: "SIGKILL",
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0 && options.mustSucceed !== false)
    throw new Error(`${argv.join(" ")} ended with ${code}\n${stderr}${stdout}`);
  return { code, stdout, stderr };
}
