/**
 * The end of a forwarder that listens and does not answer: of the process that the kernel names at the other end of its control
 * socket, by a descriptor of its own, and of no process that is not told by its words to be that forwarder.
 */
import { NetError } from "../errors.ts";
import { readText, unlessErrno } from "../sys/files.ts";
import { processStat } from "../sys/process-stat.ts";
import { openProcess, signalProcess } from "../sys/processes.ts";
import { peerCredentials } from "../sys/unix-listener.ts";
import { connectUnix } from "../sys/unix-socket.ts";

const CONNECT_SECONDS = 1;
const LOOK_MS = 5;
/** So long a process may take to end that can do nothing about it. */
const ENDING_MS = 5_000;

/** The process that listens there; undefined if none does, 0 if it is of another PID namespace. */
export function listenerOf(control: string): number | undefined {
  using stream = connectUnix(control, CONNECT_SECONDS);
  return stream && peerCredentials(stream.fd).pid;
}

/** Returns when nobody listens any more. @throws try-again if it is not that forwarder, or does not end */
export async function endListener(control: string): Promise<void> {
  const pid = listenerOf(control);
  if (pid === undefined) return;
  using listener = pid === 0 ? undefined : openProcess(pid);
  // Looked at once it is open: from here on the number means this process alone.
  if (listener === undefined || !isForwarder(pid, control))
    throw new NetError("try-again", {
      why: `who listens on ${control} and does not answer is left alone: it is not known to be its forwarder (process ${pid})`,
    });
  signalProcess(listener, "SIGKILL");
  const end = performance.now() + ENDING_MS;
  while (isThere(pid)) {
    if (performance.now() > end)
      throw new NetError("try-again", { why: `the forwarder at ${control}, process ${pid}, does not end` });
    await Bun.sleep(LOOK_MS);
  }
}

function isForwarder(pid: number, control: string): boolean {
  const words = unlessErrno(["ENOENT", "ESRCH"], () => readText(`/proc/${pid}/cmdline`))?.split("\0") ?? [];
  return words.includes("forwarder") && words[words.indexOf("--control") + 1] === control;
}

/** One that nobody has waited for yet has closed everything. */
const isThere = (pid: number): boolean => !["Z", "X", undefined].includes(processStat(pid)?.state);
