/** `heddle trace`: what a packet from a container would meet, by the live state of the kernel. Nothing is sent. */
import type { Command } from "commander";
import { NetError } from "../../errors.ts";
import { type Ip, parseIp } from "../../net/ip.ts";
import { print } from "../output.ts";
import type { Answer, Protocol } from "./answer.ts";

interface Options {
  readonly from: string;
  readonly to: string;
  readonly protocol?: string;
  readonly json?: boolean;
  readonly cacheDir?: string;
}

export function addTraceCommand(program: Command): void {
  program
    .command("trace")
    .description("Tell what a packet from a container would meet, and whether it passes; nothing is sent")
    .requiredOption(
      "--from <key>",
      "The beginning of the key of an attachment, as heddle ps prints it, or of its container's id",
    )
    .requiredOption(
      "--to <address>",
      "Where it goes: 192.0.2.1, 192.0.2.1:443, 2001:db8::1 or [2001:db8::1]:443",
    )
    .option("--protocol <name>", "tcp, udp or icmp (default: tcp if there is a port, else icmp)")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .option("--json", "Print JSON")
    .action(async (options: Options) => run(options));
}

/** Lines of this many characters where no terminal says otherwise. */
const WIDTH = 100;
const LEAST_WIDTH = 40;

async function run(options: Options): Promise<void> {
  const target = parseTarget(options.to);
  const protocol = parseProtocol(options.protocol, target.port);
  const answer = await find(options, target, protocol);
  if (options.json === true) return print(JSON.stringify(answer, undefined, 2));
  const { terminal } = await import("../terminal.ts");
  const { draw } = await import("./draw.ts");
  const here = terminal();
  const width = Math.max(LEAST_WIDTH, here.columns ?? WIDTH);
  print(draw(answer, { width, terminal: here }).join("\n"));
}

export interface Target {
  readonly to: Ip;
  readonly port?: number;
}

const invalid = (why: string): NetError => new NetError("usage/invalid", { why });
const MOST_PORT = 65_535;

/** `10.0.0.1`, `10.0.0.1:80`, `fd00::1` and `[fd00::1]:80`. */
export function parseTarget(text: string): Target {
  const [, bracketed, v4, portText] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const address = parseIp(bracketed ?? v4 ?? text);
  if (!address.ok)
    throw invalid(`--to: ${address.why}; give ADDRESS or ADDRESS:PORT, in IPv6 [ADDRESS]:PORT`);
  if (portText === undefined) return { to: address.value };
  const port = Number(portText);
  if (port < 1 || port > MOST_PORT) throw invalid(`--to: port ${portText} is not one of 1 to ${MOST_PORT}`);
  return { to: address.value, port };
}

export function parseProtocol(text: string | undefined, port: number | undefined): Protocol {
  const protocol = text ?? (port === undefined ? "icmp" : "tcp");
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "icmp")
    throw invalid(`--protocol: "${protocol}" is none of tcp, udp, icmp`);
  if (protocol === "icmp" && port !== undefined)
    throw invalid("--protocol: icmp has no ports; leave the port out of --to");
  if (protocol !== "icmp" && port === undefined)
    throw invalid(`--to: ${protocol} needs a port: ADDRESS:PORT`);
  return protocol;
}

async function find({ from, cacheDir }: Options, { to, port }: Target, protocol: Protocol): Promise<Answer> {
  const { findAttachment, listAttachments } = await import("../../cni/attachments.ts");
  const { openRealm } = await import("./realm.ts");
  const { trace } = await import("./trace.ts");
  const known = listAttachments(cacheDir);
  const { key, netns, containerId } = findAttachment(known, from);
  if (netns === undefined)
    throw invalid(`--from: nothing is known of the namespace of container ${containerId}`);
  const names = new Map(
    known.flatMap((a) => (a.netns === undefined ? [] : [[a.netns, `container ${a.containerId}`] as const])),
  );
  using realm = openRealm(names);
  const space = realm.at(netns, `container ${containerId}`);
  if (space === undefined)
    throw new NetError("netns/invalid", { path: netns, why: "there is no such network namespace" });
  return trace(realm, { key, netns, from: space, to, ...(port === undefined ? {} : { port }), protocol });
}
