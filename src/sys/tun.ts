import { dlopen, FFIType } from "bun:ffi";
import { NetError } from "../errors.ts";
import { viewOf } from "../wire/fixed.ts";
import { O, openFile } from "./files.ts";
import { tryCall } from "./libc.ts";

/**
 * Taps: links whose other end is a file that a program holds. They are made by ioctl(2) on /dev/net/tun alone
 * (linux/if_tun.h), in the namespace of the thread that opened it, and stay when that is closed.
 */
export const TUN_DEVICE = "/dev/net/tun";
const TUN = {
  SETIFF: 0x400454ca,
  SETPERSIST: 0x400454cb,
  SETOWNER: 0x400454cc,
  SETGROUP: 0x400454ce,
} as const;
/** `EXCL`: a link of that name is an error, and not taken over. `VNET_HDR`: offloads of a virtual machine's card. */
const IFF = { TAP: 0x2, MULTI_QUEUE: 0x100, NO_PI: 0x1000, VNET_HDR: 0x4000, EXCL: 0x8000 } as const;
/** `struct ifreq` (linux/if.h): the name in 16 bytes, then the flags. */
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;

/**
 * ioctl(2) takes any third argument: one symbol for each form. Fixed and variable arguments of these types are passed alike
 * on the machines that this program runs on (System V on x86-64, AAPCS64).
 */
const openIoctl = () => {
  const number = FFIType.i64_fast;
  const byStruct = dlopen("libc.so.6", { ioctl: { args: ["i32", number, "buffer"], returns: "i32" } });
  const byNumber = dlopen("libc.so.6", { ioctl: { args: ["i32", number, number], returns: "i32" } });
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
  const ifreq = new Uint8Array(new ArrayBuffer(IFREQ_BYTES));
  // A name has 15 bytes at most, so that a zero stays behind it.
  new TextEncoder().encodeInto(tap.name, ifreq);
  const flags = IFF.TAP | IFF.NO_PI | IFF.VNET_HDR | IFF.EXCL | (tap.multiQueue ? IFF.MULTI_QUEUE : 0);
  viewOf(ifreq).setUint16(IFREQ_FLAGS, flags, true);
  const request = (name: keyof typeof TUN, run: () => number): void => {
    const failed = tryCall(run);
    if (typeof failed === "string")
      throw new NetError("sys/call", { call: `ioctl TUN${name}`, on: tap.name, errno: failed });
  };
  request("SETIFF", () => withStruct(fd.raw, TUN.SETIFF, ifreq));
  const { owner, group } = tap;
  if (owner !== undefined) request("SETOWNER", () => withNumber(fd.raw, TUN.SETOWNER, owner));
  if (group !== undefined) request("SETGROUP", () => withNumber(fd.raw, TUN.SETGROUP, group));
  // Last: until then the kernel removes it with this descriptor.
  request("SETPERSIST", () => withNumber(fd.raw, TUN.SETPERSIST, 1));
}

function openTun(): ReturnType<typeof openFile> {
  try {
    return openFile(TUN_DEVICE, O.RDWR);
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
