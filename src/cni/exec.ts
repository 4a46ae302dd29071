/**
 * Runs a plugin's executable: configuration in, bounded output back. Loaded only when a plugin is not in this
 * program, because a plugin process that runs everything itself never needs it.
 */
import { NetError } from "../errors.ts";
import type { Env } from "./host.ts";
import { JSON_TEXT_LIMIT } from "./json.ts";

export interface ExecRequest {
  readonly file: string;
  readonly env: Env;
  readonly stdin: string;
  /** Ends the child when aborted. */
  readonly signal?: AbortSignal;
}
export interface ExecOutput {
  /** The exit code, or the name of the signal that ended the child. */
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Most that is read of either output of a plugin, in bytes. A plugin that prints more is stopped. */
export const OUTPUT_LIMIT = JSON_TEXT_LIMIT;
/** A file that is being replaced ("text file busy") is tried this often, with these pauses between. */
const BUSY_PAUSES_MS = [5, 20, 80, 300, 1000] as const;

/** Variables that make a program load code, or turn one that is built with Bun into plain Bun (ld.so(8), Node, Bun). */
const TAKE_OVER = /^(?:BUN_|LD_|NODE_OPTIONS$)/;

/**
 * Starts the file and waits for its end.
 * @throws program/failed if it cannot be started, prints too much, or was aborted
 */
export async function execPlugin(request: ExecRequest): Promise<ExecOutput> {
  const env = Object.fromEntries(
    Object.entries(request.env).filter(([name, value]) => value !== undefined && !TAKE_OVER.test(name)),
  );
  const failed = (why: string, cause?: unknown): NetError =>
    new NetError(
      "program/failed",
      { program: request.file, why },
      cause === undefined ? undefined : { cause },
    );
  if (request.signal?.aborted) throw failed("not started, because the caller gave up", request.signal.reason);
  const child = await start(request, env, failed);
  let tooLong: string | undefined;
  const collect = async (stream: ReadableStream<Uint8Array>, name: string): Promise<string> => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > OUTPUT_LIMIT) {
        tooLong ??= name;
        child.kill("SIGKILL");
        break;
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString("utf8");
  };
  const [stdout, stderr, exitCode] = await Promise.all([
    collect(child.stdout, "standard output"),
    collect(child.stderr, "standard error"),
    child.exited,
  ]);
  if (request.signal?.aborted) throw failed("stopped before it ended", request.signal.reason);
  if (tooLong !== undefined) throw failed(`printed more than ${OUTPUT_LIMIT} bytes on ${tooLong}`);
  return { status: child.signalCode ?? exitCode, stdout, stderr };
}

type Child = Bun.Subprocess<Uint8Array, "pipe", "pipe">;

async function start(
  request: ExecRequest,
  env: Record<string, string | undefined>,
  failed: (why: string, cause: unknown) => NetError,
): Promise<Child> {
  for (let tries = 0; ; tries++) {
    try {
      return Bun.spawn([request.file], {
        env,
        stdin: Buffer.from(request.stdin),
        stdout: "pipe",
        stderr: "pipe",
        killSignal: "SIGKILL",
        ...(request.signal ? { signal: request.signal } : {}),
      });
    } catch (e) {
      const pause = BUSY_PAUSES_MS[tries];
      const errno = e instanceof Error && "code" in e ? String(e.code) : "";
      if (errno !== "ETXTBSY" || pause === undefined)
        throw failed(`cannot be executed (${errno || String(e)})`, e);
      await Bun.sleep(pause);
    }
  }
}
