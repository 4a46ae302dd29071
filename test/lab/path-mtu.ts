/**
 * What the way between two containers carries: datagrams of a size that are sent back, whether anybody had to cut them on the
 * way, and what a sender learns that tries more.
 */
import type { Family } from "../../src/net/ip.ts";
import { startProcess } from "../../src/testing/netns.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { inside } from "../../src/testing/traffic.ts";
import { addressOf, type Fabric, type LabContainer } from "./fabric.ts";

const PORT = "7300";
/** The headers of IP and UDP, in bytes. */
const HEADERS = { 4: 28, 6: 48 } as const;

const ECHO = `const [host, port] = process.argv.slice(1);
await Bun.udpSocket({ hostname: host, port: Number(port), socket: {
  data: (socket, bytes, port, address) => { socket.send(bytes, port, address); } } });
console.log("listening");`;
/** Sends again and again until one came back. */
const ASK = `const [host, port, bytes] = process.argv.slice(1);
const end = performance.now() + ${patience(4_000, 30_000)};
const any = host.includes(":") ? "::" : "0.0.0.0";
const socket = await Bun.udpSocket({ hostname: any, connect: { hostname: host, port: Number(port) }, socket: {
  data: (_, back) => { if (back.length === Number(bytes)) { console.log("back"); process.exit(); } } } });
for (; performance.now() < end; await Bun.sleep(200)) socket.send(new Uint8Array(Number(bytes)));
console.log("silence");
process.exit();`;

/** Sends packets of so many bytes, with all headers of IP, that are sent back: `back` if one was, else `silence`. */
export async function sendBack(
  from: LabContainer,
  to: LabContainer,
  family: Family,
  packetBytes: number,
): Promise<string> {
  const words = [addressOf(to, family), PORT];
  await using echo = startProcess([...inside(to.netns.path), process.execPath, "-e", ECHO, ...words]);
  await echo.printed("listening");
  const ask = [process.execPath, "-e", ASK, ...words, String(packetBytes - HEADERS[family])];
  return (await run([...inside(from.netns.path), ...ask], { env: plainEnv })).stdout.trim();
}

/** How many pieces these hosts and containers have made of packets since they are there. */
export async function piecesMade({ lab }: Fabric, places: readonly string[]): Promise<number> {
  let pieces = 0;
  for (const place of places) {
    const { stdout } = await lab.exec(place, ["cat", "/proc/net/snmp", "/proc/net/snmp6"]);
    const [names = "", values = ""] = stdout.match(/^Ip: .*$/gm) ?? [];
    pieces += Number(values.split(" ")[names.split(" ").indexOf("FragCreates")]);
    pieces += Number(/^Ip6FragCreates\s+(\d+)$/m.exec(stdout)?.[1]);
  }
  return pieces;
}

/** The MTU that a container has learned for the way to an address; undefined if nobody told it one. */
export async function learnedMtu(
  { lab }: Fabric,
  from: LabContainer,
  address: string,
): Promise<number | undefined> {
  const { stdout } = await lab.exec(from.place, ["ip", "route", "get", address]);
  const mtu = /\bmtu (?:lock )?(\d+)/.exec(stdout)?.[1];
  return mtu === undefined ? undefined : Number(mtu);
}

/** Gives both ends of a container's link another MTU, as if somebody had set it wrong. */
export async function setMtu({ lab }: Fabric, container: LabContainer, mtuBytes: number): Promise<void> {
  const words = ["mtu", String(mtuBytes)];
  const links = async (place: string) =>
    JSON.parse((await lab.exec(place, ["ip", "-j", "link"])).stdout) as readonly {
      readonly ifname: string;
      readonly ifindex: number;
      readonly link_index?: number;
    }[];
  const own = (await links(container.place)).find(({ ifname }) => ifname === "eth0");
  const far = (await links(container.host)).find(({ ifindex }) => ifindex === own?.link_index);
  if (far === undefined) throw new Error(`eth0 of ${container.place} has no other end`);
  await lab.exec(container.host, ["ip", "link", "set", far.ifname, ...words]);
  await lab.exec(container.place, ["ip", "link", "set", "eth0", ...words]);
}
