/**
 * Network namespaces for tests. Every name holds the process id of the test that made it, so parallel test processes do
 * not meet, and what a killed test left behind is removed by the next one.
 */
import { existsSync, readdirSync } from "node:fs";
import { type Outcome, plainEnv, run, type RunOptions } from "./run.ts";

const DIRECTORY = "/run/netns";
const NAME = /^hdl-(\d+)-\d+$/;

export interface TestNetns extends AsyncDisposable {
  readonly name: string;
  readonly path: string;
  /** Runs a program inside to its end; throws if it fails, unless `mustSucceed` is false. */
  exec(argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Starts a program inside, for example a server; it is killed at the end of the block. */
  start(argv: readonly string[], env?: Readonly<Record<string, string>>): TestProcess;
}
export interface TestProcess extends AsyncDisposable {
  readonly pid: number;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Waits until the program has printed a line that contains `text`; throws if it ends before. */
  printed(text: string): Promise<void>;
}

let made = 0;
let swept = false;

/** Makes a namespace with its loopback interface up; bind it with `await using`. */
export async function testNetns(): Promise<TestNetns> {
  await sweepOnce();
  const name = newName();
  await run(["ip", "netns", "add", name]);
  await run(["ip", "-n", name, "link", "set", "lo", "up"]);
  return called(name);
}

/** Makes many at once, whose loopback interfaces are down, as runtimes do; bind it with `await using`. */
export async function manyNetns(
  count: number,
): Promise<AsyncDisposable & { readonly all: readonly TestNetns[] }> {
  await sweepOnce();
  const names = Array.from({ length: count }, newName);
  const batch = async (verb: string): Promise<void> => {
    // What the batch does with one that is gone does not stop it.
    const options = {
      stdin: names.map((name) => `netns ${verb} ${name}\n`).join(""),
      mustSucceed: verb === "add",
    };
    await run(["ip", "-force", "-batch", "-"], options);
  };
  await batch("add");
  return { all: names.map(called), [Symbol.asyncDispose]: () => batch("delete") };
}

const newName = (): string => `hdl-${process.pid}-${++made}`;

const called = (name: string): TestNetns => ({
  name,
  path: `${DIRECTORY}/${name}`,
  exec: (argv, options) => run(["ip", "netns", "exec", name, ...argv], options),
  start: (argv, env) => startProcess(["ip", "netns", "exec", name, ...argv], env),
  [Symbol.asyncDispose]: async () => {
    // A test may have removed the namespace itself: that is what it is about.
    if (existsSync(`${DIRECTORY}/${name}`)) await run(["ip", "netns", "delete", name]);
  },
});

/** Starts a program that is killed and waited for at the end of the block. */
export function startProcess(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = plainEnv,
): TestProcess {
  const child = Bun.spawn([...argv], { env: { ...env }, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  return {
    pid: child.pid,
    stdout: child.stdout,
    printed: async (text) => {
      const decoder = new TextDecoder();
      let seen = "";
      for await (const chunk of child.stdout) {
        seen += decoder.decode(chunk, { stream: true });
        if (seen.includes(text)) return;
      }
      throw new Error(`${argv.join(" ")} ended without printing "${text}": ${seen}`);
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/**
 * Makes the directory of namespaces if there is none. `ip` makes it a mount of its own with the first namespace; a mount
 * namespace that was split off before would see none of those that are made later.
 */
export async function ensureNetnsDirectory(): Promise<void> {
  if (existsSync(DIRECTORY)) return;
  await using _first = await testNetns();
}

async function sweepOnce(): Promise<void> {
  if (swept) return;
  swept = true;
  if (!existsSync(DIRECTORY)) return;
  for (const name of readdirSync(DIRECTORY)) {
    const pid = NAME.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      // Two test processes may sweep at once; the second finds nothing.
      await run(["ip", "netns", "delete", name], { mustSucceed: false });
  }
}
