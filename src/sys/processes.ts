import { dlopen, FFIType } from "bun:ffi";
import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { inLibc, tryCall } from "./libc.ts";

/**
 * Processes by descriptor (pidfd_open(2), Linux 5.3): a number may become another process between a look and a signal, a
 * descriptor never does.
 */
const SYS = { PIDFD_SEND_SIGNAL: 424, PIDFD_OPEN: 434 } as const;

const openSymbols = () => {
  const number = FFIType.i64_fast;
  return inLibc((file) =>
    dlopen(file, { syscall: { args: [number, number, number, number, number], returns: number } }),
  ).symbols;
};
let symbols: ReturnType<typeof openSymbols> | undefined;

const run = (name: string, on: string, ...[nr, a, b, c, d]: [number, number, number, number, number]) => {
  const { syscall } = (symbols ??= openSymbols());
  const result = tryCall(() => Number(syscall(nr, a, b, c, d)));
  // Gone, or gone and not waited for yet.
  if (result === "ESRCH" || result === "EINVAL") return undefined;
  if (typeof result === "string") throw new NetError("sys/call", { call: name, on, errno: result });
  return result;
};

/** Opens a process; undefined if there is none of that number. */
export function openProcess(pid: number): Fd | undefined {
  const fd = run("pidfd_open", `process ${pid}`, SYS.PIDFD_OPEN, pid, 0, 0, 0);
  return fd === undefined ? undefined : new Fd(fd);
}

/** SIG* (asm/signal.h; the same on x86-64 and arm64). */
export const signals = { SIGKILL: 9, SIGCONT: 18, SIGSTOP: 19 } as const;
export type SignalName = keyof typeof signals;

/** Sends a signal; false if the process has ended. */
export const signalProcess = (process: Fd, signal: SignalName): boolean =>
  run("pidfd_send_signal", signal, SYS.PIDFD_SEND_SIGNAL, process.raw, signals[signal], 0, 0) !== undefined;
