import { NetError } from "../errors.ts";
import { connectUnix, type UnixStream } from "../sys/unix-socket.ts";
import { DecodeError } from "../wire/attrs.ts";
import { systemBusSockets } from "./address.ts";
import {
  type BusMessage,
  type BusValue,
  decodeMessage,
  encodeCall,
  messageBytes,
  type MethodCall,
} from "./message.ts";

/**
 * A connection to the system bus for a few questions, each waited for: authentication as the user of the process, then
 * calls, one after the other. Signals are passed over.
 */
export interface Bus extends Disposable {
  /** Calls a method. An error that the service answers with is a value; a bus that fails is thrown. */
  call(call: MethodCall): Reply;
  /** Whether somebody owns the name now. A service that the bus could start is not started. */
  hasOwner(name: string): boolean;
}

export type Reply =
  | { readonly kind: "return"; readonly values: readonly BusValue[] }
  | { readonly kind: "error"; readonly name: string; readonly message: string };

/** The time limit of libdbus for an answer. */
const ANSWER_SECONDS = 25;
const RECEIVE_BYTES = 64 * 1024;
const BUS = {
  destination: "org.freedesktop.DBus",
  path: "/org/freedesktop/DBus",
  interface: "org.freedesktop.DBus",
};

/**
 * Opens the system bus at `DBUS_SYSTEM_BUS_ADDRESS`, or where it usually is; undefined if nobody listens there. Throws
 * `program/failed` if the bus refuses this user or speaks something else.
 */
export function openSystemBus(
  env: Readonly<Record<string, string | undefined>> = process.env,
): Bus | undefined {
  for (const path of systemBusSockets(env)) {
    const stream = connectUnix(path, ANSWER_SECONDS);
    if (stream !== undefined) return connected(stream);
  }
  return undefined;
}

const failed = (why: string, cause?: unknown): NetError<"program/failed"> =>
  new NetError("program/failed", { program: "D-Bus system bus", why }, { cause });

function connected(stream: UnixStream): Bus {
  let serial = 0;
  let received = new Uint8Array(0);
  const more = (): void => {
    const now = stream.receive(RECEIVE_BYTES);
    const all = new Uint8Array(received.length + now.length);
    all.set(received);
    all.set(now, received.length);
    received = all;
  };
  const message = (): BusMessage => {
    for (;;) {
      const bytes = messageBytes(received);
      if (bytes !== undefined && received.length >= bytes) {
        const one = decodeMessage(received.subarray(0, bytes));
        received = received.slice(bytes);
        return one;
      }
      more();
    }
  };
  const exchange = (call: MethodCall): Reply => {
    const mine = ++serial;
    stream.send(encodeCall(call, mine));
    for (;;) {
      const m = message();
      if (m.replyTo !== mine || (m.kind !== "return" && m.kind !== "error")) continue;
      if (m.kind === "return") return { kind: "return", values: m.values };
      return { kind: "error", name: m.errorName, message: String(m.values[0] ?? "") };
    }
  };
  const guarded = (call: MethodCall): Reply => {
    try {
      return exchange(call);
    } catch (e) {
      if (e instanceof DecodeError) throw failed(e.message, e);
      const late = e instanceof NetError && e.is("sys/call") && e.detail.errno === "EAGAIN";
      if (late) throw failed(`no answer to ${call.member} within ${ANSWER_SECONDS} s`, e);
      throw e;
    }
  };
  const asked = (member: string, ...args: readonly string[]): BusValue | undefined => {
    const reply = guarded({ ...BUS, member, args });
    if (reply.kind === "error") throw failed(`${member}: ${reply.message}`);
    return reply.values[0];
  };
  try {
    authenticate(stream);
    asked("Hello");
  } catch (e) {
    stream[Symbol.dispose]();
    throw e;
  }
  return {
    call: guarded,
    hasOwner: (name) => asked("NameHasOwner", name) === true,
    [Symbol.dispose]: () => stream[Symbol.dispose](),
  };
}

/** EXTERNAL: the kernel tells the bus who is at the other end ("Authentication Protocol"). */
function authenticate(stream: UnixStream): void {
  const uid = Buffer.from(String(process.geteuid?.() ?? 0)).toString("hex");
  const encoder = new TextEncoder();
  stream.send(encoder.encode(`\0AUTH EXTERNAL ${uid}\r\n`));
  let answer = "";
  while (!answer.endsWith("\r\n")) answer += new TextDecoder().decode(stream.receive(512));
  if (!answer.startsWith("OK ")) throw failed(`it refuses this user: ${answer.trim()}`);
  stream.send(encoder.encode("BEGIN\r\n"));
}
