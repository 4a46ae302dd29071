/**
 * The forwarder as a process: device, socket, workers, peers and the control socket, from start or take-over to stop or
 * hand-over. The device stays when the process ends, so that routes over it last until the next one takes it.
 */
import { NetError } from "../errors.ts";
import type { Ip } from "../net/ip.ts";
import { openNetlink } from "../netlink/socket.ts";
import { setInetParameters } from "../rtnl/link-inet.ts";
import { setLink } from "../rtnl/link.ts";
import type { Fd } from "../sys/fd.ts";
import { removeIfThere, statLink } from "../sys/files.ts";
import { openTunQueue } from "../sys/tun.ts";
import { boundAddress, openTunnelSocket } from "../sys/tunnel-socket.ts";
import { adoptListener, listenAsOwn } from "../sys/unix-listener.ts";
import { converseInLines } from "../sys/unix-lines.ts";
import { openListener, serveCallers } from "../sys/unix-service.ts";
import { HANDED_OVER, openControl, type Possessions } from "./control.ts";
import { hireCrew, startEngine } from "./engine.ts";
import { openPeerBook } from "./peer-book.ts";
import { peerTable, socketAddress } from "./peers.ts";
import { MOST_LINE_BYTES } from "./requests.ts";
import { requestHandOver, type Taken } from "./take-over.ts";

export interface ForwarderOptions {
  /** Name of the TUN device, which is made if it is not there. */
  readonly device: string;
  /** The device's MTU, in bytes: what fits into a datagram on every underlay link. */
  readonly mtuBytes: number;
  /** Where datagrams are taken; `::` takes both families. */
  readonly listen: Ip;
  readonly port: number;
  /** Our own addresses on the device: from them come answers about packets that cannot go on. */
  readonly own: readonly Ip[];
  /** The control socket. */
  readonly control: string;
  /** Where the peers are kept. */
  readonly state: string;
  /** Goes on with the device of the forwarder that runs, if one does, and with its socket if that has this address and port. */
  readonly takeOver: boolean;
  /** Of the UDP socket, each direction, in bytes. */
  readonly bufferBytes: number;
}

const MOST_CALLERS = 16;

interface Ground extends Possessions {
  /** The forwarder whose they were; it waits for a word. */
  readonly before?: Taken;
  /** Removes the control socket's file. */
  forget(): void;
}

/**
 * Runs until the signal, a request to stop, or until another one has taken over. Then it returns why.
 * @throws resource/exists if a forwarder listens at `control` already, sys/call EBUSY if another program holds the device
 */
export async function runForwarder(
  options: ForwarderOptions,
  ended: Promise<string>,
  log: (line: string) => void,
): Promise<string> {
  await using stack = new AsyncDisposableStack();
  const { family } = options.listen;
  const book = openPeerBook(options.state, family, log);
  // First what takes long: from here to the last line of this part a predecessor stands still.
  const crew = stack.adopt(await hireCrew(), (it) => it.dismiss());
  const ground = await standOn(options);
  for (const held of [ground.device, ground.socket, ground.listener]) stack.use(held);
  const inherited = ground.before?.peers(family);
  const engine = await startEngine(crew, {
    device: ground.device.raw,
    socket: ground.socket.raw,
    family,
    joinsUdp: ground.joinsUdp,
    own: ownAddresses(options.own),
    peers: peerTable(inherited ?? book.peers, family),
  });
  stack.defer(() => engine.end());
  await engine.run();
  if (ground.before !== undefined) {
    ground.before.taken();
    // An agent that gets no answer ends who is at the other end.
    listenAsOwn(ground.listener);
  }
  if (inherited !== undefined) book.replaceAll(inherited);
  const over = Promise.withResolvers<string>();
  const { device, port } = options;
  const control = openControl({ device, port, family, ground, book, engine, log, end: over.resolve });
  const service = serveCallers(ground.listener, {
    most: MOST_CALLERS,
    log,
    converse: (fd, gone) => {
      const conversation = control();
      return converseInLines(fd, {
        mostBytes: MOST_LINE_BYTES,
        answer: (line, socket) => conversation.answer(line, socket),
        over: () => {
          conversation.over();
          gone();
        },
      });
    },
  });
  log(`forwards between ${device} and udp port ${port}; control on ${options.control}`);
  const failed = engine.failed.then((why) => `failed: ${why}`);
  const why = await Promise.race([ended, over.promise, failed]);
  await service.finish(ENDING_MS);
  if (why !== HANDED_OVER) ground.forget();
  if (why.startsWith("failed")) throw new NetError("program/failed", { program: options.device, why });
  return why;
}

/** How long answers that are on their way may take at the end. */
const ENDING_MS = 500;

async function standOn(options: ForwarderOptions): Promise<Ground> {
  const before = options.takeOver ? requestHandOver(options.control) : undefined;
  if (before !== undefined) {
    const { device, joinsUdp } = before.ground;
    const socket = socketOf(options, before.ground.socket);
    setUp(options);
    const ino = statLink(options.control)?.ino;
    return {
      device,
      joinsUdp,
      socket,
      listener: adoptListener(before.listener.release()),
      before,
      forget: () => {
        if (statLink(options.control)?.ino === ino) removeIfThere(options.control);
      },
    };
  }
  using stack = new DisposableStack();
  const { listener, remove } = await openListener(options.control, undefined, "a forwarder");
  stack.use(listener);
  stack.defer(remove);
  const { fd: device, joinsUdp } = openTunQueue(options.device);
  stack.use(device);
  setUp(options);
  const socket = socketOf(options);
  stack.move();
  return { device, joinsUdp, socket, listener, forget: remove };
}

/** The socket of the one before if it is bound to what is wanted now, else one instead of it. */
function socketOf({ listen: ip, port, bufferBytes }: ForwarderOptions, before?: Fd): Fd {
  const address = socketAddress({ ip, port }, ip.family);
  if (before === undefined) return openTunnelSocket({ ip, port, bufferBytes }, address);
  if (Buffer.compare(boundAddress(before), address) === 0) return before;
  using former = before;
  return openTunnelSocket({ ip, port, bufferBytes }, address, former);
}

/** What waits at the device while nobody reads: most of a second at 5,000 packets a second, where the kernel's 500 are a tenth. */
const QUEUE_PACKETS = 4096;

function setUp({ device, mtuBytes }: ForwarderOptions): void {
  using netlink = openNetlink("route");
  // Answers come over the device from an address of this host, which the kernel takes for a forgery otherwise.
  setInetParameters(netlink, device, { acceptLocal: true });
  setLink(netlink, { name: device }, { mtuBytes, txQueueLength: QUEUE_PACKETS, up: true });
}

function ownAddresses(own: readonly Ip[]): { readonly v4?: Uint8Array; readonly v6?: Uint8Array } {
  const v4 = own.find(({ family }) => family === 4);
  const v6 = own.find(({ family }) => family === 6);
  return { ...(v4 && { v4: v4.bytes }), ...(v6 && { v6: v6.bytes }) };
}
