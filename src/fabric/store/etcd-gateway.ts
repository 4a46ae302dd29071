/**
 * Requests to the members of an etcd cluster over HTTP and JSON: which member is asked, for how long, how much of an answer
 * is read, and what its errors mean. Knows nothing of keys.
 */
import { isNetError, NetError } from "../../errors.ts";
import type { Tls } from "./etcd-tls.ts";
import { type Answer, exchange } from "./http.ts";
import { type Members, members, words } from "./shape.ts";

export interface GatewayOptions {
  /** The members' addresses, as `https://10.0.0.1:2379`. */
  readonly endpoints: readonly string[];
  readonly tls?: () => Tls;
  /** How long one member is waited for, in milliseconds. */
  readonly requestMs: number;
}

/** Most of an answer that is read, in bytes. */
export const ANSWER_LIMIT = 32 * 1024 * 1024;
/** How long a watch may be silent, in milliseconds: who watches asks himself whether it is alive. */
const FOREVER_MS = 2 ** 31 - 1;
/** Longest text of a server that is passed on, in characters. */
const WORDS_LIMIT = 300;

/** Numbers of errors, which are gRPC's. */
export const CODE = {
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** What a member answered instead of doing what was asked. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** A request that came to nothing at one member. `isSent`: it may have been done all the same. */
class Failure extends Error {
  override readonly name = "Failure";
  readonly isSent: boolean;
  constructor(why: string, isSent: boolean, options?: ErrorOptions) {
    super(why, options);
    this.isSent = isSent;
  }
}

/** An answer larger than what is read; a smaller page may fit. */
export class TooLarge extends Error {
  override readonly name = "TooLarge";
}

/** A read may be asked of one member after another; of a write that was sent nobody knows whether it is done. */
export type Kind = "read" | "write";

export interface Headers {
  readonly authorization?: string;
}

export class Gateway {
  readonly name: string;
  private readonly options: GatewayOptions;
  private readonly closing = new AbortController();
  /** The member that is asked first. */
  private first: number;

  constructor(options: GatewayOptions) {
    const parsed = options.endpoints.map(endpointOf);
    if (parsed.length === 0)
      throw new NetError("config/invalid", { field: "endpoints", why: "there must be at least one" });
    this.options = { ...options, endpoints: parsed };
    this.name = `etcd at ${parsed.join(", ")}`;
    // Clients that start together do not all lean on one member.
    this.first = Math.floor(Math.random() * parsed.length);
  }

  /** The member that is asked first. */
  get endpoint(): string {
    return this.options.endpoints[this.first] ?? "";
  }

  get signal(): AbortSignal {
    return this.closing.signal;
  }

  close(): void {
    this.closing.abort();
  }

  /** Asks another member first from now on, unless somebody has changed that already. */
  avoid(endpoint: string): void {
    if (this.endpoint === endpoint) this.first = (this.first + 1) % this.options.endpoints.length;
  }

  /**
   * The answer of the first member that gives one.
   * @throws Refusal, TooLarge, store/unavailable
   */
  async ask(path: string, body: unknown, kind: Kind, headers: Headers): Promise<Members> {
    const failures: string[] = [];
    for (const endpoint of this.inTurn()) {
      try {
        return await this.askMember(endpoint, path, body, headers);
      } catch (e) {
        if (!(e instanceof Failure)) throw e;
        failures.push(`${this.at(endpoint)}${e.message}`);
        this.avoid(endpoint);
        if (kind === "write" && e.isSent) break;
      }
    }
    throw this.unavailable(failures.join("; "));
  }

  private inTurn(): readonly string[] {
    const { endpoints } = this.options;
    return [...endpoints.slice(this.first), ...endpoints.slice(0, this.first)];
  }

  /** As `ask`, of one member alone. */
  async askAt(endpoint: string, path: string, body: unknown, headers: Headers): Promise<Members> {
    try {
      return await this.askMember(endpoint, path, body, headers);
    } catch (e) {
      throw e instanceof Failure ? this.unavailable(`${this.at(endpoint)}${e.message}`) : e;
    }
  }

  /**
   * The lines of an answer that goes on until the signal. It must begin in the time of a request.
   * @throws Refusal, store/unavailable
   */
  async *lines(
    endpoint: string,
    path: string,
    body: unknown,
    headers: Headers,
    signal: AbortSignal,
  ): AsyncGenerator<Members> {
    const until = AbortSignal.any([signal, this.signal]);
    try {
      using answer = await this.send(endpoint, path, body, headers, until, FOREVER_MS);
      for await (const line of linesOf(answer.body)) yield resultOf(line, answer.status);
    } catch (e) {
      if (e instanceof Refusal || isLasting(e)) throw e;
      throw this.unavailable(`${this.at(endpoint)}${textOf(e)}`, e);
    }
  }

  /** Which member an error is about, where there are several. */
  at(endpoint: string): string {
    return this.options.endpoints.length === 1 ? "" : `${endpoint}: `;
  }

  unavailable(why: string, cause?: unknown): NetError {
    const known = this.signal.aborted ? "it was closed" : why;
    return new NetError("store/unavailable", { store: this.name, why: known }, { cause });
  }

  private async askMember(endpoint: string, path: string, body: unknown, headers: Headers): Promise<Members> {
    const limit = AbortSignal.timeout(this.options.requestMs);
    const until = AbortSignal.any([limit, this.signal]);
    try {
      using answer = await this.send(endpoint, path, body, headers, until, this.options.requestMs);
      return resultOf(await textWithin(answer.body), answer.status);
    } catch (e) {
      if (e instanceof Refusal) throw passing(e) ?? e;
      if (e instanceof TooLarge || isLasting(e)) throw e;
      if (limit.aborted) throw new Failure(`no answer in ${this.options.requestMs} ms`, true, { cause: e });
      throw new Failure(textOf(e), !isUnsent(e), { cause: e });
    }
  }

  private send(
    endpoint: string,
    path: string,
    body: unknown,
    headers: Headers,
    signal: AbortSignal,
    idleMs: number,
  ): Promise<Answer> {
    const tls = this.options.tls?.();
    return exchange(
      { name: endpoint, url: new URL(endpoint), ...(tls && { tls }) },
      {
        method: "POST",
        path,
        // A member that has lost its cluster says so instead of serving what it had.
        headers: { "grpc-metadata-hasleader": "true", ...headers },
        body: { type: "application/json", text: JSON.stringify(body) },
        headWithinMs: this.options.requestMs,
        idleMs,
        signal,
      },
    );
  }
}

function endpointOf(text: string): string {
  const invalid = (why: string): NetError =>
    new NetError("config/invalid", { field: `endpoint ${text}`, why });
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw invalid("must be http://HOST:PORT or https://HOST:PORT");
  if (
    url.pathname !== "/" ||
    url.search !== "" ||
    url.hash !== "" ||
    url.username !== "" ||
    url.password !== ""
  )
    throw invalid("must have nothing but a scheme, a host and a port");
  return url.origin;
}

/** Of one answer, which may be a line of several. */
function resultOf(text: string, status: number): Members {
  const answer = members(jsonOf(text));
  if (answer === undefined) {
    if (status === 404)
      throw new Error("it has no JSON gateway below /v3: etcd 3.4 or newer has, unless it is switched off");
    throw new Error(status === 200 ? "the answer is no JSON object" : `it answered with status ${status}`);
  }
  const error = answer["error"];
  if (error !== undefined || status !== 200) throw refusalOf(answer, status);
  return members(answer["result"]) ?? answer;
}

/** Errors of requests are flat; those of streams stand in an object, whose code has changed its name. */
function refusalOf(answer: Members, status: number): Refusal {
  const inner = members(answer["error"]) ?? answer;
  const code = inner["grpc_code"] ?? inner["code"];
  const message = words(inner["message"]) ?? words(inner["error"]) ?? `status ${status}`;
  return new Refusal(typeof code === "number" ? code : -1, shown(message));
}

/** A refusal by which the next member may do better, as a failure. */
function passing(e: Refusal): Failure | undefined {
  if (e.code === CODE.resourceExhausted && e.message.includes("too many requests"))
    return new Failure(e.message, false);
  if (e.code === CODE.unavailable)
    return new Failure(e.message, !/no leader|not capable|learner/.test(e.message));
  return e.code < 0 || e.code === 13 || e.code === 4 || e.code === 1 || e.code === 2 || e.code === 15
    ? new Failure(e.message, true)
    : undefined;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Reads a whole body of bounded size. */
async function textWithin(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > ANSWER_LIMIT) throw new TooLarge(`an answer of more than ${ANSWER_LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** Splits a body at its line ends; no line is longer than an answer may be. */
async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; from = end + 1, end = chunk.indexOf(0x0a, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, end)]).toString();
      rest = [];
      size = 0;
    }
    size += chunk.length - from;
    if (size > ANSWER_LIMIT) throw new TooLarge(`a line of more than ${ANSWER_LIMIT} bytes`);
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (size > 0) yield Buffer.concat(rest).toString();
}

/** The errors of a connection that was never there; everything else may have come after the request. */
const UNSENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "EPROTO"]);

function isUnsent(e: unknown): boolean {
  const cause = e instanceof Error ? e.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return UNSENT.has(code) || /^(?:CERT_|ERR_TLS_)|_CERT|CERTIFICATE|SIGNATURE|ISSUER/.test(code);
}

/** What another member would not help against. */
const isLasting = (e: unknown): boolean => isNetError(e, "config/invalid") || isNetError(e, "store/denied");

function textOf(e: unknown): string {
  if (isNetError(e, "store/unavailable")) return e.detail.why;
  return shown(e instanceof Error ? e.message : String(e));
}

const shown = (text: string): string => text.slice(0, WORDS_LIMIT).replaceAll(/[^\x20-\x7e]/g, "?");
