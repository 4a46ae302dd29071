/**
 * The DHCP daemon as a process: its socket, its children, its signals, its log on standard error.
 */
import { taskRunner, CHILD_COMMAND } from "../dhcp/children.ts";
import { bootClock } from "../dhcp/clock.ts";
import { makeDaemon } from "../dhcp/daemon.ts";
import { serveSocket } from "../dhcp/server.ts";
import { openStore, stateDir } from "../dhcp/store.ts";
import { NetError } from "../errors.ts";
import { O, putText, removeIfThere } from "../sys/files.ts";
import { openListener } from "../sys/unix-service.ts";
import { endingSignal, ownProgram, passedOn } from "./daemon.ts";
import type { DaemonOptions } from "./dhcp-daemon.ts";
import { complain } from "./output.ts";

/** Runs until a signal ends it. Leases stay as they are: the next daemon goes on with them. */
export async function runDhcpDaemon(options: DaemonOptions): Promise<void> {
  const { hostprefix, pidfile, socketpath } = options;
  if (process.platform !== "linux")
    throw new NetError("feature/missing", { feature: "heddle dhcp-daemon", needs: "Linux" });
  for (const [name, path] of [
    ["--socketpath", socketpath],
    ["--hostprefix", hostprefix],
    ["--pidfile", pidfile],
  ])
    if (path !== undefined && path !== "" && !path.startsWith("/"))
      throw new NetError("usage/invalid", { why: `${name} must be an absolute path, not "${path}"` });
  const log = complain;
  const ended = endingSignal();
  using stack = new DisposableStack();
  const store = stack.use(openStore(hostprefix + stateDir()));
  const { listener, remove } = await openListener(hostprefix + socketpath, passedOn(), "a DHCP daemon");
  stack.defer(remove);
  if (pidfile !== undefined && pidfile !== "") {
    putText(pidfile, `${process.pid}\n`, O.CREAT | O.TRUNC | O.NOFOLLOW, 0o644);
    stack.defer(() => void removeIfThere(pidfile));
  }
  const daemon = makeDaemon({
    store,
    run: taskRunner([...ownProgram(), CHILD_COMMAND]),
    clock: bootClock(),
    times: {
      totalMs: options.resendtimeout,
      resendMaxMs: options.resendmax,
      answerMs: options.timeout,
    },
    hostPrefix: hostprefix,
    broadcast: options.broadcast === true || options.broadcast === "true",
    log,
  });
  const server = serveSocket(listener, { handle: daemon.handle, log });
  const stopTicking = tickAlways(daemon);
  log(`heddle dhcp-daemon listens on ${hostprefix}${socketpath}`);
  const signal = await ended;
  log(`ends because of ${signal}; leases are kept`);
  stopTicking();
  await daemon.stop();
  server.stop();
}

/** Does what is due when it is due. Returns what ends that. */
function tickAlways(daemon: { tick(): number; onChange(callback: () => void): void }): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const run = (): void => {
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(run, Math.max(1, daemon.tick()));
  };
  let asked = false;
  daemon.onChange(() => {
    // Many changes at once are one look.
    if (asked) return;
    asked = true;
    queueMicrotask(() => {
      asked = false;
      run();
    });
  });
  run();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
