import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";

/**
 * A stream socket to a service of this host (unix(7)) with calls that wait: for a process that asks one question and
 * ends. A service that does not answer in time is a failure, never a hang.
 */
export interface UnixStream extends Disposable {
  readonly fd: number;
  /** Sends all of it. */
  send(bytes: Uint8Array): void;
  /** What has come, at least one byte and at most `max`; a copy. Throws `sys/call` EAGAIN after the time limit. */
  receive(max: number): Uint8Array;
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
/** No signal if the other end is gone. */
const MSG_NOSIGNAL = 0x4000;
/** `sun_path` of `struct sockaddr_un` (linux/un.h). */
const PATH_BYTES = 108;

/**
 * Connects to the socket at `path`; a first character of zero means the abstract namespace. Undefined if nobody listens
 * there. Throws `sys/call` for anything else.
 */
export function connectUnix(path: string, timeoutSeconds: number): UnixStream | undefined {
  const fd = new Fd(call("socket", path, (libc) => libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  try {
    const limit = new BigInt64Array(new ArrayBuffer(16));
    limit[0] = BigInt(timeoutSeconds);
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO])
      call("setsockopt", path, (libc) => libc.setsockopt(fd.raw, SOL_SOCKET, option, limit, limit));
    const address = addressOf(path);
    const failed = tryCall((libc) => libc.connect(fd.raw, address, address));
    if (failed === "ENOENT" || failed === "ECONNREFUSED") {
      fd[Symbol.dispose]();
      return undefined;
    }
    if (typeof failed === "string")
      throw new NetError("sys/call", { call: "connect", on: path, errno: failed });
  } catch (e) {
    fd[Symbol.dispose]();
    throw e;
  }
  return streamOf(fd, path);
}

/** A path ends with a zero, an abstract name with its length. */
function addressOf(path: string): Uint8Array {
  const name = new TextEncoder().encode(path.startsWith("\0") ? path : `${path}\0`);
  if (name.length > PATH_BYTES)
    throw new NetError("sys/call", { call: "connect", on: path, errno: "ENAMETOOLONG" });
  const address = new Uint8Array(new ArrayBuffer(2 + name.length));
  address[0] = AF_UNIX;
  address.set(name, 2);
  return address;
}

const nobody = new Uint8Array(new ArrayBuffer(0));

function streamOf(fd: Fd, path: string): UnixStream {
  return {
    get fd() {
      return fd.raw;
    },
    send(bytes) {
      let rest = Uint8Array.from(bytes);
      while (rest.length > 0) {
        const now = rest;
        const sent = call("sendto", path, (libc) =>
          Number(libc.sendto(fd.raw, now, now, MSG_NOSIGNAL, nobody, nobody)),
        );
        rest = now.slice(sent);
      }
    },
    receive(max) {
      const buffer = new Uint8Array(new ArrayBuffer(max));
      const size = call("read", path, (libc) => Number(libc.read(fd.raw, buffer, buffer)));
      if (size === 0) throw new NetError("sys/call", { call: "read", on: path, errno: "ECONNRESET" });
      return buffer.slice(0, size);
    },
    [Symbol.dispose]: () => fd[Symbol.dispose](),
  };
}
