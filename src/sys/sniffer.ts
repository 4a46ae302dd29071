import { dlopen, FFIType } from "bun:ffi";
import type { Fd } from "./fd.ts";
import { call, inLibc, tryCall } from "./libc.ts";
import { openLinkSocket } from "./packet-socket.ts";

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

/** Opens one in the namespace that this thread is in, on a link of it. Descriptors of other namespaces need no thread there. */
export function openSniffer(index: number): Sniffer {
  let stampOf = (): bigint => 0n;
  const socket = openLinkSocket({ index, protocol: ETH_P_ALL, frameBytes: PACKET_BYTES }, (fd, on) => {
    const room = Uint32Array.of(WAITING_BYTES);
    call("setsockopt", `${on}: SO_RCVBUFFORCE`, (libc) =>
      libc.setsockopt(fd.raw, SOL_SOCKET, SO_RCVBUFFORCE, room, room),
    );
    stampOf = openStamp(fd);
    // Stamps are taken from the first question on.
    stampOf();
  });
  return {
    next() {
      const seen = socket.receive(MSG_DONTWAIT);
      return seen && { bytes: seen.bytes, at: stampOf(), hardware: seen.hardware };
    },
    dropped() {
      // struct tpacket_stats: packets, and drops; reading sets both to zero.
      const stats = new Uint32Array(new ArrayBuffer(8));
      const length = Uint32Array.of(8);
      call("getsockopt", `packets of link #${index}: PACKET_STATISTICS`, (libc) =>
        libc.getsockopt(socket.fd.raw, SOL_PACKET, PACKET_STATISTICS, stats, length),
      );
      return stats[1] ?? 0;
    },
    [Symbol.dispose]: () => socket[Symbol.dispose](),
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
