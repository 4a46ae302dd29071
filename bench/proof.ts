/**
 * That what is measured is worth measuring: a container that was attached serves, by its address and through its host
 * port, and is out of reach once it is detached. Asked once for each player, outside of the times.
 */
import { command } from "../scripts/command.ts";
import type { Case } from "./cases.ts";
import { type Container, NEIGHBOUR } from "./players.ts";

const WORD = "woven";
/** How long a server may take to listen, and a connection to be answered. */
const PATIENCE_MS = 5_000;

/** A server inside the container that answers every connection with one word. */
const server = `const s = Bun.listen({ hostname: "0.0.0.0", port: 80, socket: {
  open(c) { c.end("${WORD}"); }, data() {} } }); console.log("ready");`;

/** Asks an address and prints the answer. */
const client = `const [hostname, port] = process.argv.slice(-2);
  await Bun.connect({ hostname, port: Number(port), socket: {
    data(_, b) { process.stdout.write(b); process.exit(0); }, close() { process.exit(1); } } });`;

/** What a plugin printed, as far as the benchmark reads it. */
export interface PrintedResult {
  readonly ips?: readonly { readonly address?: string }[];
}

/** @throws if the container does not answer where it should */
export async function prove(of: Case, container: Container, result: PrintedResult): Promise<void> {
  if (of.ifname === "lo") {
    const shown = await command(["ip", "-n", `c${container.number}`, "-br", "addr", "show", "lo"]);
    if (!shown.includes("127.0.0.1/8")) throw new Error(`lo is not up: ${shown}`);
    return;
  }
  const address = result.ips?.[0]?.address?.split("/")[0];
  if (address === undefined) throw new Error("the result names no address");
  if (of.players[0]?.list.plugins[0]?.type === "host-local") return;
  const inside = ["nsenter", `--net=${container.netns}`, process.execPath, "-e", server];
  const child = Bun.spawn(inside, { stdout: "pipe", stderr: "inherit", timeout: 4 * PATIENCE_MS });
  try {
    for await (const _ of child.stdout) break;
    if (of.askedBy === "neighbour") await askFromNeighbour(address);
    else await expectWord(address, 80);
    if (of.mapped) await expectWord("127.0.0.1", 20_000 + container.number);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

async function askFromNeighbour(address: string): Promise<void> {
  const said = await command([
    "ip",
    "netns",
    "exec",
    NEIGHBOUR,
    process.execPath,
    "-e",
    client,
    address,
    "80",
  ]);
  if (said !== WORD) throw new Error(`${address} says ${said} to its neighbour`);
}

/** How often the host tries to reach a container that was just attached. */
const TRY_MS = 5;

/** How long it takes until the host reaches the container's IPv6 address: nobody listens there, and the kernel says so. */
export async function msUntilReached({ ips }: PrintedResult): Promise<number> {
  const hostname = ips?.map((ip) => ip.address?.split("/")[0] ?? "").find((a) => a.includes(":"));
  if (hostname === undefined) throw new Error("the result names no IPv6 address");
  const started = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const attempt = async (): Promise<void> => {
    if (await refuses(hostname)) resolve(performance.now() - started);
  };
  // What is sent too early is lost, and its sender waits a second: others go on.
  const again = setInterval(() => void attempt(), TRY_MS);
  const late = setTimeout(() => reject(new Error(`${hostname} cannot be reached`)), PATIENCE_MS);
  try {
    return await promise;
  } finally {
    clearInterval(again);
    clearTimeout(late);
  }
}

async function refuses(hostname: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ hostname, port: 9, socket: { data() {} } });
    socket.end();
    return true;
  } catch (e) {
    return (e as { readonly code?: string }).code === "ECONNREFUSED";
  }
}

async function expectWord(hostname: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const late = setTimeout(() => reject(new Error(`${hostname}:${port} does not answer`)), PATIENCE_MS);
  try {
    await Bun.connect({
      hostname,
      port,
      socket: {
        data: (_, bytes) => resolve(bytes.toString()),
        close: () => reject(new Error("closed early")),
      },
    });
    const said = await promise;
    if (said !== WORD) throw new Error(`${hostname}:${port} says ${said}`);
  } finally {
    clearTimeout(late);
  }
}

/** @throws if the container still has its interface, or the host another link than the bridge */
export async function proveGone(of: Case, container: Container): Promise<void> {
  if (of.ifname === "lo") return;
  const inside = await command(["ip", "-n", `c${container.number}`, "-br", "link"]);
  if (inside.includes("eth0")) throw new Error(`eth0 is still there: ${inside}`);
}
