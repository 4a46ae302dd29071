/**
 * A plugin as a process: standard input and output around `serve`. Output is written in a loop and the process is
 * left to end by itself, because what is still in a pipe at `process.exit` is lost.
 */
import { readSync, writeSync } from "node:fs";
import { NetError } from "../errors.ts";
import type { Host } from "./host.ts";
import { JSON_TEXT_LIMIT } from "./json.ts";
import type { Plugin } from "./plugin.ts";
import { serve } from "./serve.ts";

/** Runs the plugin with this process' environment and descriptors 0, 1 and 2, and sets the exit code. */
export async function runAsExecutable(plugin: Plugin, host: Host): Promise<void> {
  const output = await serve(plugin, { env: process.env, stdin: readStdin, host });
  writeAll(2, output.stderr);
  process.exitCode = writeAll(1, output.stdout) ? output.code : 1;
}

const errnoOf = (e: unknown): string => (e instanceof Error && "code" in e ? String(e.code) : "unknown");

/** A descriptor that somebody made non-blocking is tried again after a moment. */
const RETRY_MS = 1;

/**
 * Everything on standard input, up to a little more than the limit, so that a longer text is noticed.
 * @throws sys/call
 */
function readStdin(): string {
  const chunks: Uint8Array[] = [];
  let length = 0;
  while (length <= JSON_TEXT_LIMIT) {
    const chunk = new Uint8Array(64 * 1024);
    try {
      const n = readSync(0, chunk);
      if (n === 0) break;
      chunks.push(chunk.subarray(0, n));
      length += n;
    } catch (e) {
      const errno = errnoOf(e);
      if (errno === "EOF") break;
      if (errno !== "EAGAIN" && errno !== "EINTR")
        throw new NetError("sys/call", { call: "read", on: "standard input", errno }, { cause: e });
      if (errno === "EAGAIN") Bun.sleepSync(RETRY_MS);
    }
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** True if everything was written; false if nobody reads any more. */
export function writeAll(fd: 1 | 2, text: string): boolean {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (e) {
      const errno = errnoOf(e);
      if (errno === "EAGAIN") Bun.sleepSync(RETRY_MS);
      else if (errno !== "EINTR") return false;
    }
  }
  return true;
}
