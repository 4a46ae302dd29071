/**
 * A forwarder as simple as one can be, and as flanneld's is on the wire: one packet a read, one a datagram, complete
 * checksums, a lower TTL at both ends. A program of its own: DEVICE PORT, and for each peer SUBNET (10.5.1.0/24) and ADDRESS.
 */
import { dlopen, FFIType } from "bun:ffi";
import { cidr, ip } from "./address.ts";

/** The path of this program. */
export const plainForwarder = import.meta.path;

const [device = "", port = "", ...rest] = process.argv.slice(2);
const O_RDWR = 2;
const TUNSETIFF = 0x400454ca;
const [IFF_TUN, IFF_NO_PI] = [1, 0x1000];

const openLibc = () =>
  dlopen("libc.so.6", {
    open: { args: ["buffer", "i32"], returns: "i32" },
    ioctl: { args: ["i32", FFIType.i64_fast, "buffer"], returns: "i32" },
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    bind: { args: ["i32", "buffer", "i32"], returns: "i32" },
    poll: { args: ["buffer", FFIType.i64_fast, "i32"], returns: "i32" },
    read: { args: ["i32", "buffer", FFIType.i64_fast], returns: FFIType.i64_fast },
    write: { args: ["i32", "buffer", FFIType.i64_fast], returns: FFIType.i64_fast },
    sendto: { args: ["i32", "buffer", FFIType.i64_fast, "i32", "buffer", "i32"], returns: FFIType.i64_fast },
  }).symbols;

function sockaddr(address: string): Uint8Array {
  const n = Number(port);
  return Uint8Array.from([2, 0, n >> 8, n & 255, ...ip(address).bytes, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/** One less, and the sum after it; false at its end. */
function hop(bytes: Uint8Array): boolean {
  const ttl = bytes[8] ?? 0;
  bytes[8] = ttl - 1;
  bytes.fill(0, 10, 12);
  let sum = 0;
  for (let i = 0; i < ((bytes[0] ?? 0) & 15) * 4; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  bytes.set([sum >> 8, sum & 255], 10);
  return ttl > 1;
}

function forward(): never {
  const libc = openLibc();
  const peers = Array.from({ length: rest.length / 2 }, (_, i) => ({
    subnet: cidr(rest[2 * i] ?? ""),
    address: sockaddr(rest[2 * i + 1] ?? ""),
  }));
  const tun = libc.open(Buffer.from("/dev/net/tun\0"), O_RDWR);
  const ifreq = new Uint8Array(40);
  ifreq.set(Buffer.from(device));
  new DataView(ifreq.buffer).setUint16(16, IFF_TUN | IFF_NO_PI, true);
  if (libc.ioctl(tun, TUNSETIFF, ifreq) !== 0) throw new Error(`no device ${device}`);
  const udp = libc.socket(2, 2, 0);
  if (libc.bind(udp, sockaddr("0.0.0.0"), 16) !== 0) throw new Error(`port ${port}`);
  console.log("ready");
  const buffer = new Uint8Array(65_536);
  const waits = new Int32Array([tun, 1, udp, 1]);
  for (;;) {
    waits[1] = 1;
    waits[3] = 1;
    libc.poll(waits, 2, -1);
    if ((waits[1] ?? 0) >> 16 !== 0) {
      const got = Number(libc.read(tun, buffer, buffer.length));
      const to = ip([...buffer.subarray(16, 20)].join("."));
      const isIn = ({ subnet }: (typeof peers)[number]): boolean =>
        subnet.ip.bytes.every((b, i) => i * 8 >= subnet.bits || b === to.bytes[i]);
      const peer = got >= 20 && (buffer[0] ?? 0) >> 4 === 4 ? peers.find(isIn) : undefined;
      if (peer !== undefined && hop(buffer)) libc.sendto(udp, buffer, got, 0, peer.address, 16);
    }
    if ((waits[3] ?? 0) >> 16 !== 0) {
      const got = Number(libc.read(udp, buffer, buffer.length));
      if (got >= 20 && hop(buffer)) libc.write(tun, buffer, got);
    }
  }
}

if (import.meta.main) forward();
