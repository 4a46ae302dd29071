/** The way from the device to the peers, bound to its descriptors: what either worker uses while it reads the device. */
import { SOCKADDR_BYTES } from "../sys/messages.ts";
import { packetIo, POLL, POLL_BYTES } from "../sys/packet-io.ts";
import { type Pinned, pin } from "../sys/pinned.ts";
import { pathPayload, setFragmenting } from "../sys/tunnel-socket.ts";
import type { Counters } from "./counters.ts";
import { answerLimit } from "./duty.ts";
import type { PeerTable } from "./peers.ts";
import { type PinnedPeers, Sender, SENDER_BYTES } from "./sender.ts";
import type { WorkerSetup } from "./worker-protocol.ts";

export interface Outgoing {
  /** As `Sender.step`. */
  step(): number;
  /** Between two steps. */
  setPeers(peers: PeerTable): void;
}

/** How long a worker waits for a socket that is full; a batch does so a few times. */
const ROOM_MS = 10;

export function openOutgoing(setup: WorkerSetup, counters: Counters): Outgoing {
  const { device, socket, family } = setup;
  const io = packetIo();
  const memory = pin(SENDER_BYTES + POLL_BYTES + 16);
  const pollAt = SENDER_BYTES;
  const answerVector = SENDER_BYTES + POLL_BYTES;
  let peers = pinnedPeers(setup.peers);
  const sender = new Sender(
    memory,
    family === 4 ? 16 : 28,
    {
      read: (place, bytes) => io.read(device, memory, place, bytes),
      send: (messages, count) => io.sendmmsg(socket, memory, messages, count),
      waitForRoom: () => void io.wait(memory, pollAt, socket, POLL.out, -1, ROOM_MS),
      answer(place, bytes) {
        memory.point(answerVector, place);
        memory.view.setInt32(answerVector + 8, bytes, true);
        io.writev(device, memory, answerVector, 1);
      },
      mayAnswer: answerLimit(setup.duty),
      sendFragmented(messages) {
        setFragmenting(socket, family, true);
        const sent = io.sendmmsg(socket, memory, messages, 1);
        setFragmenting(socket, family, false);
        return sent === 1;
      },
      pathBytes: (peer) => pathBytesOf(peers, peer, family),
      now: () => performance.now(),
    },
    setup.own,
    peers,
    counters,
  );
  return {
    step: () => sender.step(),
    setPeers(table) {
      const before = peers;
      peers = pinnedPeers(table);
      sender.setPeers(peers);
      before.addresses[Symbol.dispose]();
    },
  };
}

function pinnedPeers(table: PeerTable): PinnedPeers {
  const addresses: Pinned = pin(table.addresses.length);
  addresses.bytes.set(table.addresses);
  return { table, addresses };
}

function pathBytesOf({ addresses }: PinnedPeers, peer: number, family: 4 | 6): number {
  const at = peer * SOCKADDR_BYTES;
  const address = addresses.bytes.subarray(at, at + (family === 4 ? 16 : 28));
  // The mapped form of an IPv4 address has ones before it.
  const isV4 = family === 4 || addresses.view.getUint16(at + 18) === 0xffff;
  return pathPayload(address, isV4 ? 4 : 6) ?? 0;
}
