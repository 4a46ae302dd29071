import { dlopen, FFIType } from "bun:ffi";
import { NetError } from "../errors.ts";
import { viewOf } from "../wire/fixed.ts";
import type { Fd } from "./fd.ts";
import { O, openFile } from "./files.ts";
import { inLibc, tryCall } from "./libc.ts";

/**
 * Taps and TUN devices: links whose other end is a file that a program holds, with frames or with packets. They are made by
 * ioctl(2) on /dev/net/tun alone (linux/if_tun.h), in the namespace of the thread that opened it, and stay when that is
 * closed.
 */
export const TUN_DEVICE = "/dev/net/tun";
const TUN = {
  SETIFF: 0x400454ca,
  SETPERSIST: 0x400454cb,
  SETOWNER: 0x400454cc,
  SETGROUP: 0x400454ce,
  SETOFFLOAD: 0x400454d0,
} as const;
/** `EXCL`: a link of that name is an error, and not taken over. `VNET_HDR`: offloads of a virtual machine's card. */
const IFF = {
  TUN: 0x1,
  TAP: 0x2,
  MULTI_QUEUE: 0x100,
  NO_PI: 0x1000,
  VNET_HDR: 0x4000,
  EXCL: 0x8000,
} as const;
/** What a program takes of work that the kernel left undone (TUN_F_*); the last two since 6.2. */
const OFFLOAD = { CSUM: 0x1, TSO4: 0x2, TSO6: 0x4, TSO_ECN: 0x8, USO4: 0x20, USO6: 0x40 } as const;
/** `struct ifreq` (linux/if.h): the name in 16 bytes, then the flags. */
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;

/**
 * ioctl(2) takes any third argument: one symbol for each form. Fixed and variable arguments of these types are passed alike
 * on the machines that this program runs on (System V on x86-64, AAPCS64).
 */
const openIoctl = () => {
  const number = FFIType.i64_fast;
  const byStruct = inLibc((file) =>
    dlopen(file, { ioctl: { args: ["i32", number, "buffer"], returns: "i32" } }),
  );
  const byNumber = inLibc((file) =>
    dlopen(file, { ioctl: { args: ["i32", number, number], returns: "i32" } }),
  );
  return { withStruct: byStruct.symbols.ioctl, withNumber: byNumber.symbols.ioctl };
};

export interface NewTap {
  readonly name: string;
  /** Several programs, or threads, may hold an end each. */
  readonly multiQueue: boolean;
  /** User and group that may hold the other end beside root, as numbers of this namespace of users. */
  readonly owner?: number;
  readonly group?: number;
}

/**
 * Makes a tap in the namespace that this thread is in. It has no packet information and a header for virtual machines;
 * who opens it chooses anew.
 * @throws NetError `sys/call` EBUSY if the name is taken; `feature/missing` without the driver
 */
export function createTap(tap: NewTap): void {
  using fd = openTun();
  const { withStruct, withNumber } = openIoctl();
  const flags = IFF.TAP | IFF.NO_PI | IFF.VNET_HDR | IFF.EXCL | (tap.multiQueue ? IFF.MULTI_QUEUE : 0);
  const ifreq = encodeIfreq(tap.name, flags);
  const request = (name: keyof typeof TUN, run: () => number): void => must(name, tap.name, run);
  request("SETIFF", () => withStruct(fd.raw, TUN.SETIFF, ifreq));
  const { owner, group } = tap;
  if (owner !== undefined) request("SETOWNER", () => withNumber(fd.raw, TUN.SETOWNER, owner));
  if (group !== undefined) request("SETGROUP", () => withNumber(fd.raw, TUN.SETGROUP, group));
  // Last: until then the kernel removes it with this descriptor.
  request("SETPERSIST", () => withNumber(fd.raw, TUN.SETPERSIST, 1));
}

/** A TUN device with a header before each packet that tells what is left to do at it (`struct virtio_net_hdr`). */
export interface TunQueue {
  /** Reads and writes do not wait. */
  readonly fd: Fd;
  /** Several UDP datagrams may be one packet, in both directions. */
  readonly joinsUdp: boolean;
}

/**
 * Opens a TUN device in the namespace that this thread is in, or makes it; it stays when it is closed.
 * @throws NetError `sys/call` EBUSY if another program holds it, EINVAL if the name is that of another link;
 * `feature/missing` without the driver
 */
export function openTunQueue(name: string): TunQueue {
  using stack = new DisposableStack();
  const fd = stack.use(openTun(O.NONBLOCK));
  const { withStruct, withNumber } = openIoctl();
  const ifreq = encodeIfreq(name, IFF.TUN | IFF.NO_PI | IFF.VNET_HDR);
  must("SETIFF", name, () => withStruct(fd.raw, TUN.SETIFF, ifreq));
  const tcp = OFFLOAD.CSUM | OFFLOAD.TSO4 | OFFLOAD.TSO6 | OFFLOAD.TSO_ECN;
  const all = tcp | OFFLOAD.USO4 | OFFLOAD.USO6;
  const joinsUdp = typeof tryCall(() => withNumber(fd.raw, TUN.SETOFFLOAD, all)) === "number";
  if (!joinsUdp) must("SETOFFLOAD", name, () => withNumber(fd.raw, TUN.SETOFFLOAD, tcp));
  must("SETPERSIST", name, () => withNumber(fd.raw, TUN.SETPERSIST, 1));
  stack.move();
  return { fd, joinsUdp };
}

/** Makes the device go when nobody holds it any longer. */
export function forgetTun(name: string, fd: number): void {
  must("SETPERSIST", name, () => openIoctl().withNumber(fd, TUN.SETPERSIST, 0));
}

function must(request: keyof typeof TUN, name: string, run: () => number): void {
  const failed = tryCall(run);
  if (typeof failed === "string")
    throw new NetError("sys/call", { call: `ioctl TUN${request}`, on: name, errno: failed });
}

function encodeIfreq(name: string, flags: number): Uint8Array {
  const ifreq = new Uint8Array(new ArrayBuffer(IFREQ_BYTES));
  // A name has 15 bytes at most, so that a zero stays behind it.
  new TextEncoder().encodeInto(name, ifreq);
  viewOf(ifreq).setUint16(IFREQ_FLAGS, flags, true);
  return ifreq;
}

function openTun(flags = 0): ReturnType<typeof openFile> {
  try {
    return openFile(TUN_DEVICE, O.RDWR | flags);
  } catch (cause) {
    if (
      cause instanceof NetError &&
      cause.is("sys/call") &&
      /^(?:ENOENT|ENODEV|ENXIO)$/.test(cause.detail.errno)
    )
      throw new NetError(
        "feature/missing",
        {
          feature: `links of kind tap (${TUN_DEVICE})`,
          needs: "a kernel with the module tun, and its device file",
        },
        { cause },
      );
    throw cause;
  }
}
