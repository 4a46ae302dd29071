import { ptr } from "bun:ffi";
import { NetError } from "../errors.ts";
import { be16, encodeFixed, i32, octets, struct, u16, u32, u8, viewOf } from "../wire/fixed.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";
import { waitReadable } from "./poll.ts";

/**
 * Raw Ethernet frames on one link (packet(7)), for who has no address yet. Blocking, so for short-lived processes alone.
 * What the frames mean is decided above. The socket beneath is also that of `sniffer.ts`.
 */
export interface PacketSocket extends Disposable {
  /** Sends one frame, its Ethernet header included. Throws `sys/call` (ENETDOWN, ENXIO: the link is down or gone). */
  send(frame: Uint8Array): void;
  /** The next frame, or undefined if none came within `timeoutMs`. */
  receive(timeoutMs: number): Frame | undefined;
}
export interface Frame {
  readonly bytes: Uint8Array;
  /**
   * The kernel has not filled in the transport checksum: the sender is on this machine and its device was to do it.
   * What stands in the packet then is not a checksum.
   */
  readonly checksumPending: boolean;
}

/** One instruction of the classic packet filter: `struct sock_filter` (linux/filter.h). */
export interface FilterInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SOL_PACKET = 263;
/** PACKET_VNET_HDR (linux/if_packet.h): a header before each frame tells whether its checksum is complete. */
const PACKET_VNET_HDR = 15;
/** ETH_P_IP (linux/if_ether.h). */
const ETH_P_IP = 0x0800;
/** PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST; OTHERHOST and OUTGOING come after them. */
const FOR_US = 2;
/** The largest frame that is taken: what is longer is cut, and its length then disagrees with its header. */
const FRAME_BYTES = 65_550;

const sockaddrLl = struct("sockaddr_ll", 20, {
  family: u16,
  protocol: be16,
  index: i32,
  hatype: u16,
  pkttype: u8,
  halen: u8,
  addr: octets(8),
});
const sockFilter = struct("sock_filter", 8, { code: u16, jt: u8, jf: u8, k: u32 });
/** `struct virtio_net_hdr` (linux/virtio_net.h) without the field for merged buffers. */
const vnetHdr = struct("virtio_net_hdr", 10, {
  flags: u8,
  gsoType: u8,
  hdrLen: u16,
  gsoSize: u16,
  csumStart: u16,
  csumOffset: u16,
});
const NEEDS_CSUM = 1;

/** A socket on one link, of which nothing is known but how frames come and go. */
export interface LinkSocket extends Disposable {
  readonly fd: Fd;
  /** The link, as sendto(2) takes it. */
  readonly address: Uint8Array;
  /**
   * The next frame, or undefined if there is none or the link went down, which it says once and may come up again after. The
   * bytes are valid until the next call.
   */
  receive(flags: number): ReceivedFrame | undefined;
}
export interface ReceivedFrame {
  readonly bytes: Uint8Array;
  /** ARPHRD_* (linux/if_arp.h): what its first header is. */
  readonly hardware: number;
  /** PACKET_* (linux/if_packet.h): whom it is for. */
  readonly packetType: number;
}

/**
 * Opens a socket in the namespace that this thread is in. Frames of `protocol` (ETH_P_*) on the link come once `prepare` has
 * returned, up to `frameBytes` of each.
 */
export function openLinkSocket(
  {
    index,
    protocol,
    frameBytes,
  }: { readonly index: number; readonly protocol: number; readonly frameBytes: number },
  prepare: (fd: Fd, on: string) => void,
): LinkSocket {
  const on = `packets of link #${index}`;
  using stack = new DisposableStack();
  // Protocol zero: nothing comes before it is bound to the link.
  const fd = stack.use(
    new Fd(call("socket", on, (libc) => libc.socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0))),
  );
  prepare(fd, on);
  const blank = { hatype: 0, pkttype: 0, halen: 0, addr: new Uint8Array(0) };
  const address = encodeFixed(sockaddrLl, { family: AF_PACKET, protocol, index, ...blank });
  call("bind", on, (libc) => libc.bind(fd.raw, address, address));
  const buffer = new Uint8Array(new ArrayBuffer(frameBytes));
  const from = new Uint8Array(new ArrayBuffer(sockaddrLl.size));
  const fromSize = new Uint32Array(new ArrayBuffer(4));
  const owned = stack.move();
  return {
    fd,
    address,
    receive(flags) {
      fromSize[0] = from.length;
      const size = tryCall((libc) => Number(libc.recvfrom(fd.raw, buffer, buffer, flags, from, fromSize)));
      if (size === "EAGAIN" || size === "ENETDOWN") return undefined;
      if (typeof size === "string") throw new NetError("sys/call", { call: "recvfrom", on, errno: size });
      const { hatype, pkttype } = sockaddrLl.get(viewOf(from), 0);
      return { bytes: buffer.subarray(0, size), hardware: hatype, packetType: pkttype };
    },
    [Symbol.dispose]: () => owned[Symbol.dispose](),
  };
}

/**
 * Opens a socket in the namespace that this thread is in, which receives what comes in over the link for this host, to
 * its address or to all, and passes `filter`. Frames that came before the filter was in place are not seen.
 */
export function openPacketSocket(index: number, filter: readonly FilterInstruction[]): PacketSocket {
  const socket = openLinkSocket({ index, protocol: ETH_P_IP, frameBytes: FRAME_BYTES }, (fd, on) => {
    const yes = Uint32Array.of(1);
    call("setsockopt", `${on}: PACKET_VNET_HDR`, (libc) =>
      libc.setsockopt(fd.raw, SOL_PACKET, PACKET_VNET_HDR, yes, yes),
    );
    attachFilter(fd, filter, on);
  });
  const { fd, address } = socket;
  return {
    send(frame) {
      const data = new Uint8Array(new ArrayBuffer(vnetHdr.size + frame.length));
      data.set(frame, vnetHdr.size);
      call("sendto", `packets of link #${index}`, (libc) =>
        Number(libc.sendto(fd.raw, data, data, 0, address, address)),
      );
    },
    receive(timeoutMs) {
      const until = performance.now() + timeoutMs;
      for (;;) {
        if (!waitReadable(fd.raw, until - performance.now())) return undefined;
        const frame = readFrame(socket.receive(0));
        if (frame !== undefined) return frame;
      }
    },
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

function readFrame(received: ReceivedFrame | undefined): Frame | undefined {
  if (received === undefined || received.bytes.length < vnetHdr.size || received.packetType > FOR_US)
    return undefined;
  const { flags } = vnetHdr.get(viewOf(received.bytes), 0);
  return { bytes: received.bytes.slice(vnetHdr.size), checksumPending: (flags & NEEDS_CSUM) !== 0 };
}

/** The program that the kernel reads by its address: what only a local name holds may be collected before the call ends. */
let attached: Uint8Array | undefined;

function attachFilter(fd: Fd, filter: readonly FilterInstruction[], on: string): void {
  const code = new Uint8Array(new ArrayBuffer(sockFilter.size * filter.length));
  filter.forEach((instruction, i) => sockFilter.set(viewOf(code), i * sockFilter.size, instruction));
  attached = code;
  // struct sock_fprog: unsigned short len; struct sock_filter *filter.
  const program = new DataView(new ArrayBuffer(16));
  program.setUint16(0, filter.length, true);
  program.setBigUint64(8, BigInt(ptr(attached)), true);
  const bytes = new Uint8Array(program.buffer);
  call("setsockopt", `${on}: SO_ATTACH_FILTER`, (libc) =>
    libc.setsockopt(fd.raw, SOL_SOCKET, SO_ATTACH_FILTER, bytes, bytes),
  );
}
