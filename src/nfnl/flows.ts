/** Connections that the kernel tracks between two ends, as a person asks for them. */
import type { Ip } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { encodeFixed } from "../wire/fixed.ts";
import { type Flow, decodeEntry, toFlow } from "./conntrack.ts";
import { CT, ctAttrs, FILTER, nfgenmsg } from "./ctnetlink.ts";

/** AF_INET and AF_INET6 (linux/socket.h). */
const AF = { 4: 2, 6: 10 } as const;

/** What the first packet of a connection went to. */
export interface FlowQuestion {
  /** IANA's number: 6 or 17. */
  readonly protocol: number;
  readonly source: Ip;
  readonly destination: Ip;
  readonly destinationPort: number;
}

/** The kernel filters (Linux 5.8); an older one lists every connection of the family. */
export function listFlows(socket: NetlinkSocket, q: FlowQuestion): readonly Flow[] {
  const { family } = q.destination;
  const original = { proto: { number: q.protocol, destinationPort: q.destinationPort } };
  const filter = { originalFlags: FILTER.protoNumber | FILTER.destinationPort };
  const body = Buffer.concat([
    encodeFixed(nfgenmsg, { family: AF[family], version: 0, resourceId: 0 }),
    ctAttrs.encode({ original, filter }),
  ]);
  return socket
    .dump({ type: CT.GET, flags: 0, body, what: `connections to port ${q.destinationPort}` })
    .map(decodeEntry)
    .flatMap((entry) => toFlow(entry) ?? [])
    .filter(
      (f) =>
        f.protocol === q.protocol &&
        f.original.source.text === q.source.text &&
        f.original.destination.text === q.destination.text &&
        f.original.destinationPort === q.destinationPort,
    );
}
