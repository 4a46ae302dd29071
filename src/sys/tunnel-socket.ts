/**
 * The UDP socket of a tunnel: large buffers, runs of datagrams in one message where the kernel puts them together, and no
 * datagram cut on its way unless that is asked for.
 */
import { dlopen } from "bun:ffi";
import { NetError } from "../errors.ts";
import type { Ip } from "../net/ip.ts";
import { Fd } from "./fd.ts";
import { call, inLibc, tryCall } from "./libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_IP = 0;
const SOL_SOCKET = 1;
const SOL_UDP = 17;
const SOL_IPV6 = 41;
/** asm-generic/socket.h. */
const SO = { reuseAddr: 2, sndbuf: 7, rcvbuf: 8, sndbufForce: 32, rcvbufForce: 33 } as const;
/** linux/in.h, linux/in6.h. */
const IP_MTU_DISCOVER = 10;
const IP_MTU = 14;
const IPV6_MTU_DISCOVER = 23;
const IPV6_MTU = 24;
const IPV6_V6ONLY = 26;
const PMTUDISC = { dont: 0, do: 2 } as const;
/** linux/udp.h. */
const UDP_GRO = 104;
/** IPv4 or IPv6 header, and that of UDP. */
const OUTER_BYTES = { 4: 28, 6: 48 } as const;

export interface TunnelSocketOptions {
  /** An IPv6 one, `::` too, takes both families. */
  readonly ip: Ip;
  readonly port: number;
  /** Of each direction, in bytes, as setsockopt(2) takes it. */
  readonly bufferBytes: number;
}

/**
 * Opens the socket in the namespace that this thread is in. One that it comes `instead` of may have the same port; both hear of it
 * until that one is closed.
 * @throws sys/call EADDRINUSE if somebody else has the port, EADDRNOTAVAIL if the address is not there
 */
export function openTunnelSocket(
  { ip, port, bufferBytes }: TunnelSocketOptions,
  address: Uint8Array,
  instead?: Fd,
): Fd {
  const on = `udp ${ip.text} port ${port}`;
  using stack = new DisposableStack();
  const family = ip.family === 4 ? AF_INET : AF_INET6;
  const fd = stack.use(
    new Fd(call("socket", on, (libc) => libc.socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0))),
  );
  const set = (level: number, option: number, value: number): string | undefined =>
    setOption(fd, level, option, value);
  // Beyond what the host lets everybody have only with the right to configure networks.
  if (set(SOL_SOCKET, SO.sndbufForce, bufferBytes)) set(SOL_SOCKET, SO.sndbuf, bufferBytes);
  if (set(SOL_SOCKET, SO.rcvbufForce, bufferBytes)) set(SOL_SOCKET, SO.rcvbuf, bufferBytes);
  // Without it datagrams come one by one.
  set(SOL_UDP, UDP_GRO, 1);
  if (ip.family === 6) set(SOL_IPV6, IPV6_V6ONLY, 0);
  setFragmenting(fd.raw, ip.family, false);
  const bytes = Uint8Array.from(address);
  const bind = (): number => call("bind", on, (libc) => libc.bind(fd.raw, bytes, bytes));
  if (instead === undefined) bind();
  else {
    for (const each of [instead, fd]) setOption(each, SOL_SOCKET, SO.reuseAddr, 1);
    bind();
    // A third one may not.
    for (const each of [instead, fd]) setOption(each, SOL_SOCKET, SO.reuseAddr, 0);
  }
  stack.move();
  return fd;
}

function setOption(fd: Fd, level: number, option: number, value: number): string | undefined {
  const bytes = Int32Array.of(value);
  const failed = tryCall((libc) => libc.setsockopt(fd.raw, level, option, bytes, bytes));
  return typeof failed === "string" ? failed : undefined;
}

/** The address that a socket is bound to (`struct sockaddr`), as bind(2) takes it. */
export function boundAddress(socket: Fd): Uint8Array {
  const { getsockname } = inLibc((file) =>
    dlopen(file, { getsockname: { args: ["i32", "buffer", "buffer"], returns: "i32" } }),
  ).symbols;
  const address = new Uint8Array(new ArrayBuffer(28));
  const size = Uint32Array.of(address.length);
  call("getsockname", "udp", () => getsockname(socket.raw, address, size));
  return address.subarray(0, size[0]);
}

/** Whether datagrams that are too large for a path are cut; otherwise sending them fails with EMSGSIZE. */
export function setFragmenting(fd: number, family: 4 | 6, may: boolean): void {
  const value = Int32Array.of(may ? PMTUDISC.dont : PMTUDISC.do);
  // A socket of IPv6 sends to IPv4 addresses by the options of IPv4.
  tryCall((libc) => libc.setsockopt(fd, SOL_IP, IP_MTU_DISCOVER, value, value));
  if (family === 6) tryCall((libc) => libc.setsockopt(fd, SOL_IPV6, IPV6_MTU_DISCOVER, value, value));
}

/**
 * How long a datagram's payload may be on the path to an address (`struct sockaddr`), in bytes; undefined if the kernel knows
 * no path.
 */
export function pathPayload(address: Uint8Array, peerFamily: 4 | 6): number | undefined {
  try {
    const family = new DataView(address.buffer, address.byteOffset).getUint16(0, true);
    using fd = new Fd(
      call("socket", "path MTU", (libc) => libc.socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
    );
    const bytes = Uint8Array.from(address);
    call("connect", "path MTU", (libc) => libc.connect(fd.raw, bytes, bytes));
    const mtu = new Int32Array(new ArrayBuffer(4));
    const size = Uint32Array.of(4);
    const [level, option] = family === AF_INET ? [SOL_IP, IP_MTU] : [SOL_IPV6, IPV6_MTU];
    call("getsockopt", "path MTU", (libc) => libc.getsockopt(fd.raw, level, option, mtu, size));
    return (mtu[0] ?? 0) - OUTER_BYTES[peerFamily];
  } catch (e) {
    if (e instanceof NetError && e.is("sys/call")) return undefined;
    throw e;
  }
}
