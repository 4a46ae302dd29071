import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";

/**
 * What a service manager is told of this process (sd_notify(3)): a datagram of `NAME=VALUE` lines to the socket that it
 * named in the environment.
 */
export interface ServiceManager extends Disposable {
  /** Tells it; one that is gone is not missed. */
  tell(...lines: readonly string[]): void;
  /** It ends this process if it hears nothing for so long, in milliseconds. */
  readonly watchdogMs?: number;
}

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** `sun_path` of `struct sockaddr_un` (linux/un.h). */
const PATH_BYTES = 108;

/** Undefined if nobody wants to be told: no manager, or one of another process. */
export function openServiceManager(
  env: Readonly<Record<string, string | undefined>>,
): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket = "", WATCHDOG_USEC: usec = "", WATCHDOG_PID: pid } = env;
  // `@` stands for the zero of an abstract name.
  const name = new TextEncoder().encode(socket.replace(/^@/, "\0"));
  if (!/^[@/]/.test(socket) || name.length >= PATH_BYTES) return undefined;
  const address = new Uint8Array(new ArrayBuffer(2 + name.length + (socket.startsWith("/") ? 1 : 0)));
  address[0] = AF_UNIX;
  address.set(name, 2);
  const fd = new Fd(call("socket", socket, (libc) => libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
  const mine = pid === undefined || pid === String(process.pid);
  const watchdogMs = mine && /^[1-9]\d{0,15}$/.test(usec) ? Math.floor(Number(usec) / 1000) : undefined;
  return {
    tell(...lines) {
      const message = Uint8Array.from(Buffer.from(lines.map((line) => `${line}\n`).join("")));
      if (fd.isOpen)
        tryCall((libc) =>
          Number(libc.sendto(fd.raw, message, message, MSG_DONTWAIT | MSG_NOSIGNAL, address, address)),
        );
    },
    ...(watchdogMs === undefined ? {} : { watchdogMs }),
    [Symbol.dispose]: () => fd[Symbol.dispose](),
  };
}
