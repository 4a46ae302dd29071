/**
 * A program that counts numbered datagrams of 100 bytes, on a socket with room for a second of them: what is lost is then lost
 * on the way and not by a reader that was late. ADDRESS PORT. A datagram of five bytes is the end.
 */
import { call } from "../sys/libc.ts";
import { openTunnelSocket } from "../sys/tunnel-socket.ts";
import { socketAddress } from "../forwarder/peers.ts";
import { ip } from "./address.ts";

/** The path of this program. */
export const datagramCounter = import.meta.path;
export const NUMBERED_BYTES = 100;
export const END_BYTES = 5;

function count(address: string, port: number): void {
  const at = { ip: ip(address), port };
  using socket = openTunnelSocket({ ...at, bufferBytes: 8 << 20 }, socketAddress(at, at.ip.family));
  const buffer = new Uint8Array(new ArrayBuffer(65_536));
  const view = new DataView(buffer.buffer);
  const seen = new Set<number>();
  let gapMs = 0;
  let last = 0;
  console.log("listening");
  for (;;) {
    const got = call("read", "datagrams", (libc) => Number(libc.read(socket.raw, buffer, buffer)));
    const now = performance.now();
    if (last !== 0) gapMs = Math.max(gapMs, now - last);
    last = now;
    // Neighbours come as one, of which the last may be the end.
    for (let from = 0; from + END_BYTES <= got; from += NUMBERED_BYTES) {
      const n = view.getUint32(from);
      if (from + NUMBERED_BYTES <= got) seen.add(n);
      else return console.log(JSON.stringify({ seen: seen.size, sent: n, gapMs }));
    }
  }
}

if (import.meta.main) {
  const [address = "", port = ""] = process.argv.slice(2);
  count(address, Number(port));
}
