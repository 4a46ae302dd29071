import { NetError } from "../errors.ts";
import { type Family, type Ip } from "../net/ip.ts";
import { viewOf } from "../wire/fixed.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";

/** A raw socket of ICMP or ICMPv6 (raw(7)): what this host receives of it, and what is sent by the routes of its namespace. */
export interface RawSocket extends Disposable {
  readonly fd: number;
  /** Returns the name of the error if there is no way there (ENETUNREACH, EHOSTUNREACH, EACCES, …). */
  send(packet: Uint8Array, to: Ip): string | undefined;
  /** The next packet, in IPv4 with its header; undefined if there is none now. */
  receive(): Uint8Array | undefined;
}

const AF = { 4: 2, 6: 10 } as const;
/** IPPROTO_ICMP and IPPROTO_ICMPV6 (linux/in.h, linux/in6.h). */
const PROTOCOL = { 4: 1, 6: 58 } as const;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const PACKET_BYTES = 65_536;

/** Opens a socket in the namespace that this thread is in. */
export function openIcmpSocket(family: Family): RawSocket {
  const on = `icmp${family === 6 ? "v6" : ""}`;
  const fd = new Fd(
    call("socket", on, (libc) => libc.socket(AF[family], SOCK_RAW | SOCK_CLOEXEC, PROTOCOL[family])),
  );
  const buffer = new Uint8Array(new ArrayBuffer(PACKET_BYTES));
  const from = new Uint8Array(new ArrayBuffer(28));
  const fromSize = new Uint32Array(new ArrayBuffer(4));
  return {
    get fd() {
      return fd.raw;
    },
    send(packet, to) {
      const address = encodeAddress(to);
      const sent = tryCall((libc) => Number(libc.sendto(fd.raw, packet, packet, 0, address, address)));
      return typeof sent === "string" ? sent : undefined;
    },
    receive() {
      for (;;) {
        fromSize[0] = from.length;
        const size = tryCall((libc) =>
          Number(libc.recvfrom(fd.raw, buffer, buffer, MSG_DONTWAIT, from, fromSize)),
        );
        if (size === "EAGAIN") return undefined;
        if (typeof size === "number") return buffer.slice(0, size);
        // What came back of an earlier packet; the socket goes on.
        if (!/^E(?:HOST|NET)UNREACH$|^ECONNREFUSED$|^EMSGSIZE$|^EPROTO$|^EACCES$/.test(size))
          throw new NetError("sys/call", { call: "recvfrom", on, errno: size });
      }
    },
    [Symbol.dispose]: () => fd[Symbol.dispose](),
  };
}

/** `struct sockaddr_in` or `struct sockaddr_in6`, without a port. */
function encodeAddress(ip: Ip): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(ip.family === 4 ? 16 : 28));
  viewOf(bytes).setUint16(0, AF[ip.family], true);
  bytes.set(ip.bytes, ip.family === 4 ? 4 : 8);
  return bytes;
}
