/**
 * Getting a lease by DHCPv4, from the first DISCOVER to the ACK (RFC 2131, section 4.4.1), as a function of state and
 * event. Times are data: nothing here waits, sends or reads a clock, so that an hour is tested in a microsecond.
 */
import { NetError } from "../errors.ts";
import { type Ip, parseIp } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import type { Client } from "./model.ts";
import type { Message4 } from "./v4-message.ts";
import {
  type Granted,
  isHostAddress,
  messageText,
  messageType,
  OPTION,
  serverIdOf,
  termsOf,
  TYPE,
} from "./v4-options.ts";

/** How long things are tried, in milliseconds. */
export interface AcquireTimes {
  /** The whole of it. */
  readonly totalMs: number;
  /** The longest pause between two attempts. */
  readonly resendMaxMs: number;
  /** How long one server's offer is asked for before all servers are asked again. */
  readonly answerMs: number;
}

/** What stays the same for the whole exchange. */
export interface Acquire4 {
  readonly client: Client;
  readonly mac: Mac;
  readonly xid: number;
  /** An address that the client had before; a server need not give it. */
  readonly wanted?: Ip;
  readonly times: AcquireTimes;
  /** A number from 0 to 1, for pauses that differ from one client to the next. */
  readonly random: () => number;
}

type Phase =
  | { readonly kind: "selecting" }
  | {
      readonly kind: "requesting";
      readonly offer: { readonly address: Ip; readonly server: Ip };
      readonly sinceMs: number;
      /** When the latest REQUEST went: a lease's time counts from there. */
      readonly sentMs: number;
    };

export interface State4 {
  readonly phase: Phase;
  /** Attempts in this phase. */
  readonly tries: number;
  readonly startedMs: number;
  /** When the next attempt is due. */
  readonly nextMs: number;
}

export type Step4 =
  | { readonly kind: "go-on"; readonly state: State4; readonly send?: Message4 }
  | { readonly kind: "bound"; readonly granted: Granted; readonly sentMs: number }
  | { readonly kind: "given-up"; readonly why: string };

/** The first pauses are short, since the usual reason for no answer is a port that does not forward yet. */
const QUICK_TRIES = 4;
const QUICK_MS = 2000;
const SLOW_MS = 4000;
const JITTER_MS = 1000;

/** The pause after attempt `n`, counted from 0. */
export function pauseMs(n: number, resendMaxMs: number, random: () => number): number {
  const base = n < QUICK_TRIES ? QUICK_MS : Math.min(SLOW_MS * 2 ** (n - QUICK_TRIES), resendMaxMs);
  return Math.max(0, base + (random() * 2 - 1) * JITTER_MS);
}

export const startAcquire = (nowMs: number): State4 => ({
  phase: { kind: "selecting" },
  tries: 0,
  startedMs: nowMs,
  nextMs: nowMs,
});

/** What is due now: another attempt, or nothing, or the end. */
export function onTime(setup: Acquire4, state: State4, nowMs: number): Step4 {
  const { times } = setup;
  if (nowMs - state.startedMs >= times.totalMs) return { kind: "given-up", why: whyNothing(state, times) };
  if (nowMs < state.nextMs) return { kind: "go-on", state };
  const { phase } = state;
  if (phase.kind === "requesting" && nowMs - phase.sinceMs >= times.answerMs)
    return onTime(setup, { ...state, phase: { kind: "selecting" }, tries: 0 }, nowMs);
  const next = {
    ...state,
    phase: phase.kind === "requesting" ? { ...phase, sentMs: nowMs } : phase,
    tries: state.tries + 1,
    nextMs: nowMs + pauseMs(state.tries, times.resendMaxMs, setup.random),
  };
  return { kind: "go-on", state: next, send: messageOf(setup, next, nowMs) };
}

const whyNothing = ({ phase }: State4, { totalMs }: AcquireTimes): string =>
  phase.kind === "selecting"
    ? `no DHCP server answered within ${Math.round(totalMs / 1000)} s`
    : `the DHCP server ${phase.offer.server.text} offered ${phase.offer.address.text} and then did not answer`;

/** What a message from the network changes. Whatever is not an answer to this exchange changes nothing. */
export function onMessage(setup: Acquire4, state: State4, m: Message4, from: Mac, nowMs: number): Step4 {
  const unchanged: Step4 = { kind: "go-on", state };
  if (!isAnswer(m, setup)) return unchanged;
  try {
    const { phase } = state;
    const type = messageType(m);
    if (phase.kind === "selecting") {
      if (type !== TYPE.offer) return unchanged;
      const server = serverIdOf(m);
      if (server === undefined || !isHostAddress(m.yiaddr)) return unchanged;
      const offer = { address: m.yiaddr, server };
      const requesting = { kind: "requesting", offer, sinceMs: nowMs, sentMs: nowMs } as const;
      return onTime(setup, { ...state, phase: requesting, tries: 0, nextMs: nowMs }, nowMs);
    }
    if (serverIdOf(m)?.text !== phase.offer.server.text) return unchanged;
    // The server has given the address to somebody else meanwhile: all are asked again, after a pause.
    if (type === TYPE.nak) {
      const nextMs = nowMs + pauseMs(0, setup.times.resendMaxMs, setup.random);
      return { kind: "go-on", state: { ...state, phase: { kind: "selecting" }, tries: 1, nextMs } };
    }
    if (type !== TYPE.ack || m.yiaddr.text !== phase.offer.address.text) return unchanged;
    return { kind: "bound", granted: termsOf(m, from), sentMs: phase.sentMs };
  } catch (e) {
    if (e instanceof NetError && e.is("decode/malformed")) return unchanged;
    throw e;
  }
}

/** True for a server's answer to this client's latest question. */
export function isAnswer(
  m: Message4,
  { client, mac, xid }: { readonly client: Client; readonly mac: Mac; readonly xid: number },
): boolean {
  if (m.from !== "server" || m.xid !== xid || m.mac !== mac) return false;
  // A server that repeats the identifier (RFC 6842) repeats ours.
  const id = m.options.get(OPTION.clientId);
  return id === undefined || id.toHex() === client.id;
}

const UNSPECIFIED = ((): Ip => {
  const zero = parseIp("0.0.0.0");
  if (!zero.ok) throw new TypeError(zero.why);
  return zero.value;
})();

/** The largest message that is taken: a whole Ethernet packet (option 57). */
const MAXIMUM_BYTES = 1500;

export interface Question {
  readonly type: number;
  readonly client: Client;
  readonly mac: Mac;
  readonly xid: number;
  readonly seconds: number;
  /** Options of this kind of message, before the client's own. */
  readonly options: readonly (readonly [number, Uint8Array])[];
  /** The address, where the client has one. */
  readonly ciaddr?: Ip;
}

/** A message of the client. A RELEASE asks for nothing and says no more than who it is (RFC 2131, table 5). */
export function question({ type, client, mac, xid, seconds, options, ciaddr }: Question): Message4 {
  const asking = type !== TYPE.release;
  const maximum = Uint8Array.of(MAXIMUM_BYTES >> 8, MAXIMUM_BYTES & 0xff);
  return {
    from: "client",
    xid,
    seconds: Math.min(0xffff, Math.max(0, Math.floor(seconds))),
    broadcast: asking && ciaddr === undefined && client.broadcast,
    ciaddr: ciaddr ?? UNSPECIFIED,
    yiaddr: UNSPECIFIED,
    giaddr: UNSPECIFIED,
    mac,
    options: new Map<number, Uint8Array>([
      [OPTION.messageType, Uint8Array.of(type)],
      [OPTION.clientId, Uint8Array.fromHex(client.id)],
      ...options,
      ...(asking
        ? [
            [OPTION.maximumSize, maximum] as const,
            ...(client.request.length > 0
              ? [[OPTION.parameterRequest, Uint8Array.from(client.request)] as const]
              : []),
            ...client.options.map(([code, hex]) => [code, Uint8Array.fromHex(hex)] as const),
          ]
        : []),
    ]),
  };
}

function messageOf(setup: Acquire4, { phase, startedMs }: State4, nowMs: number): Message4 {
  const { client, mac, xid, wanted } = setup;
  const common = { client, mac, xid, seconds: (nowMs - startedMs) / 1000 };
  if (phase.kind === "selecting")
    return question({
      ...common,
      type: TYPE.discover,
      options: wanted ? [[OPTION.requestedAddress, wanted.bytes]] : [],
    });
  return question({
    ...common,
    type: TYPE.request,
    options: [
      [OPTION.requestedAddress, phase.offer.address.bytes],
      [OPTION.serverId, phase.offer.server.bytes],
    ],
  });
}

export type Renewal4 =
  | { readonly kind: "renewed"; readonly granted: Granted }
  | { readonly kind: "refused"; readonly why: string };

/** What an answer to a REQUEST from an address that is in use says; undefined if it is no answer to that. */
export function renewalOf(
  m: Message4,
  asked: { readonly client: Client; readonly mac: Mac; readonly xid: number; readonly address: Ip },
  serverMac: Mac,
): Renewal4 | undefined {
  if (!isAnswer(m, asked)) return undefined;
  try {
    const type = messageType(m);
    if (serverIdOf(m) === undefined) return undefined;
    if (type === TYPE.nak)
      return { kind: "refused", why: messageText(m) || "the server refuses the address" };
    if (type !== TYPE.ack || m.yiaddr.text !== asked.address.text) return undefined;
    return { kind: "renewed", granted: termsOf(m, serverMac) };
  } catch (e) {
    if (e instanceof NetError && e.is("decode/malformed")) return undefined;
    throw e;
  }
}
