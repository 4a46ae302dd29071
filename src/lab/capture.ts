/** Writes what passes a link of a host, or of a container, into a file for tcpdump or Wireshark, until it is told to end. */
import { writeSync } from "node:fs";
import { NetError } from "../errors.ts";
import { openNetlink } from "../netlink/socket.ts";
import { getLink } from "../rtnl/link.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { openSniffer } from "../sys/sniffer.ts";
import type { Place } from "./enter.ts";
import { openOutput } from "./output-file.ts";
import { labPaths } from "./paths.ts";
import { pcapHeader, pcapPacket } from "./pcap.ts";
import { ROUTER } from "./underlay.ts";

export interface CaptureOptions {
  readonly signal: AbortSignal;
  /** Ends it after so many packets. */
  readonly count?: number;
  /** Called once every packet from now on is seen. */
  readonly ready?: () => void;
}
export interface Captured {
  readonly packets: number;
  /** That passed unseen, because the file could not be written fast enough. */
  readonly dropped: number;
}

/** How often it is looked for packets, in milliseconds; they wait in the kernel meanwhile. */
const STEP_MS = 5;
/** Packets of a link without one of its own, as it is told by each packet. */
const ETHERNET = 1;

/**
 * @throws usage/invalid if there is no such link; sys/call if the file cannot be written
 */
export async function capture(
  lab: string,
  place: Place,
  device: string,
  file: string,
  { signal, count = Infinity, ready = () => undefined }: CaptureOptions,
): Promise<Captured> {
  using out = openOutput(file, 0o600);
  using sniffer = openOn(lab, place, device);
  ready();
  let packets = 0;
  let dropped = 0;
  let begun = false;
  for (;;) {
    // What came before the end was asked for belongs to it.
    const last = signal.aborted;
    for (let seen = sniffer.next(); seen !== undefined && packets < count; seen = sniffer.next()) {
      if (!begun) writeSync(out.raw, pcapHeader(seen.hardware));
      begun = true;
      writeSync(out.raw, pcapPacket(seen.bytes, seen.at));
      packets++;
    }
    dropped += sniffer.dropped();
    if (last || packets >= count) break;
    await Bun.sleep(STEP_MS);
  }
  if (!begun) writeSync(out.raw, pcapHeader(ETHERNET));
  return { packets, dropped };
}

function openOn(lab: string, { host, container }: Place, device: string) {
  const paths = labPaths(lab).host(host);
  using netns = openNetns(container === undefined ? paths.net : `${paths.netns}/${container}`);
  return inNetns(netns, () => {
    using socket = openNetlink("route");
    try {
      return openSniffer(getLink(socket, { name: device }).index);
    } catch (cause) {
      if (!(cause instanceof NetError && cause.is("netlink/refused"))) throw cause;
      const where = host === ROUTER ? "the router" : host;
      throw new NetError("usage/invalid", { why: `there is no link "${device}" in ${where}` }, { cause });
    }
  });
}
