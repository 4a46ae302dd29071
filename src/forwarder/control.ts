/**
 * What is done for requests on the control socket. While a successor holds the descriptors nothing is changed: if it
 * takes over, this process ends, and if its conversation ends before, this one goes on.
 */
import { NetError } from "../errors.ts";
import { sendDescriptors } from "../sys/descriptors.ts";
import type { Fd } from "../sys/fd.ts";
import { forgetTun } from "../sys/tun.ts";
import type { UnixListener } from "../sys/unix-listener.ts";
import type { Engine } from "./engine.ts";
import type { PeerBook } from "./peer-book.ts";
import { peerTable } from "./peers.ts";
import { type ControlRequest, parseRequest, peerJson } from "./requests.ts";

/** Why the process ends when its successor runs. */
export const HANDED_OVER = "another forwarder has taken over";

/** What a successor gets. */
export interface Possessions {
  readonly device: Fd;
  /** Of the device: several UDP datagrams may be one packet. */
  readonly joinsUdp: boolean;
  readonly socket: Fd;
  readonly listener: UnixListener;
}

export interface ControlSetup {
  readonly device: string;
  readonly port: number;
  readonly family: 4 | 6;
  readonly ground: Possessions;
  readonly book: PeerBook;
  readonly engine: Engine;
  readonly log: (line: string) => void;
  /** Ends the process, in order. */
  readonly end: (why: string) => void;
}

export interface Conversation {
  /** Takes a line of a caller on that descriptor, gives the line of the answer. */
  answer(line: string, socket: number): Promise<string>;
  /** The caller is gone. */
  over(): void;
}

/** Nobody's conversation: what was handed over does not come back. */
const DONE = {};
const WHILE_HANDING: readonly string[] = ["peers", "status", "taken"];

/** Returns what begins a conversation. */
export function openControl(setup: ControlSetup): () => Conversation {
  const { device, port, family, ground, book, engine, log, end } = setup;
  const started = Date.now();
  let handing: object | undefined;
  const status = (): object => ({
    device,
    port,
    peers: book.peers.length,
    seconds: Math.floor((Date.now() - started) / 1000),
    workers: engine.isShared ? 2 : 1,
    sent: engine.sent.read(),
    received: engine.received.read(),
  });
  const handOver = async (socket: number, who: object): Promise<void> => {
    handing = who;
    await engine.pause();
    const text = `${JSON.stringify({ ok: true, joinsUdp: ground.joinsUdp })}\n`;
    sendDescriptors(socket, text, [ground.device.raw, ground.socket.raw, ground.listener.fd]);
  };
  const publish = (): Promise<void> => engine.setPeers(peerTable(book.peers, family));
  const act = async (request: ControlRequest, socket: number, who: object): Promise<object> => {
    if (handing !== undefined && !WHILE_HANDING.includes(request.command))
      throw new NetError("try-again", { why: "another forwarder is taking over" });
    switch (request.command) {
      case "set-peer":
        book.set(request.peer);
        await publish();
        return {};
      case "remove-peer":
        if (book.remove(request.id)) await publish();
        return {};
      case "replace-all":
        book.replaceAll(request.peers);
        await publish();
        return {};
      case "peers":
        return { peers: book.peers.map(peerJson) };
      case "status":
        return status();
      case "remove":
        forgetTun(device, ground.device.raw);
        end("told to stop and to let the device go");
        return {};
      case "stop":
        end("told to stop");
        return {};
      case "hand-over":
        await handOver(socket, who);
        return {};
      case "taken":
        if (handing !== who) throw new NetError("usage/invalid", { why: "nothing was handed over" });
        handing = DONE;
        end(HANDED_OVER);
        return {};
    }
  };
  return () => {
    const who = {};
    return {
      async answer(line, socket) {
        try {
          return JSON.stringify({ ok: true, ...(await act(parseRequest(line, family), socket, who)) });
        } catch (e) {
          if (e instanceof NetError) return JSON.stringify({ ok: false, code: e.code, error: e.message });
          throw e;
        }
      },
      over() {
        if (handing !== who) return;
        handing = undefined;
        log("the successor is gone; goes on");
        void engine.run();
      },
    };
  };
}
