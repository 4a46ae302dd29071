import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";

/**
 * Listening on a Unix socket whose callers are asked who they are. Bun's own listener takes no descriptor from a service
 * manager, so the kernel's signal for a descriptor that became ready (SIGIO) says when somebody calls.
 */
export interface UnixListener extends Disposable {
  readonly fd: number;
}

/** Who is at the other end, as the kernel saw it when the connection was made. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const F_SETFD = 2;
const F_SETFL = 4;
const F_SETOWN = 8;
const FD_CLOEXEC = 1;
const O_NONBLOCK = 0o4000;
const O_ASYNC = 0o20000;
/** Callers that the kernel keeps waiting; the kernel's own bound (somaxconn) is 4096 by default. */
const BACKLOG = 1024;
/** The size of `sun_path`, its closing zero included (linux/un.h). */
export const UNIX_PATH_BYTES = 108;

/** `struct sockaddr_un`. @throws usage/invalid for a path that it has no room for */
function encodePath(path: string): Uint8Array {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length === 0 || bytes.length >= UNIX_PATH_BYTES || bytes.includes(0))
    throw new NetError("usage/invalid", {
      why: `the socket's path must have 1 to ${UNIX_PATH_BYTES - 1} bytes: "${path}"`,
    });
  const address = new Uint8Array(new ArrayBuffer(2 + bytes.length + 1));
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  return address;
}

/** Makes the socket's file, with mode 0600, and listens. @throws sys/call EADDRINUSE if there is a file */
export function listenUnix(path: string): UnixListener {
  const address = encodePath(path);
  using stack = new DisposableStack();
  const fd = stack.use(
    new Fd(call("socket", path, (libc) => libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))),
  );
  const before = process.umask(0o177);
  try {
    call("bind", path, (libc) => libc.bind(fd.raw, address, address));
  } finally {
    process.umask(before);
  }
  call("listen", path, (libc) => libc.listen(fd.raw, BACKLOG));
  stack.move();
  return listenerOf(fd);
}

/** Takes over a socket that listens already: one that a service manager passed on. */
export function adoptListener(raw: number): UnixListener {
  const fd = new Fd(raw);
  call("fcntl", `descriptor ${raw}`, (libc) => libc.fcntl(raw, F_SETFD, FD_CLOEXEC));
  return listenerOf(fd);
}

/** From now on who connects sees this process at the other end, and not the one that made the socket. */
export function listenAsOwn({ fd }: UnixListener): void {
  call("listen", `descriptor ${fd}`, (libc) => libc.listen(fd, BACKLOG));
}

const listenerOf = (fd: Fd): UnixListener => ({
  get fd() {
    return fd.raw;
  },
  [Symbol.dispose]: () => fd[Symbol.dispose](),
});

/** From now on each caller raises SIGIO in this process, which must listen to it. */
export function signalCallers({ fd }: UnixListener): void {
  call("fcntl", `descriptor ${fd}`, (libc) => libc.fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC));
  call("fcntl", `descriptor ${fd}`, (libc) => libc.fcntl(fd, F_SETOWN, process.pid));
}

/** The next caller's descriptor, which the taker owns; undefined if nobody waits. */
export function acceptNext(listener: UnixListener): number | undefined {
  const got = tryCall((libc) => libc.accept4(listener.fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (typeof got === "number") return got;
  // A caller that hung up before it was taken is nobody.
  if (got === "EAGAIN" || got === "ECONNABORTED") return undefined;
  throw new NetError("sys/call", { call: "accept4", on: `descriptor ${listener.fd}`, errno: got });
}

export function peerCredentials(fd: number): PeerCredentials {
  const found = new Uint32Array(new ArrayBuffer(12));
  const size = new Uint32Array(new ArrayBuffer(4)).fill(12);
  call("getsockopt", "SO_PEERCRED", (libc) => libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, found, size));
  const [pid = 0, uid = 0, gid = 0] = found;
  return { pid, uid, gid };
}
