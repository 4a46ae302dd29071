/**
 * DHCPv6 on the wire: the conversations that a child has, over a socket bound to the interface's link-local address
 * (RFC 8415, section 18.2). Retransmission is that of section 15.
 */
import { NetError } from "../errors.ts";
import type { Ip } from "../net/ip.ts";
import { openUdpSocket, type UdpSocket } from "../sys/udp-socket.ts";
import type { NetnsRef, Terms6 } from "./model.ts";
import { random1, random32 } from "./exchange4.ts";
import { Gone, ipOf, isThere, linkLocal, type Place, prefixOf } from "./place.ts";
import type { Answer, HeldTask, Task } from "./task.ts";
import {
  type Answer6,
  answerOf,
  decode6,
  encode6,
  type Identity6,
  identityOf,
  isAnswer6,
  type Message6,
  OPTION6,
  question6,
  serverOf6,
  TYPE6,
} from "./v6-message.ts";

const CLIENT_PORT = 546;
const SERVER_PORT = 547;
/** All relays and servers on the link (RFC 8415, section 7.1). */
const ALL_SERVERS = "ff02::1:2";
/** Section 7.6, in milliseconds: first wait, longest wait, and how often at most (0: until the caller's time is over). */
const RETRANSMIT = {
  solicit: { firstMs: 1000, mostMs: 3_600_000, tries: 0 },
  request: { firstMs: 1000, mostMs: 30_000, tries: 10 },
  /** A renewal is asked for again by the daemon, later. */
  renew: { firstMs: 2000, mostMs: 2000, tries: 2 },
  release: { firstMs: 500, mostMs: 500, tries: 2 },
} as const;
/** Section 15: each wait is changed by up to a tenth, and doubled from one to the next. */
const JITTER = 0.1;
/** An ADVERTISE of this preference is taken at once; otherwise the first wait is for others (section 18.2.1). */
const HIGHEST_PREFERENCE = 255;
const LOOK_MS = 1000;

interface Asking {
  readonly socket: UdpSocket;
  readonly netns: NetnsRef;
  readonly who: Identity6;
  readonly more: readonly (readonly [number, Uint8Array])[];
}
interface Got {
  readonly message: Message6;
  readonly answer: Answer6;
  readonly sentMs: number;
}

/** Options of the client that exist in DHCPv6, in its form: host names and DHCPv4's numbers have no place there. */
function moreOptions(task: Task): Asking["more"] {
  const USER_CLASS = 77;
  return task.client.options
    .filter(([code]) => code === USER_CLASS)
    .map(([, hex]) => {
      // RFC 3004: one byte of length before each class; RFC 8415, section 21.15: two.
      const value = Uint8Array.fromHex(hex);
      const parts: Uint8Array[] = [];
      for (let at = 0; at < value.length; at += 1 + (value[at] ?? 0)) {
        const part = value.subarray(at + 1, at + 1 + (value[at] ?? 0));
        parts.push(Uint8Array.of(0, part.length), part);
      }
      return [OPTION6.userClass, Buffer.concat(parts)] as const;
    });
}

function openAsking(task: Task, place: Place): Asking {
  const socket = openUdpSocket(place.link, { ip: linkLocal(place), port: CLIENT_PORT });
  return { socket, netns: task.netns, who: identityOf(task.client.id), more: moreOptions(task) };
}

interface Ask {
  readonly type: number;
  readonly server?: Uint8Array;
  readonly address?: Ip;
  readonly wait: (typeof RETRANSMIT)[keyof typeof RETRANSMIT];
  readonly untilMs: number;
}

/**
 * Sends and receives until `take` is content with an answer, or the tries or the time are over. `sent` counts from 1; the
 * best of several answers is for `take` to keep.
 */
function converse(
  asking: Asking,
  ask: Ask,
  answerType: number,
  take: (got: Got, sent: number) => boolean,
  onSilence: () => boolean = () => false,
): void {
  const xid = random32() & 0xff_ffff;
  const { socket, who, more } = asking;
  const startedMs = performance.now();
  let waitMs: number = ask.wait.firstMs;
  for (let sent = 1; ask.wait.tries === 0 || sent <= ask.wait.tries; sent++) {
    const sentMs = performance.now();
    if (sentMs >= ask.untilMs) return;
    const { type, server, address } = ask;
    const message = question6({
      type,
      xid,
      who,
      more,
      elapsedMs: sentMs - startedMs,
      ...(server ? { server } : {}),
      ...(address ? { address } : {}),
    });
    socket.send(encode6(message), { ip: ipOf(ALL_SERVERS), port: SERVER_PORT });
    // The first SOLICIT waits longer than a second, never shorter (section 18.2.1).
    const jitter = type === TYPE6.solicit && sent === 1 ? random1() * JITTER : (random1() * 2 - 1) * JITTER;
    const until = Math.min(sentMs + waitMs * (1 + jitter), ask.untilMs);
    for (;;) {
      const got = nextAnswer(asking, answerType, xid, until);
      if (got === undefined) break;
      if (take({ ...got, sentMs }, sent)) return;
    }
    if (onSilence()) return;
    waitMs = Math.min(waitMs * 2, ask.wait.mostMs);
  }
}

/** The next answer to this exchange that can be read; undefined when the time is over. */
function nextAnswer(
  asking: Asking,
  type: number,
  xid: number,
  untilMs: number,
): Omit<Got, "sentMs"> | undefined {
  for (;;) {
    const left = untilMs - performance.now();
    const got = asking.socket.receive(Math.min(Math.max(left, 0), LOOK_MS));
    if (got === undefined) {
      if (left <= 0) return undefined;
      if (!isThere(asking.netns)) throw new Gone(`the network namespace at ${asking.netns.path} went away`);
      continue;
    }
    if (got.from.port !== SERVER_PORT) continue;
    try {
      const message = decode6(got.payload);
      if (isAnswer6(message, type, xid, asking.who))
        return { message, answer: answerOf(message, asking.who) };
    } catch (e) {
      if (!(e instanceof NetError && e.is("decode/malformed"))) throw e;
    }
  }
}

/** From SOLICIT to REPLY. */
export function acquire6(task: Task & { readonly kind: "acquire" }, place: Place): Answer {
  const untilMs = performance.now() + task.times.totalMs;
  const asking = openAsking(task, place);
  using _ = asking.socket;
  const wanted = task.wanted === undefined ? {} : { address: prefixOf(task.wanted).ip };
  let why = `no DHCPv6 server answered within ${Math.round(task.times.totalMs / 1000)} s`;
  while (performance.now() < untilMs) {
    const offer = solicit(asking, wanted, untilMs, (refusal) => (why = refusal));
    if (offer === undefined) break;
    const bound = request(asking, offer, untilMs);
    if (bound.kind === "granted")
      return {
        kind: "bound",
        terms: bound.terms,
        link: { index: place.link.index, mac: place.link.mac },
        ageMs: Math.round(performance.now() - bound.sentMs),
        ignored: [],
      };
    why = bound.why;
  }
  return { kind: "silent", why };
}

function solicit(
  asking: Asking,
  wanted: { readonly address?: Ip },
  untilMs: number,
  refused: (why: string) => void,
): Got | undefined {
  let best: Got | undefined;
  const preferenceOf = (got: Got | undefined): number =>
    got?.answer.kind === "granted" ? got.answer.preference : -1;
  converse(
    asking,
    { type: TYPE6.solicit, wait: RETRANSMIT.solicit, untilMs, ...wanted },
    TYPE6.advertise,
    (got, sent) => {
      if (got.answer.kind === "refused") {
        refused(`the DHCPv6 server refuses: ${got.answer.why}`);
        return false;
      }
      if (preferenceOf(got) > preferenceOf(best)) best = got;
      return sent > 1 || preferenceOf(best) === HIGHEST_PREFERENCE;
    },
    () => best !== undefined,
  );
  return best;
}

type Requested =
  | { readonly kind: "granted"; readonly terms: Terms6; readonly sentMs: number }
  | { readonly kind: "refused"; readonly why: string };

function request(asking: Asking, offer: Got, untilMs: number): Requested {
  const address = offer.answer.kind === "granted" ? prefixOf(offer.answer.terms.address).ip : undefined;
  let result: Requested = {
    kind: "refused",
    why: "the DHCPv6 server offered an address and then did not answer",
  };
  converse(
    asking,
    {
      type: TYPE6.request,
      server: serverOf6(offer.message),
      wait: RETRANSMIT.request,
      untilMs,
      ...(address ? { address } : {}),
    },
    TYPE6.reply,
    ({ answer, sentMs }) => {
      result =
        answer.kind === "granted"
          ? { kind: "granted", terms: answer.terms, sentMs }
          : { kind: "refused", why: `the DHCPv6 server refuses: ${answer.why}` };
      return true;
    },
  );
  return result;
}

/** Asks for more time: the server that gave the lease, or all of them. */
export function renew6(task: HeldTask, terms: Terms6, place: Place): Answer {
  const asking = openAsking(task, place);
  using _ = asking.socket;
  const rebinding = task.kind === "rebind";
  const address = prefixOf(terms.address).ip;
  let result: Answer = {
    kind: "silent",
    why: rebinding ? "no DHCPv6 server answered" : "the DHCPv6 server did not answer",
  };
  const server = rebinding ? {} : { server: Uint8Array.fromHex(terms.server) };
  converse(
    asking,
    {
      type: rebinding ? TYPE6.rebind : TYPE6.renew,
      address,
      wait: RETRANSMIT.renew,
      untilMs: Infinity,
      ...server,
    },
    TYPE6.reply,
    ({ answer, sentMs, message }) => {
      if (answer.kind === "refused") {
        // A server that has forgotten the lease may be asked for it anew (section 18.2.10.1).
        const again = answer.forgotten ? requestHeld(asking, serverOf6(message), address) : undefined;
        result = again ? { ...again, link: task.link } : { kind: "refused", why: answer.why };
        return true;
      }
      // Another address than the one in use is no renewal.
      if (answer.terms.address !== terms.address) return false;
      const ageMs = Math.round(performance.now() - sentMs);
      result = { kind: "bound", terms: answer.terms, link: task.link, ageMs, ignored: [] };
      return true;
    },
  );
  return result;
}

function requestHeld(
  asking: Asking,
  server: Uint8Array,
  address: Ip,
): Omit<Answer & { kind: "bound" }, "link"> | undefined {
  let found: Omit<Answer & { kind: "bound" }, "link"> | undefined;
  const untilMs = performance.now() + 3 * RETRANSMIT.request.firstMs;
  converse(
    asking,
    { type: TYPE6.request, server, address, wait: RETRANSMIT.request, untilMs },
    TYPE6.reply,
    ({ answer, sentMs }) => {
      if (answer.kind === "granted" && answer.terms.address === `${address.text}/128`)
        found = {
          kind: "bound",
          terms: answer.terms,
          ageMs: Math.round(performance.now() - sentMs),
          ignored: [],
        };
      return true;
    },
  );
  return found;
}

/** Gives the address back, and waits a moment for the server to say that it has it. */
export function release6(task: HeldTask, terms: Terms6, place: Place): Answer {
  const asking = openAsking(task, place);
  using _ = asking.socket;
  converse(
    asking,
    {
      type: TYPE6.release,
      server: Uint8Array.fromHex(terms.server),
      address: prefixOf(terms.address).ip,
      wait: RETRANSMIT.release,
      untilMs: Infinity,
    },
    TYPE6.reply,
    () => true,
  );
  return { kind: "done" };
}
