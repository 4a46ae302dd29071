/** What the process that carries packets has counted, as it said when it was asked last. Pure. */
import type { ForwarderStatus } from "../forwarder/client.ts";
import { type Counter, COUNTERS } from "../forwarder/counters.ts";
import type { Sample } from "./metrics.ts";
import type { AgentState } from "./model.ts";

export const directions = ["sent", "received"] as const;

const DROP = "drop";
const drops = COUNTERS.filter((name) => name.startsWith(DROP));

/** `dropTooBig` is `too-big`. */
const reasonOf = (name: Counter): string =>
  name
    .slice(DROP.length)
    .replaceAll(/(?<!^)[A-Z]/g, "-$&")
    .toLowerCase();

/** None on a host without such a process; of one that does not answer only that it does not. */
export function forwarderSamples({ carriage, forwarder }: AgentState): readonly Sample[] {
  if (carriage?.wish === undefined) return [];
  const up = { name: "heddle_agent_forwarder_up", value: Number(forwarder !== undefined) } as const;
  if (forwarder === undefined) return [up];
  return [
    up,
    ...directions.flatMap((direction): readonly Sample[] => {
      const counted = forwarder[direction];
      return [
        { name: "heddle_agent_forwarder_packets_total", labels: [direction], value: counted.packets },
        { name: "heddle_agent_forwarder_bytes_total", labels: [direction], value: counted.bytes },
        { name: "heddle_agent_forwarder_segments_total", labels: [direction], value: counted.segments },
        { name: "heddle_agent_forwarder_calls_total", labels: [direction], value: counted.calls },
        ...drops.map((name) => ({
          name: "heddle_agent_forwarder_dropped_total" as const,
          labels: [direction, reasonOf(name)],
          value: counted[name],
        })),
      ];
    }),
  ];
}

/** `sent 12 packets with 840 bytes, received 11 with 770; dropped 3 to send (unknown 2, too-big 1)`. */
export function forwarderText(forwarder: ForwarderStatus): string {
  const { sent, received } = forwarder;
  const dropped = directions.flatMap((direction) => {
    const counted = forwarder[direction];
    const told = drops.filter((name) => counted[name] > 0);
    if (told.length === 0) return [];
    const sum = told.reduce((n, name) => n + counted[name], 0);
    const parts = told.map((name) => `${reasonOf(name)} ${counted[name]}`).join(", ");
    return [`${sum} ${direction === "sent" ? "to send" : "received"} (${parts})`];
  });
  return [
    `sent ${sent.packets} packets with ${sent.bytes} bytes, received ${received.packets} with ${received.bytes}`,
    ...(dropped.length === 0 ? [] : [`dropped ${dropped.join(" and ")}`]),
  ].join("; ");
}
