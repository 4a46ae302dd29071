import { dlopen, FFIType } from "bun:ffi";
import { NetError } from "../errors.ts";
import { be16, encodeFixed, i32, octets, struct, u16, u8, viewOf } from "../wire/fixed.ts";
import { Fd } from "./fd.ts";
import { call, inLibc, tryCall } from "./libc.ts";

/** Everything that passes a link, both ways, as packet(7) shows it to who only looks. */
export interface Sniffer extends Disposable {
  /** The next packet, undefined if there is none now. Its bytes are valid until the next call. */
  next(): SeenPacket | undefined;
  /** What was not seen since the last call, because nobody read in time. */
  dropped(): number;
}
export interface SeenPacket {
  readonly bytes: Uint8Array;
  /** Nanoseconds since 1970, by the kernel. */
  readonly at: bigint;
  /** ARPHRD_* (linux/if_arp.h): what its first header is. */
  readonly hardware: number;
}

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const ETH_P_ALL = 3;
const MSG_DONTWAIT = 0x40;
/** SIOCGSTAMPNS (linux/sockios.h): when the packet came that was received last. */
const SIOCGSTAMPNS = 0x8907;
/** What may wait until somebody reads: half a second of a gigabit. */
const WAITING_BYTES = 64 * 1024 * 1024;
const PACKET_BYTES = 262_144;

const sockaddrLl = struct("sockaddr_ll", 20, {
  family: u16,
  protocol: be16,
  index: i32,
  hatype: u16,
  pkttype: u8,
  halen: u8,
  addr: octets(8),
});

/** Opens one in the namespace that this thread is in, on a link of it. Descriptors of other namespaces need no thread there. */
export function openSniffer(index: number): Sniffer {
  const on = `packets of link #${index}`;
  using stack = new DisposableStack();
  // Protocol zero: nothing comes before it is bound to the link.
  const fd = stack.use(
    new Fd(call("socket", on, (libc) => libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0))),
  );
  const room = Uint32Array.of(WAITING_BYTES);
  call("setsockopt", `${on}: SO_RCVBUFFORCE`, (libc) =>
    libc.setsockopt(fd.raw, SOL_SOCKET, SO_RCVBUFFORCE, room, room),
  );
  const stampOf = openStamp(fd);
  // Stamps are taken from the first question on.
  stampOf();
  const blank = { hatype: 0, pkttype: 0, halen: 0, addr: new Uint8Array(0) };
  const address = encodeFixed(sockaddrLl, { family: AF_PACKET, protocol: ETH_P_ALL, index, ...blank });
  call("bind", on, (libc) => libc.bind(fd.raw, address, address));
  const buffer = new Uint8Array(new ArrayBuffer(PACKET_BYTES));
  const from = new Uint8Array(new ArrayBuffer(sockaddrLl.size));
  const fromSize = new Uint32Array(new ArrayBuffer(4));
  const owned = stack.move();
  return {
    next() {
      fromSize[0] = from.length;
      const size = tryCall((libc) =>
        Number(libc.recvfrom(fd.raw, buffer, buffer, MSG_DONTWAIT, from, fromSize)),
      );
      // A link that goes down says so once; it may come up again.
      if (size === "EAGAIN" || size === "ENETDOWN") return undefined;
      if (typeof size === "string") throw new NetError("sys/call", { call: "recvfrom", on, errno: size });
      const { hatype } = sockaddrLl.get(viewOf(from), 0);
      return { bytes: buffer.subarray(0, size), at: stampOf(), hardware: hatype };
    },
    dropped() {
      // struct tpacket_stats: packets, and drops; reading sets both to zero.
      const stats = new Uint32Array(new ArrayBuffer(8));
      const length = Uint32Array.of(8);
      call("getsockopt", `${on}: PACKET_STATISTICS`, (libc) =>
        libc.getsockopt(fd.raw, SOL_PACKET, PACKET_STATISTICS, stats, length),
      );
      return stats[1] ?? 0;
    },
    [Symbol.dispose]: () => owned[Symbol.dispose](),
  };
}

const NANOSECONDS = 1_000_000_000n;

function openStamp(fd: Fd): () => bigint {
  const { ioctl } = inLibc((file) =>
    dlopen(file, { ioctl: { args: ["i32", FFIType.i64_fast, "buffer"], returns: "i32" } }),
  ).symbols;
  // struct timespec
  const time = new BigInt64Array(new ArrayBuffer(16));
  return () => {
    const failed = tryCall(() => ioctl(fd.raw, SIOCGSTAMPNS, time));
    // ENOENT: no packet has come yet.
    if (typeof failed === "string") return BigInt(Date.now()) * 1_000_000n;
    return (time[0] ?? 0n) * NANOSECONDS + (time[1] ?? 0n);
  };
}
