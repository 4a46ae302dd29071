/**
 * Taking device, socket and control socket from the forwarder that runs. It has stopped by then: packets wait in the
 * kernel's queues until this process reads them. If this process dies before it says `taken`, the other goes on.
 */
import { NetError } from "../errors.ts";
import { receiveDescriptors } from "../sys/descriptors.ts";
import type { Fd } from "../sys/fd.ts";
import { connectUnix, type UnixStream } from "../sys/unix-socket.ts";
import type { Peer } from "./peers.ts";
import { MOST_LINE_BYTES, parsePeers } from "./requests.ts";

export interface Taken {
  readonly ground: { readonly device: Fd; readonly socket: Fd; readonly joinsUdp: boolean };
  readonly listener: Fd;
  /** Whom the other knew at its end, and a socket of this family reaches. */
  peers(family: 4 | 6): readonly Peer[];
  /** The other may end. */
  taken(): void;
}

const SECONDS = 5;

/** Undefined if no forwarder listens there. @throws try-again, sys/call if it does not hand over */
export function requestHandOver(path: string): Taken | undefined {
  const stream = connectUnix(path, SECONDS);
  if (stream === undefined) return undefined;
  stream.send(lineOf("hand-over"));
  const { text, descriptors } = receiveDescriptors(stream.fd, SECONDS * 1000);
  const [device, socket, listener] = descriptors;
  const answer = checked(text, path);
  if (device === undefined || socket === undefined || listener === undefined)
    throw new NetError("decode/malformed", { what: path, why: "a hand-over without its three descriptors" });
  const lines = linesOf(stream, text);
  // The answer to the request itself: descriptors go before it.
  checked(lines.next(), path);
  return {
    ground: { device, socket, joinsUdp: answer["joinsUdp"] === true },
    listener,
    peers(family) {
      stream.send(lineOf("peers"));
      return parsePeers(checked(lines.next(), path)["peers"], 6).filter(({ ip }) => ip.family <= family);
    },
    taken() {
      stream.send(lineOf("taken"));
      checked(lines.next(), path);
      stream[Symbol.dispose]();
    },
  };
}

const lineOf = (command: string): Uint8Array => new TextEncoder().encode(`${JSON.stringify({ command })}\n`);

/** Lines one after the other; `first` came with the descriptors, and may have more than its own line. */
function linesOf(stream: UnixStream, first: string): { next(): string } {
  let rest = new TextEncoder().encode(first.slice(first.indexOf("\n") + 1));
  return {
    next() {
      for (;;) {
        const end = rest.indexOf(10);
        if (end >= 0) {
          const line = new TextDecoder().decode(rest.subarray(0, end));
          rest = rest.slice(end + 1);
          return line;
        }
        if (rest.length > MOST_LINE_BYTES)
          throw new NetError("decode/malformed", {
            what: "the other forwarder",
            why: "a line without an end",
          });
        rest = new Uint8Array(Buffer.concat([rest, stream.receive(65_536)]));
      }
    },
  };
}

function checked(line: string, path: string): Readonly<Record<string, unknown>> {
  const [head = ""] = line.split("\n", 1);
  const answer = JSON.parse(head === "" ? "{}" : head) as Readonly<Record<string, unknown>>;
  if (answer["ok"] === true) return answer;
  throw new NetError("try-again", {
    why: `the forwarder at ${path} does not hand over: ${typeof answer["error"] === "string" ? answer["error"] : "it is gone"}`,
  });
}
