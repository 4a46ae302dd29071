/** Which host port an endpoint gets: the one that was asked for, or a free one of a range. Pure functions. */
import { NetError } from "../errors.ts";
import { type Ip, ipFromBytes, isUnspecified } from "../net/ip.ts";
import { collides } from "./decode.ts";
import type { AskedPort, OpenPort } from "./model.ts";

/** Where a port is taken from if any will do: the dynamic ports of IANA (RFC 6335, section 6). */
export const DYNAMIC = { first: 49_152, last: 65_535 } as const;

/** Ports that cannot be taken, and whose they are. */
export interface TakenPort extends OpenPort {
  readonly owner: string;
}

/**
 * Chooses host ports, all or none.
 * @param binding the host's address for what asks for none
 * @throws port/taken, ipam/exhausted if a range is full
 */
export function choosePorts(
  asked: readonly AskedPort[],
  taken: readonly TakenPort[],
  binding: Ip | undefined,
): readonly OpenPort[] {
  const chosen: OpenPort[] = [];
  for (const port of asked) chosen.push(choose(port, [...taken, ...chosen], binding));
  return chosen;
}

function choose(
  port: AskedPort,
  taken: readonly (OpenPort | TakenPort)[],
  binding: Ip | undefined,
): OpenPort {
  const hostIp = port.hostIp ?? binding;
  const { protocol, containerPort } = port;
  const any = port.hostPort === 0;
  const first = any ? DYNAMIC.first : port.hostPort;
  const last = any ? DYNAMIC.last : port.hostPortEnd;
  let inTheWay: OpenPort | TakenPort | undefined;
  for (let hostPort = first; hostPort <= last; hostPort++) {
    const wanted: OpenPort = { protocol, containerPort, ...(hostIp ? { hostIp } : {}), hostPort };
    inTheWay = taken.find((t) => collides(t, wanted));
    if (inTheWay === undefined) return wanted;
  }
  if (first < last)
    throw new NetError("port/taken", {
      port: `${first}-${last}/${protocol} (every one)`,
      owner: "others; publish fewer ports or a larger range",
    });
  const owner = inTheWay && "owner" in inTheWay ? inTheWay.owner : "the same container";
  throw new NetError("port/taken", { port: `${first}/${protocol}`, owner });
}

/** TCP_LISTEN (net/tcp_states.h). A UDP socket has none, and takes its port as soon as it is bound. */
const LISTEN = "0A";

/** Ports on which programs of the host listen, from the text of `/proc/net/tcp` and its like (proc_pid_net(5)). */
export function listeningPorts(table: string, protocol: "tcp" | "udp"): readonly TakenPort[] {
  return table
    .split("\n")
    .slice(1)
    .flatMap((line): readonly TakenPort[] => {
      const [, local = "", , state] = line.trim().split(/\s+/);
      const [address = "", port = ""] = local.split(":");
      const hostPort = Number.parseInt(port, 16);
      if (!(hostPort > 0) || (protocol === "tcp" && state !== LISTEN)) return [];
      const hostIp = ipOfWords(address);
      // One that listens on all addresses of IPv6 mostly has those of IPv4 as well.
      const anywhere = hostIp === undefined || isUnspecified(hostIp);
      const owner = "a program of this host; stop it or publish another port";
      return [{ protocol, containerPort: 0, ...(anywhere ? {} : { hostIp }), hostPort, owner }];
    });
}

/** Addresses are words of 32 bits in the host's byte order, which is little-endian wherever this runs. */
function ipOfWords(hex: string): Ip | undefined {
  if (!/^(?:[0-9A-F]{8}|[0-9A-F]{32})$/.test(hex)) return undefined;
  const bytes = Uint8Array.fromHex(hex);
  const ordered = bytes.map((_, i) => bytes[(i & ~3) + 3 - (i & 3)] ?? 0);
  const mapped =
    ordered.length === 16 && ordered.subarray(0, 10).every((b) => b === 0) && ordered[10] === 0xff;
  return ipFromBytes(mapped ? ordered.subarray(12) : ordered);
}
