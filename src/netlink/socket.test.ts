/**
 * The conversation with a kernel that misbehaves on cue: the other end of a pair of sockets, which answers before it is
 * asked. A real kernel interrupts a dump only by chance.
 */
import { dlopen } from "bun:ffi";
import { describe, expect } from "bun:test";
import { writeSync } from "node:fs";
import { isNetError } from "../errors.ts";
import { Fd } from "../sys/fd.ts";
import { viewOf } from "../wire/fixed.ts";
import { testWith } from "../testing/needs.ts";
import { NLM_F, NLMSG, nlmsghdr } from "./message.ts";
import { NetlinkSocket } from "./socket.ts";

const test = testWith({});
const AF_UNIX = 1;
/** Keeps datagrams apart and, unlike SOCK_DGRAM, takes no notice of an address that is sent to. */
const SOCK_SEQPACKET = 5;
const EINTR = 4;
const EPERM = 1;
const ITEM = 16;

const ask = { type: 18, flags: 0, body: new Uint8Array(16), what: "RTM_GETLINK all" };

interface Part {
  readonly seq: number;
  readonly type: number;
  readonly flags?: number;
  readonly body?: Uint8Array;
}
const item = (seq: number, n: number, flags = 0): Part => ({
  seq,
  type: ITEM,
  flags: NLM_F.MULTI | flags,
  body: Uint8Array.of(n, 0, 0, 0),
});
const number = (n: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setInt32(0, n, true);
  return bytes;
};
const done = (seq: number, flags = 0, errno = 0): Part => ({
  seq,
  type: NLMSG.DONE,
  flags: NLM_F.MULTI | flags,
  body: number(-errno),
});
const refused = (seq: number, errno: number): Part => ({
  seq,
  type: NLMSG.ERROR,
  body: Uint8Array.of(...number(-errno), ...new Uint8Array(16)),
});

function datagram(parts: readonly Part[]): Uint8Array {
  const messages = parts.map(({ seq, type, flags = 0, body = new Uint8Array() }) => {
    const bytes = new Uint8Array(nlmsghdr.size + body.length);
    nlmsghdr.set(viewOf(bytes), 0, { length: bytes.length, type, flags, seq, pid: 0 });
    bytes.set(body, nlmsghdr.size);
    return bytes;
  });
  return Buffer.concat(messages);
}

/** A socket whose kernel will say these datagrams, one after the other. */
function socketThatHears(...answers: readonly (readonly Part[])[]): Disposable & { socket: NetlinkSocket } {
  const libc = dlopen("libc.so.6", {
    socketpair: { args: ["i32", "i32", "i32", "buffer"], returns: "i32" },
  });
  const fds = new Int32Array(new ArrayBuffer(8));
  const result = libc.symbols.socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds);
  libc.close();
  if (result !== 0) throw new Error("socketpair failed");
  const stack = new DisposableStack();
  const kernel = stack.use(new Fd(fds[0] ?? -1));
  const socket = stack.use(new NetlinkSocket(new Fd(fds[1] ?? -1)));
  for (const answer of answers) writeSync(kernel.raw, datagram(answer));
  return { socket, [Symbol.dispose]: () => stack.dispose() };
}

const dumped = (socket: NetlinkSocket): number[] => socket.dump(ask).map((m) => m.body[0] ?? -1);

describe("a dump", () => {
  test("comes in several datagrams and ends with its last message", () => {
    using on = socketThatHears([item(1, 1), item(1, 2)], [item(1, 3), done(1)]);
    expect(dumped(on.socket)).toEqual([1, 2, 3]);
  });

  test("passes over answers to an earlier question", () => {
    using on = socketThatHears([item(0, 7), done(0)], [item(1, 1), done(1)]);
    expect(dumped(on.socket)).toEqual([1]);
  });

  test.each([
    ["in the middle", [[item(1, 1, NLM_F.DUMP_INTR)], [item(1, 2), done(1)]]],
    ["at the end", [[item(1, 1)], [done(1, NLM_F.DUMP_INTR)]]],
    ["by the error of its end", [[item(1, 1), done(1, 0, EINTR)]]],
    ["by an error in place of an answer", [[refused(1, EINTR)]]],
  ])("that is interrupted %s is asked for again, and nothing of the first is kept", (_, first) => {
    using on = socketThatHears(...first, [item(2, 8), item(2, 9), done(2)]);
    expect(dumped(on.socket)).toEqual([8, 9]);
  });

  test("that is interrupted eight times fails instead of giving a part", () => {
    const tries = Array.from({ length: 8 }, (_, i) => [item(i + 1, i, NLM_F.DUMP_INTR), done(i + 1)]);
    using on = socketThatHears(...tries, [item(9, 9), done(9)]);
    let thrown: unknown;
    try {
      dumped(on.socket);
    } catch (e) {
      thrown = e;
    }
    expect(isNetError(thrown, "netlink/interrupted") && thrown.detail).toEqual({
      request: ask.what,
      tries: 8,
    });
  });

  test.each([
    ["at once", [refused(1, EPERM)]],
    ["at its end", [item(1, 1), done(1, 0, EPERM)]],
  ])("that is refused %s throws the name of the error", (_, answer) => {
    using on = socketThatHears(answer);
    expect(() => on.socket.dump(ask)).toThrow("RTM_GETLINK all: EPERM");
  });
});

describe("a batch", () => {
  const set = (n: number) => ({ type: 28, flags: 0, body: new Uint8Array(12), what: `RTM_NEWNEIGH ${n}` });
  const accepted = (seq: number): Part => ({ seq, type: NLMSG.ERROR, body: new Uint8Array(20) });

  test("is done when its last request is answered, without a word about those before", () => {
    using on = socketThatHears([accepted(3)]);
    expect(on.socket.batch([set(1), set(2), set(3)]).size).toBe(0);
  });

  test("goes on after a refusal, and tells each by its place", () => {
    using on = socketThatHears([refused(1, EPERM)], [refused(0, EPERM)], [refused(3, EPERM)]);
    const told = on.socket.batch([set(1), set(2), set(3)]);
    expect([...told].map(([at, why]) => [at, why.message])).toEqual([
      [0, "RTM_NEWNEIGH 1: EPERM"],
      [2, "RTM_NEWNEIGH 3: EPERM"],
    ]);
  });

  test("of more requests than go into a datagram is sent in several", () => {
    using on = socketThatHears([accepted(128)], [refused(129, EPERM)], [accepted(130)]);
    const told = on.socket.batch(Array.from({ length: 130 }, (_, i) => set(i)));
    expect([...told.keys()]).toEqual([128]);
  });

  test("of nothing is done at once", () => {
    using on = socketThatHears();
    expect(on.socket.batch([]).size).toBe(0);
  });
});
