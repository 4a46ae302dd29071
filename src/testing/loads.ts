/**
 * Loads between namespaces that tell what was lost on the way: megabytes of TCP that are hashed at both ends, and numbered
 * datagrams. Each end is a program of its own, run as the Bun that runs the tests.
 */
import { datagramCounter, END_BYTES, NUMBERED_BYTES } from "./datagram-counter.ts";
import { lineLog } from "./line-log.ts";
import { startProcess } from "./netns.ts";
import { plainEnv, run } from "./run.ts";
import { patience } from "./slowdown.ts";
import { inside } from "./traffic.ts";

/** Somebody in a namespace. */
export interface Inhabitant {
  readonly netns: { readonly path: string };
}

/** What a transfer may take, and what is on its way when the last datagram is sent. */
const LIMIT_MS = 60_000;

const HASHING_SERVER = `const [host, port] = process.argv.slice(1);
const hash = new Bun.CryptoHasher("sha256");
Bun.listen({ hostname: host, port: Number(port), allowHalfOpen: true, socket: {
  data: (_, bytes) => { hash.update(bytes); }, end: (s) => { s.end(hash.digest("hex") + "\\n"); } } });
console.log("listening");`;
const HASHING_CLIENT = `const [host, port, megabytes] = process.argv.slice(1);
const hash = new Bun.CryptoHasher("sha256");
const block = new Uint8Array(1 << 20);
for (let i = 0; i < block.length; i++) block[i] = (i * 2654435761) >>> 13;
let left = Number(megabytes), rest = new Uint8Array(0), text = "";
const more = (s) => {
  for (;;) {
    if (rest.length === 0) {
      if (left-- === 0) return s.shutdown();
      block[0] = left; hash.update(block); rest = block;
    }
    const n = s.write(rest);
    rest = rest.subarray(n);
    if (rest.length > 0) return;
  }
};
await new Promise((done, failed) => Bun.connect({ hostname: host, port: Number(port), allowHalfOpen: true, socket: {
  open: more, drain: more, data: (_, b) => { text += b; }, end: (s) => { s.end(); done(); }, close: done,
  error: (_, e) => failed(e), connectError: (_, e) => failed(e) } }).catch(failed));
console.log(text.trim() === hash.digest("hex") ? "same" : "different: " + text);`;

/** Sends so many megabytes of TCP and says whether what arrived is the same, by its hash. */
export async function tcpArrives(
  from: Inhabitant,
  to: Inhabitant["netns"],
  address: string,
  megabytes: number,
): Promise<string> {
  await using server = startProcess([
    ...inside(to.path),
    process.execPath,
    "-e",
    HASHING_SERVER,
    address,
    "7000",
  ]);
  await server.printed("listening");
  const words = [process.execPath, "-e", HASHING_CLIENT, address, "7000", String(megabytes)];
  const { stdout } = await run([...inside(from.netns.path), ...words], { timeoutMs: LIMIT_MS });
  return stdout.trim();
}

/** How many datagrams are sent in a millisecond at the most. */
const BURST = 50;
const COUNTING_CLIENT = `const [host, port, rate, seconds] = process.argv.slice(1).map((w, i) => i === 0 ? w : Number(w));
// What answers that nobody listens any more has had its end.
const socket = await Bun.udpSocket({ connect: { hostname: host, port }, socket: { error: () => process.exit() } });
const total = rate * seconds, began = performance.now();
let n = 0;
console.log("sending");
while (n < total) {
  const due = Math.min(total, Math.floor((performance.now() - began) / 1000 * rate));
  // Not all at once after a pause, which would overrun queues.
  for (let left = ${BURST}; n < due && left > 0; n++, left--) {
    const b = Buffer.alloc(${NUMBERED_BYTES});
    b.writeUInt32BE(n);
    if (!socket.send(b)) break;
  }
  await Bun.sleep(1);
}
// The end: one that is shorter, until it arrives.
for (let i = 0; i < 50; i++) { const b = Buffer.alloc(${END_BYTES}); b.writeUInt32BE(n); socket.send(b); await Bun.sleep(100); }`;

export interface Count {
  readonly seen: number;
  readonly sent: number;
  /** The longest time between two datagrams, in milliseconds. */
  readonly gapMs: number;
}

/** Sends numbered datagrams at a rate while `work` is done, and counts those that arrive. */
export async function countDatagrams(
  from: Inhabitant,
  to: Inhabitant & { readonly v4: string },
  { rate, seconds }: { readonly rate: number; readonly seconds: number },
  work: () => Promise<void>,
): Promise<Count> {
  const server = Bun.spawn([...inside(to.netns.path), process.execPath, datagramCounter, to.v4, "7100"], {
    env: { ...plainEnv },
    stdout: "pipe",
    stderr: "inherit",
  });
  const log = lineLog(server.stdout);
  try {
    await log.line((line) => line === "listening");
    const words = [process.execPath, "-e", COUNTING_CLIENT, to.v4, "7100", String(rate), String(seconds)];
    await using client = startProcess([...inside(from.netns.path), ...words]);
    await client.printed("sending");
    await work();
    return JSON.parse(await log.line((line) => line.startsWith("{"), patience(LIMIT_MS))) as Count;
  } finally {
    server.kill("SIGKILL");
    await server.exited;
  }
}
