/**
 * What a plugin and the daemon say to one another over the Unix socket: one line of JSON each way. While the daemon works it
 * sends a line now and then, so that a plugin knows a slow DHCP server from a dead daemon.
 */
import { type Decode, decodeAs, list, object, oneOf, parseJson, required, text } from "../cni/json.ts";
import { type Detail, type ErrorCode, NetError } from "../errors.ts";
import {
  type Client,
  familyName,
  type LeaseKey,
  type NetnsRef,
  readClient,
  readFamilyName,
  readKey,
  readNetns,
  readTerms,
  type Terms,
} from "./model.ts";

/** The longest line either side sends, in bytes. */
export const LINE_BYTES = 256 * 1024;
/** The daemon says that it is alive this often, and is taken for dead after several times that. */
export const HEARTBEAT_MS = 3000;
export const SILENCE_MS = 30_000;

export type Request =
  | {
      readonly op: "acquire";
      readonly key: LeaseKey;
      readonly netns: NetnsRef;
      readonly client: Client;
      readonly families: readonly (4 | 6)[];
    }
  | { readonly op: "release" | "show"; readonly key: LeaseKey }
  /** Releases what the network has besides these. */
  | {
      readonly op: "retain";
      readonly network: string;
      readonly valid: readonly Omit<LeaseKey, "network">[];
    }
  | { readonly op: "ping" };

/** A lease as a plugin sees it. */
export interface LeaseView {
  readonly terms: Terms;
  readonly over?: string;
}

const readOp = object({ op: required(oneOf("acquire", "release", "show", "retain", "ping")) });
const readAcquire = object({
  key: required(readKey),
  netns: required(readNetns),
  client: required(readClient),
  families: required(list(readFamilyName)),
});
const readKeyed = object({ key: required(readKey) });
const readRetain = object({
  network: required(text),
  valid: required(list(object({ containerId: required(text), ifname: required(text) }))),
});

/** @throws decode/malformed */
export function decodeRequest(line: string): Request {
  const what = "request to the DHCP daemon";
  const value = parseJson(line, what);
  const { op } = decodeAs(what, readOp, value);
  switch (op) {
    case "acquire": {
      const { families, ...rest } = decodeAs(what, readAcquire, value);
      return { op, ...rest, families: families.map((name) => (name === "ipv4" ? 4 : 6)) };
    }
    case "release":
    case "show":
      return { op, ...decodeAs(what, readKeyed, value) };
    case "retain":
      return { op, ...decodeAs(what, readRetain, value) };
    case "ping":
      return { op };
  }
}

export function encodeRequest(request: Request): string {
  const families = request.op === "acquire" ? { families: request.families.map((f) => familyName[f]) } : {};
  return `${JSON.stringify({ ...request, ...families })}\n`;
}

/** The line that means "still at work". */
export const HEARTBEAT = '{"working":true}\n';

const readStart: Decode<{ readonly working?: unknown; readonly ok?: unknown }> = object({
  working: (v) => v,
  ok: (v) => v,
});
const readLeases = object({
  leases: required(list(object({ terms: required(readTerms), over: text }))),
});
const readRefusal = object({ code: required(text), detail: (v) => v, message: text });

/**
 * The daemon's answer in a line, or undefined for a line that says that it is at work. A refusal becomes the same error
 * here that it was there.
 * @throws decode/malformed if it is no answer
 */
export function decodeReply(line: string): readonly LeaseView[] | NetError | undefined {
  const what = "answer of the DHCP daemon";
  const value = parseJson(line, what);
  const start = decodeAs(what, readStart, value);
  if (start.working === true) return undefined;
  if (start.ok === true) return decodeAs(what, readLeases, value).leases;
  const { code, detail, message = code } = decodeAs(what, readRefusal, value);
  return remoteError(code, detail, message);
}

/** Codes that cross from one process to another; of an unknown one the sentence is kept. */
const REMOTE: readonly ErrorCode[] = [
  "try-again",
  "ipam/taken",
  "netns/invalid",
  "netlink/refused",
  "config/invalid",
  "config/unsupported",
  "decode/malformed",
  "feature/missing",
  "sys/call",
];

/** An error that another process told of. */
export function remoteError(code: string, detail: unknown, message: string): NetError {
  const known = REMOTE.find((c) => c === code);
  const fits = typeof detail === "object" && detail !== null;
  if (known !== undefined && fits) return new NetError(known, detail as Detail[typeof known]);
  return new NetError("program/failed", { program: "heddle dhcp-daemon", why: message });
}

export const encodeLeases = (leases: readonly LeaseView[]): string =>
  `${JSON.stringify({ ok: true, leases })}\n`;

export function encodeFailure(e: unknown): string {
  const message = e instanceof Error ? e.message : String(e);
  const { code, detail } = e instanceof NetError ? e : { code: "program/failed", detail: undefined };
  return `${JSON.stringify({ ok: false, code, detail, message })}\n`;
}
