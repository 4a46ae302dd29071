/** Sockets of this process alone, for tests of what is above them. */
import { readFileSync, readlinkSync } from "node:fs";
import { Fd } from "../sys/fd.ts";
import { call } from "../sys/libc.ts";
import { openTunnelSocket } from "../sys/tunnel-socket.ts";
import { ip } from "./address.ts";

const AF_UNIX = 1;
/** SOCK_STREAM, and SOCK_SEQPACKET with SOCK_NONBLOCK: packets as a TUN device has them. */
const KIND = { stream: 1, packets: 5 | 0o4000 } as const;

/** Two sockets that are connected. */
export function socketPair(kind: keyof typeof KIND): readonly [Fd, Fd] {
  const fds = new Int32Array(new ArrayBuffer(8));
  call("socketpair", "test", (libc) => libc.socketpair(AF_UNIX, KIND[kind], 0, fds));
  return [new Fd(fds[0] ?? -1), new Fd(fds[1] ?? -1)];
}

/** `struct sockaddr_in` of the loopback. */
export const loopbackAddress = (port: number): Uint8Array =>
  Uint8Array.from([2, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);

/** A tunnel's socket on the loopback, with a port that the kernel chose. */
export function loopbackTunnel(): { readonly fd: Fd; readonly port: number } {
  const fd = openTunnelSocket({ ip: ip("127.0.0.1"), port: 0, bufferBytes: 1 << 20 }, loopbackAddress(0));
  // The kernel's table of sockets goes by inodes.
  const inode = /\d+/.exec(readlinkSync(`/proc/self/fd/${fd.raw}`))?.[0];
  const rows = readFileSync("/proc/net/udp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/));
  const port = Number.parseInt(rows.find((row) => row[9] === inode)?.[1]?.split(":")[1] ?? "", 16);
  return { fd, port };
}
