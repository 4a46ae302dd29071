/**
 * Real traffic between namespaces, without programs that a machine may lack: a server that answers with the address it
 * was asked from, and a client. Both run as the Bun that runs the tests.
 */
import { type Outcome, plainEnv, run } from "./run.ts";
import { startProcess, type TestProcess } from "./netns.ts";
import { patience } from "./slowdown.ts";

const SERVER = `const [host, port] = process.argv.slice(1);
const server = Bun.listen({ hostname: host, port: Number(port), socket: {
  open: (s) => { s.end(s.remoteAddress + "\\n"); }, data: () => {} } });
console.log("listening on " + server.port);`;
/** After how long, in milliseconds, a connection without an answer counts as one that nothing passes. */
const SILENCE_MS = patience(1_500, 2_500);
const CLIENT = `const [host, port, silenceMs] = process.argv.slice(1);
let text = "";
const late = setTimeout(() => { console.error("no answer"); process.exit(1); }, Number(silenceMs));
await new Promise((done, failed) => Bun.connect({ hostname: host, port: Number(port), socket: {
  data: (_, bytes) => { text += bytes.toString(); }, close: done, error: (_, e) => failed(e),
  connectError: (_, e) => failed(e) } }).catch(failed));
clearTimeout(late);
process.stdout.write(text);`;

const SINK = `const [host, port, bytes] = process.argv.slice(1);
let rest = Number(bytes);
Bun.listen({ hostname: host, port: Number(port), socket: {
  data: (s, b) => { rest -= b.length; if (rest <= 0) s.end("all"); } } });
console.log("listening");`;
const SOURCE = `const [host, port, bytes] = process.argv.slice(1);
let rest = new Uint8Array(Number(bytes)), began = 0;
const more = (s) => { rest = rest.subarray(s.write(rest)); };
await new Promise((done, failed) => Bun.connect({ hostname: host, port: Number(port), socket: {
  open: (s) => { began = performance.now(); more(s); }, drain: more, data: () => done(), error: (_, e) => failed(e),
  connectError: (_, e) => failed(e) } }).catch(failed));
process.stdout.write(String(performance.now() - began));
process.exit(0);`;

/** Words that make a program run in the namespace at a path. */
export const inside = (netns: string): readonly string[] => ["nsenter", `--net=${netns}`, "--"];

/** A TCP server in the namespace at `netns`; it listens when this returns. */
export async function serveIn(netns: string, address: string, port: number): Promise<TestProcess> {
  const server = startProcess([...inside(netns), process.execPath, "-e", SERVER, address, String(port)]);
  await server.printed("listening");
  return server;
}

/** Connects from the namespace at `netns`; what the server saw as the client's address is the output. */
export const connectFrom = (
  netns: string,
  address: string,
  port: number,
  silenceMs = SILENCE_MS,
): Promise<Outcome> =>
  run([...inside(netns), process.execPath, "-e", CLIENT, address, String(port), String(silenceMs)], {
    env: plainEnv,
    mustSucceed: false,
  });

/**
 * The address that a server in the one namespace sees of a client in the other that asks `address` and `port`; undefined
 * if nothing passes. `listen` says where the server is if that is somewhere else.
 */
export async function seenFrom(
  client: string,
  server: string,
  address: string,
  port: number,
  listen: { readonly address: string; readonly port: number } = { address, port },
  silenceMs = SILENCE_MS,
): Promise<string | undefined> {
  await using _server = await serveIn(server, listen.address, listen.port);
  const { code, stdout } = await connectFrom(client, address, port, silenceMs);
  return code === 0 ? stdout.trim() : undefined;
}

/** How long, in milliseconds, so many bytes take from the namespace at the one path to the address in the other. */
export async function transferMs(
  from: string,
  to: { readonly netns: string; readonly address: string; readonly port: number },
  bytes: number,
): Promise<number> {
  const words = [to.address, String(to.port), String(bytes)];
  await using sink = startProcess([...inside(to.netns), process.execPath, "-e", SINK, ...words]);
  await sink.printed("listening");
  const { stdout } = await run([...inside(from), process.execPath, "-e", SOURCE, ...words], {
    env: plainEnv,
  });
  return Number(stdout);
}
