import { NetError } from "../errors.ts";
import { type Ip, ipFromBytes } from "../net/ip.ts";
import { viewOf } from "../wire/fixed.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";
import { waitReadable } from "./poll.ts";

/** A UDP socket on one link. Blocking, so for short-lived processes alone. */
export interface UdpSocket extends Disposable {
  /** Throws `sys/call`, for example ENETUNREACH. */
  send(payload: Uint8Array, to: UdpAddress): void;
  /** The next datagram, or undefined if none came within `timeoutMs`. */
  receive(timeoutMs: number): { readonly payload: Uint8Array; readonly from: UdpAddress } | undefined;
}
export interface UdpAddress {
  readonly ip: Ip;
  readonly port: number;
}

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_BROADCAST = 6;
const SO_BINDTODEVICE = 25;
const DATAGRAM_BYTES = 65_536;

/** `struct sockaddr_in` or `struct sockaddr_in6`; the scope is that of a link-local address. */
function encodeAddress({ ip, port }: UdpAddress, scope: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(ip.family === 4 ? 16 : 28));
  const view = viewOf(bytes);
  view.setUint16(0, ip.family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  bytes.set(ip.bytes, ip.family === 4 ? 4 : 8);
  if (ip.family === 6) view.setUint32(24, scope, true);
  return bytes;
}

const decodeAddress = (bytes: Uint8Array): UdpAddress => {
  const view = viewOf(bytes);
  const v4 = view.getUint16(0, true) === AF_INET;
  return { ip: ipFromBytes(v4 ? bytes.subarray(4, 8) : bytes.subarray(8, 24)), port: view.getUint16(2) };
};

/**
 * Opens a socket in the namespace that this thread is in, bound to an address and to a link: what goes out takes that
 * link whatever the routes say.
 * @throws sys/call EADDRNOTAVAIL if the address is not there, EADDRINUSE if somebody has the port for itself
 */
export function openUdpSocket(
  link: { readonly index: number; readonly name: string },
  local: UdpAddress,
): UdpSocket {
  const on = `udp ${local.ip.text} port ${local.port} on ${link.name}`;
  using stack = new DisposableStack();
  const family = local.ip.family === 4 ? AF_INET : AF_INET6;
  const fd = stack.use(
    new Fd(call("socket", on, (libc) => libc.socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0))),
  );
  const yes = Uint32Array.of(1);
  for (const option of [SO_REUSEADDR, SO_BROADCAST])
    call("setsockopt", on, (libc) => libc.setsockopt(fd.raw, SOL_SOCKET, option, yes, yes));
  const device = new TextEncoder().encode(`${link.name}\0`);
  call("setsockopt", on, (libc) => libc.setsockopt(fd.raw, SOL_SOCKET, SO_BINDTODEVICE, device, device));
  const address = encodeAddress(local, link.index);
  call("bind", on, (libc) => libc.bind(fd.raw, address, address));
  const owned = stack.move();
  return {
    send(payload, to) {
      const there = encodeAddress(to, link.index);
      call("sendto", `${to.ip.text} over ${link.name}`, (libc) =>
        Number(libc.sendto(fd.raw, payload, payload, 0, there, there)),
      );
    },
    receive(timeoutMs) {
      if (!waitReadable(fd.raw, timeoutMs)) return undefined;
      const buffer = new Uint8Array(new ArrayBuffer(DATAGRAM_BYTES));
      const from = new Uint8Array(new ArrayBuffer(28));
      const fromSize = new Uint32Array(new ArrayBuffer(4)).fill(from.length);
      const size = tryCall((libc) => Number(libc.recvfrom(fd.raw, buffer, buffer, 0, from, fromSize)));
      if (typeof size === "string") throw new NetError("sys/call", { call: "recvfrom", on, errno: size });
      return { payload: buffer.slice(0, size), from: decodeAddress(from) };
    },
    [Symbol.dispose]: () => owned[Symbol.dispose](),
  };
}
