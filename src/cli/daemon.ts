/** What commands have in common that run until they are told to end. */
import { isCompiled } from "../build-info.ts";
import { NetError } from "../errors.ts";

/** How this program is started again: the very file that runs, also when another one has its name by now. */
export const ownProgram = (): readonly string[] =>
  isCompiled ? ["/proc/self/exe"] : [process.execPath, Bun.main];

/** The signal that asks this process to end. Called at the beginning, so that an early one ends it in order. */
export function endingSignal(): Promise<string> {
  const ended = Promise.withResolvers<string>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => ended.resolve(signal));
  return ended.promise;
}

/** SD_LISTEN_FDS_START (sd-daemon.h). */
const FIRST_PASSED_ON = 3;

/**
 * The socket that a service manager listens on for us, by the variables of sd_listen_fds(3).
 * @throws usage/invalid for more than one
 */
export function passedOn(): number | undefined {
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  if (LISTEN_FDS === undefined || LISTEN_PID !== String(process.pid)) return undefined;
  if (LISTEN_FDS !== "1")
    throw new NetError("usage/invalid", {
      why: `the service manager passes ${LISTEN_FDS} sockets; there must be one`,
    });
  return FIRST_PASSED_ON;
}
