/** The way from the peers to the device, bound to its descriptors. */
import { packetIo } from "../sys/packet-io.ts";
import { pin } from "../sys/pinned.ts";
import type { Counters } from "./counters.ts";
import { Receiver, RECEIVER_BYTES } from "./receiver.ts";
import type { WorkerSetup } from "./worker-protocol.ts";

export interface Incoming {
  /** As `Receiver.step`. */
  step(): number;
}

export function openIncoming({ device, socket, joinsUdp }: WorkerSetup, counters: Counters): Incoming {
  const io = packetIo();
  const memory = pin(RECEIVER_BYTES);
  const receiver = new Receiver(
    memory,
    {
      receive: (messages, count) => io.recvmmsg(socket, memory, messages, count),
      write: (vectors, count) => io.writev(device, memory, vectors, count),
    },
    joinsUdp,
    counters,
  );
  return { step: () => receiver.step() };
}
