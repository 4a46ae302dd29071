/** Connections that are there already between the two ends of a trace: their packets go where their first one went. */
import { isNetError } from "../../errors.ts";
import { type Ip, parseIp } from "../../net/ip.ts";
import { listFlows } from "../../nfnl/flows.ts";
import { openNetlink } from "../../netlink/socket.ts";
import type { Protocol } from "./answer.ts";
import type { Realm } from "./realm.ts";

interface Ends {
  /** Of the container, as it sends. */
  readonly address?: string;
  readonly to: Ip;
  readonly port?: number;
  readonly protocol: Protocol;
}

const numbers = { tcp: 6, udp: 17 } as const;

/** As the host tracks them, one line each; none where the kernel does not track, or does not tell. */
export function existingFlows({ host }: Realm, { address, to, port, protocol }: Ends): readonly string[] {
  const source = address === undefined ? undefined : parseIp(address);
  if (!source?.ok || port === undefined || protocol === "icmp") return [];
  const question = {
    protocol: numbers[protocol],
    source: source.value,
    destination: to,
    destinationPort: port,
  };
  try {
    return host.within(() => {
      using socket = openNetlink("netfilter");
      return listFlows(socket, question).map(
        ({ original, reply }) =>
          `from port ${original.sourcePort}: goes to ${reply.source.text} port ${reply.sourcePort}, as from ${reply.destination.text} port ${reply.destinationPort}`,
      );
    });
  } catch (e) {
    if (isNetError(e, "netlink/refused") || isNetError(e, "sys/call")) return [];
    throw e;
  }
}
