/**
 * A plugin as a process: standard input and output around `serve`. Output is written in a loop and the process is
 * left to end by itself, because what is still in a pipe at `process.exit` is lost.
 */
import { NetError } from "../errors.ts";
import { readSome, writeSome } from "../sys/files.ts";
import type { Host } from "./host.ts";
import { JSON_TEXT_LIMIT } from "./json.ts";
import type { Plugin } from "./plugin.ts";
import { serve } from "./serve.ts";

/** Runs the plugin with this process' environment and descriptors 0, 1 and 2, and sets the exit code. */
export async function runAsExecutable(plugin: Plugin, host: Host): Promise<void> {
  const output = await serve(plugin, { env: process.env, stdin: readStdin, host });
  writeAll(2, output.stderr);
  process.exitCode = writeAll(1, output.stdout) ? output.code : 1;
  // Since the start of the process.
  const tookMs = performance.now();
  if (output.code === 0 && tookMs < LONG_MS) return;
  const { failureToTell, tellJournal } = await import("./journal.ts");
  const { network, failure } = output;
  const { env } = process;
  const call = {
    plugin: plugin.type,
    verb: env["CNI_COMMAND"],
    network,
    containerId: env["CNI_CONTAINERID"],
    ifname: env["CNI_IFNAME"],
    tookMs,
    failure: failure === undefined ? undefined : failureToTell(failure),
  };
  tellJournal(call, env);
}

/** A call that takes longer is told of in the journal, in milliseconds. */
export const LONG_MS = 1000;

/** A descriptor that somebody made non-blocking is tried again after a moment. */
const RETRY_MS = 1;
/** Configurations are smaller; a longer text takes several reads. */
const CHUNK = 16 * 1024;

/**
 * Everything on standard input, up to a little more than the limit, so that a longer text is noticed.
 * @throws sys/call
 */
export function readStdin(): string {
  const chunks: Uint8Array[] = [];
  let length = 0;
  while (length <= JSON_TEXT_LIMIT) {
    const chunk = new Uint8Array(new ArrayBuffer(CHUNK));
    const n = readSome(0, chunk);
    if (n === 0) break;
    if (typeof n === "number") {
      chunks.push(chunk.subarray(0, n));
      length += n;
    } else if (n === "EAGAIN") Bun.sleepSync(RETRY_MS);
    else throw new NetError("sys/call", { call: "read", on: "standard input", errno: n });
  }
  const [only] = chunks;
  return new TextDecoder().decode(chunks.length === 1 ? only : Buffer.concat(chunks));
}

/** True if everything was written; false if nobody reads any more. */
export function writeAll(fd: 1 | 2, text: string): boolean {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    const n = writeSome(fd, bytes.subarray(at));
    if (typeof n === "number") at += n;
    else if (n === "EAGAIN") Bun.sleepSync(RETRY_MS);
    else return false;
  }
  return true;
}
