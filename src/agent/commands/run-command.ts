/**
 * Runs an operator's command: a program with words, without a shell, in a session of its own, with nothing of this process but the
 * path on which programs are found. Bounded in time and in what it prints.
 */
import { errnoOf } from "../../sys/files.ts";
import { endGroup, groupOf, type ProcessGroup } from "./process-group.ts";

export interface CommandRun {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** Ends it, and all that it has started. */
  readonly signal: AbortSignal;
  /** Hears that it runs. */
  readonly started: (group: ProcessGroup) => void;
  /** Hears what it prints, line by line. */
  readonly heard: (line: string, from: "stdout" | "stderr") => void;
}

/** Why not: the exit code and the last line that it printed, of its errors if there are any. */
export type Ran =
  { readonly ok: true; readonly stdout: string } | { readonly ok: false; readonly why: string };

export interface CommandLimits {
  /** How long it may take, in milliseconds. */
  readonly limitMs: number;
  /** How long others that it has started may go on printing after it has ended, in milliseconds. */
  readonly graceMs: number;
}
export const LIMITS: CommandLimits = { limitMs: 30_000, graceMs: 500 };
/** Most that it may print on each of its two outputs, in bytes. */
export const OUTPUT_LIMIT = 65_536;
/** Most lines of one run that are heard; the others are counted. A longer line is cut. */
export const LINES_LIMIT = 100;
export const LINE_CHARACTERS = 500;

/** Where programs are, if nobody says. */
const USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const failed = (why: string): Ran => ({ ok: false, why });

export async function runCommand(run: CommandRun, limits = LIMITS): Promise<Ran> {
  if (run.signal.aborted) return failed("was not begun");
  let child: Bun.Subprocess<Uint8Array, "pipe", "pipe">;
  try {
    child = Bun.spawn([...run.argv], {
      cwd: "/",
      env: { PATH: process.env["PATH"] ?? USUAL_PATH, ...run.env },
      stdin: Buffer.from(run.stdin),
      stdout: "pipe",
      stderr: "pipe",
      // A session and a group of its own, so that all that it starts can be ended with it.
      detached: true,
    });
  } catch (e) {
    return failed(notStarted(run.argv[0] ?? "", e));
  }
  const group = groupOf(child.pid);
  try {
    run.started(group);
  } catch (e) {
    // Nobody would end it, or read what it prints.
    endGroup(group);
    throw e;
  }
  let ended: string | undefined;
  const end = (why: string): void => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    ended ??= why;
    endGroup(group);
  };
  const giveUp = () => end("ended with the agent");
  const timer = setTimeout(() => end(`was not done after ${limits.limitMs} ms`), limits.limitMs);
  run.signal.addEventListener("abort", giveUp);
  const last = { stdout: "", stderr: "" };
  let lines = 0;
  const follow = (name: "stdout" | "stderr") =>
    followOutput(child[name], {
      tooLong: () => end(`printed more than ${OUTPUT_LIMIT} bytes`),
      line: (line) => {
        last[name] = line;
        if (++lines <= LINES_LIMIT) run.heard(line, name);
      },
    });
  const [stdout, stderr] = [follow("stdout"), follow("stderr")];
  const code = await child.exited;
  clearTimeout(timer);
  run.signal.removeEventListener("abort", giveUp);
  const all = Promise.all([stdout.text, stderr.text]);
  await Promise.race([all, Bun.sleep(limits.graceMs)]);
  for (const output of [stdout, stderr]) output.stop();
  const [text] = await all;
  if (lines > LINES_LIMIT) run.heard(`and ${lines - LINES_LIMIT} more lines`, "stdout");
  if (ended !== undefined) return failed(ended);
  if (code === 0) return { ok: true, stdout: text };
  const how = child.signalCode === null ? `exit code ${code}` : `ended by ${child.signalCode}`;
  const said = last.stderr || last.stdout;
  return failed(said === "" ? how : `${how}: ${said}`);
}

function notStarted(program: string, e: unknown): string {
  const errno = errnoOf(e) ?? String(e);
  return errno === "ENOENT" ? `there is no program ${program}` : `${program} cannot be started: ${errno}`;
}

interface Output {
  /** Resolves at the end, with as much as may be printed. */
  readonly text: Promise<string>;
  /** It is at its end, whoever may still have it open. */
  stop(): void;
}

function followOutput(
  stream: ReadableStream<Uint8Array>,
  on: { readonly tooLong: () => void; readonly line: (line: string) => void },
): Output {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const tell = (line: string): void => {
    const shown = line.trimEnd().slice(0, LINE_CHARACTERS);
    if (shown !== "") on.line(shown);
  };
  const read = async (): Promise<string> => {
    let [text, rest, bytes] = ["", "", 0];
    const take = (piece: string): void => {
      text += piece;
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      lines.forEach(tell);
    };
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      bytes += value.length;
      if (bytes > OUTPUT_LIMIT) {
        on.tooLong();
        break;
      }
      take(decoder.decode(value, { stream: true }));
    }
    take(decoder.decode());
    tell(rest);
    await reader.cancel();
    return text;
  };
  return { text: read(), stop: () => void reader.cancel() };
}
