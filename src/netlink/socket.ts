import { NetError } from "../errors.ts";
import { errnoName } from "../sys/errno.ts";
import { closeInBackground } from "../sys/close-in-background.ts";
import { Fd } from "../sys/fd.ts";
import { call, tryCall } from "../sys/libc.ts";
import { u32, viewOf } from "../wire/fixed.ts";
import {
  type Ack,
  decodeAck,
  decodeDone,
  decodeMessages,
  encodeRequests,
  HEADER_SIZE,
  type Message,
  NLM_F,
  NLMSG,
  type Request,
} from "./message.ts";

/**
 * One netlink socket and its conversation with the kernel: requests with acknowledgements, dumps that are repeated
 * when the list changed under them, batches. It knows nothing of what the messages mean. The kernel answers a
 * request before sendto(2) returns, so that every call here is synchronous.
 */
export const protocol = { route: 0, sockets: 4, ipsec: 6, netfilter: 12, generic: 16 } as const;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVTIMEO = 20;
const SO_NETNS_COOKIE = 71;
const SOL_NETLINK = 270;
const option = { CAP_ACK: 10, EXT_ACK: 11, STRICT_CHECK: 12 } as const;
const MSG_TRUNC = 0x20;
/** A dump datagram of the kernel has at most 32 KiB; a single answer of one link with many functions can have more. */
const RECEIVE_BYTES = 256 * 1024;
/** No answer within this time means that the kernel lost it; waiting on would block the caller for ever. */
const ANSWER_SECONDS = 10;
const DUMP_TRIES = 8;
/**
 * Requests in one datagram. If the kernel refuses all of them, its answers must fit into the receive buffer: each takes up
 * to 1,280 bytes there, and the smallest usual buffer (rmem_default) has 212,992.
 */
const BATCH = 128;

/** Allocated over an explicit buffer: the engine moves the memory of small arrays (see docs/decisions/0001). */
let receiveBuffer: Uint8Array | undefined;

export class NetlinkSocket implements Disposable {
  readonly #fd: Fd;
  readonly #close: (fd: Fd) => void;
  #seq = 1;

  /** `close` ends the descriptor's life; what it does has to be done once. */
  constructor(fd: Fd, close: (fd: Fd) => void = (own) => own[Symbol.dispose]()) {
    this.#fd = fd;
    this.#close = close;
  }

  [Symbol.dispose](): void {
    if (this.#fd.isOpen) this.#close(this.#fd);
  }

  /**
   * Sends one request and returns the messages that answer it. Throws `netlink/refused` with the name of the error
   * and the kernel's explanation.
   */
  request(request: Request): Message[] {
    const { answers, ack } = this.#exchange(request);
    raise(request.what, ack);
    return answers;
  }

  #exchange(request: Request): { answers: Message[]; ack: Ack } {
    const answers: Message[] = [];
    const seq = this.#send([{ ...request, flags: request.flags | NLM_F.ACK }]);
    for (;;) {
      for (const m of this.#receive(request.what)) {
        if (m.seq !== seq) continue;
        if (m.type === NLMSG.ERROR) return { answers, ack: decodeAck(m) };
        answers.push(m);
      }
    }
  }

  /** As `request`, but a refusal whose error is one of `errnos` is returned as its name instead of thrown. */
  tryRequest<E extends string>(request: Request, ...errnos: readonly E[]): Message[] | E {
    const { answers, ack } = this.#exchange(request);
    if (ack.errno === 0) return answers;
    const name = errnoName(ack.errno);
    const expected = errnos.find((e) => e === name);
    if (expected === undefined) throw refusal(request.what, ack);
    return expected;
  }

  /**
   * Asks for a list. If the kernel says that the list changed while it was read, the whole question is put again,
   * at most eight times; then `netlink/interrupted` is thrown, never a partial list.
   */
  dump(request: Request): Message[] {
    for (let attempt = 0; attempt < DUMP_TRIES; attempt++) {
      const list = this.#dumpOnce(request);
      if (list !== undefined) return list;
    }
    throw new NetError("netlink/interrupted", { request: request.what, tries: DUMP_TRIES });
  }

  #dumpOnce(request: Request): Message[] | undefined {
    const list: Message[] = [];
    let interrupted = false;
    const seq = this.#send([{ ...request, flags: request.flags | NLM_F.DUMP }]);
    for (;;) {
      for (const m of this.#receive(request.what)) {
        if (m.seq !== seq) continue;
        if (m.flags & NLM_F.DUMP_INTR) interrupted = true;
        if (m.type === NLMSG.ERROR) {
          // A dump is refused by an error message and then has no end message.
          const ack = decodeAck(m);
          if (errnoName(ack.errno) === "EINTR") return undefined;
          raise(request.what, ack);
          return interrupted ? undefined : list;
        }
        if (m.type !== NLMSG.DONE) {
          list.push(m);
          continue;
        }
        const errno = decodeDone(m);
        if (interrupted || errnoName(errno) === "EINTR") return undefined;
        if (errno !== 0) raise(request.what, { errno });
        return list;
      }
    }
  }

  /**
   * Sends several requests in one datagram, as nftables wants them between its two batch messages: they happen all
   * or not at all. The first refusal is thrown; `what` of the refused request names it. Requests that ask for no
   * acknowledgement are taken as done when the last one that asks is answered.
   */
  transaction(requests: readonly Request[]): Message[] {
    const answers: Message[] = [];
    const waiting = new Map<number, Request>();
    const bytes = requests.reduce((n, r) => n + HEADER_SIZE + r.body.length + 3, 0);
    if (bytes > 100_000) this.#option(SOL_SOCKET, SO_SNDBUFFORCE, bytes * 2);
    const first = this.#send(requests);
    requests.forEach((r, i) => {
      if (r.flags & NLM_F.ACK) waiting.set(first + i, r);
    });
    let refused: NetError | undefined;
    while (waiting.size > 0) {
      for (const m of this.#receive(requests[0]?.what ?? "empty batch")) {
        const request = requests[m.seq - first];
        if (request === undefined) continue;
        if (m.type !== NLMSG.ERROR) {
          answers.push(m);
          continue;
        }
        const ack = decodeAck(m);
        if (ack.errno === 0) {
          waiting.delete(m.seq);
          continue;
        }
        refused ??= refusal(request.what, ack);
        // A failed batch is answered for the messages that failed alone; the others get no answer any more.
        waiting.clear();
      }
    }
    if (refused) throw refused;
    return answers;
  }

  /**
   * Sends requests of which none needs another, many in one datagram. The kernel carries out each of them, whatever
   * became of those before, and tells what it refused: the answer is the refusals, each by its request's place in the
   * list; what is not in it is done.
   */
  batch(requests: readonly Request[]): ReadonlyMap<number, NetError<"netlink/refused">> {
    const refused = new Map<number, NetError<"netlink/refused">>();
    for (let at = 0; at < requests.length; at += BATCH) {
      const part = requests.slice(at, at + BATCH);
      // They are carried out in order and refusals are always told, so that the last answer stands for all others.
      const last = part.length - 1;
      const first = this.#send(part.map((r, i) => (i === last ? { ...r, flags: r.flags | NLM_F.ACK } : r)));
      for (let open = true; open;) {
        for (const m of this.#receive(part[0]?.what ?? "batch")) {
          const place = m.seq - first;
          const request = part[place];
          if (request === undefined || m.type !== NLMSG.ERROR) continue;
          const ack = decodeAck(m);
          if (ack.errno !== 0) refused.set(at + place, refusal(request.what, ack));
          if (place === last) open = false;
        }
      }
    }
    return refused;
  }

  /**
   * The number of the network namespace this socket belongs to, never used again after it is gone. Undefined if the
   * kernel does not tell (it does from Linux 5.14 on).
   * @throws `sys/call`
   */
  netnsCookie(): bigint | undefined {
    const value = new BigUint64Array(new ArrayBuffer(8));
    const size = new Uint32Array(new ArrayBuffer(4)).fill(8);
    const result = tryCall((libc) => libc.getsockopt(this.#fd.raw, SOL_SOCKET, SO_NETNS_COOKIE, value, size));
    // Not to know it once and to know it another time would look like two namespaces.
    if (typeof result === "string" && result !== "ENOPROTOOPT")
      throw new NetError("sys/call", { call: "getsockopt", on: "SO_NETNS_COOKIE", errno: result });
    return result === 0 ? value[0] : undefined;
  }

  #option(level: number, name: number, value: number): void {
    setOption(this.#fd, level, name, Uint32Array.of(value));
  }

  #send(requests: readonly Request[]): number {
    const first = this.#seq;
    this.#seq += requests.length;
    const data = encodeRequests(requests, first);
    const kernel = encodeKernelAddress();
    call("sendto", requests[0]?.what ?? "netlink", (libc) =>
      Number(libc.sendto(this.#fd.raw, data, data, 0, kernel, kernel)),
    );
    return first;
  }

  #receive(what: string): Message[] {
    receiveBuffer ??= new Uint8Array(new ArrayBuffer(RECEIVE_BYTES));
    const buffer = receiveBuffer;
    const from = new Uint8Array(new ArrayBuffer(12));
    const fromSize = new Uint32Array(new ArrayBuffer(4));
    for (;;) {
      fromSize[0] = from.length;
      const size = call("recvfrom", what, (libc) =>
        Number(libc.recvfrom(this.#fd.raw, buffer, buffer, MSG_TRUNC, from, fromSize)),
      );
      if (size > buffer.length)
        throw new NetError("decode/malformed", { what, why: `the kernel's answer has ${size} bytes` });
      // Anything that does not come from the kernel (port 0) is a stranger's and is passed over.
      if (u32.get(viewOf(from), 4) === 0) return decodeMessages(buffer.subarray(0, size));
    }
  }
}

function refusal(what: string, ack: Ack): NetError<"netlink/refused"> {
  const errno = errnoName(ack.errno);
  return new NetError("netlink/refused", { request: what, errno, ...(ack.text ? { extack: ack.text } : {}) });
}

function raise(what: string, ack: Ack): void {
  if (ack.errno !== 0) throw refusal(what, ack);
}

/** `struct sockaddr_nl` (linux/netlink.h) of the kernel: port and groups zero. */
function encodeKernelAddress(groups = 0): Uint8Array {
  const address = new Uint8Array(new ArrayBuffer(12));
  address[0] = AF_NETLINK;
  viewOf(address).setUint32(8, groups, true);
  return address;
}

function setOption(fd: Fd, level: number, name: number, value: Uint32Array | BigInt64Array): void {
  call("setsockopt", `netlink option ${name}`, (libc) => libc.setsockopt(fd.raw, level, name, value, value));
}

/**
 * Opens a socket in the namespace that this thread is in. Every refusal on it carries the kernel's explanation. The
 * kernel lets nobody close a netfilter socket before it has freed what was removed from the rules, by whomever: a grace
 * period (6 to 16 ms, measured on Linux 6.18), for which neither the caller nor the end of the process has to wait.
 */
export function openNetlink(kind: keyof typeof protocol): NetlinkSocket {
  return new NetlinkSocket(openRaw(kind), kind === "netfilter" ? closeInBackground : undefined);
}

/** The descriptor itself, for those who only listen. `groups` is the bit mask of multicast groups. */
export function openRaw(kind: keyof typeof protocol, groups = 0, receiveBytes = 0): Fd {
  const fd = new Fd(
    call("socket", `netlink ${kind}`, (libc) =>
      libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol[kind]),
    ),
  );
  try {
    const on = Uint32Array.of(1);
    for (const name of [option.CAP_ACK, option.EXT_ACK]) setOption(fd, SOL_NETLINK, name, on);
    if (kind === "route") setOption(fd, SOL_NETLINK, option.STRICT_CHECK, on);
    if (receiveBytes > 0) setOption(fd, SOL_SOCKET, SO_RCVBUF, Uint32Array.of(receiveBytes));
    const timeval = new BigInt64Array(new ArrayBuffer(16));
    timeval[0] = BigInt(ANSWER_SECONDS);
    if (groups === 0) setOption(fd, SOL_SOCKET, SO_RCVTIMEO, timeval);
    else {
      const address = encodeKernelAddress(groups);
      call("bind", `netlink ${kind}`, (libc) => libc.bind(fd.raw, address, address));
    }
  } catch (e) {
    fd[Symbol.dispose]();
    throw e;
  }
  return fd;
}
