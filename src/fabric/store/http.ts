/**
 * One exchange with a server of a store over a connection of its own. `node:https` and not `fetch`: that sends what it is
 * given through whatever proxy the environment names (decision 23). Everything is bounded: the head by the parser, the time
 * until it comes and between two pieces of the body by timers, the body by who reads it.
 */
import { type ClientRequest, type IncomingMessage, request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";
import { NetError } from "../../errors.ts";

export interface Server {
  /** What errors call it. */
  readonly name: string;
  /** Its path stands before that of every exchange. */
  readonly url: URL;
  /** All in PEM. */
  readonly tls?: {
    /** Absent: the system's authorities. */
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    /** Absent: the host of the address. */
    readonly serverName?: string;
  };
}

export interface Exchange {
  readonly method: "GET" | "PATCH" | "POST" | "DELETE";
  /** With its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: { readonly type: string; readonly text: string };
  /** Milliseconds until the head of the answer is here, connecting included. */
  readonly headWithinMs: number;
  /** Milliseconds that may pass without a byte of the body; at most 2^31 - 1. */
  readonly idleMs: number;
  readonly signal?: AbortSignal;
}

export interface Answer extends Disposable {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  /** The bytes of the body as they come; ends with store/unavailable if they stop before they should. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * @throws store/unavailable if there is no answer, store/denied if the certificates cannot be used; the signal's reason if
 * it fired
 */
export async function exchange(server: Server, options: Exchange): Promise<Answer> {
  options.signal?.throwIfAborted();
  const failure = (why: string, cause?: unknown): NetError =>
    new NetError("store/unavailable", { store: server.name, why }, { cause });
  const late = (ms: number): NetError => failure(`no answer within ${ms / 1000} s`);
  const outgoing = begin(server, options);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  outgoing.on("response", resolve);
  // Errors that come later are told by the body.
  outgoing.on("error", (e) => reject(failure(sentenceOf(e), e)));
  const cancel = (): void => {
    reject(options.signal?.reason);
    outgoing.destroy();
  };
  options.signal?.addEventListener("abort", cancel, { once: true });
  const timer = setTimeout(() => {
    reject(late(options.headWithinMs));
    outgoing.destroy();
  }, options.headWithinMs);
  const end = (): void => {
    options.signal?.removeEventListener("abort", cancel);
    outgoing.destroy();
  };
  try {
    outgoing.end(options.body?.text);
    const incoming = await promise;
    // Whoever reads the body is told there; a body that nobody reads may end as it likes.
    incoming.on("error", () => undefined);
    return {
      status: incoming.statusCode ?? 0,
      header: (name) => [incoming.headers[name]].flat()[0],
      body: bodyOf(incoming, options, failure),
      [Symbol.dispose]: end,
    };
  } catch (e) {
    end();
    throw e;
  } finally {
    clearTimeout(timer);
  }
}

function begin({ name, url, tls = {} }: Server, { method, path, headers, body }: Exchange): ClientRequest {
  const isIp6 = url.hostname.startsWith("[");
  const options = {
    method,
    host: isIp6 ? url.hostname.slice(1, -1) : url.hostname,
    port: url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port),
    path: `${url.pathname.replace(/\/$/, "")}${path}`,
    agent: false,
    headers: {
      accept: "application/json",
      "user-agent": "heddle",
      ...headers,
      ...(body === undefined
        ? {}
        : { "content-type": body.type, "content-length": String(Buffer.byteLength(body.text)) }),
    },
  } as const;
  if (url.protocol === "http:") return plainRequest(options);
  const { serverName, ...material } = tls;
  try {
    return tlsRequest({
      ...options,
      ...material,
      minVersion: "TLSv1.2",
      rejectUnauthorized: true,
      ...(serverName === undefined ? {} : { servername: serverName }),
    });
  } catch (e) {
    // Certificates and keys are read here for the first time.
    const why = `the certificates cannot be used: ${sentenceOf(e)}`;
    throw new NetError("store/denied", { store: name, why }, { cause: e });
  }
}
async function* bodyOf(
  incoming: IncomingMessage,
  { idleMs, signal }: Exchange,
  failure: (why: string, cause?: unknown) => NetError,
): AsyncGenerator<Uint8Array> {
  let silent = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const listen = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      silent = true;
      incoming.destroy();
    }, idleMs);
  };
  listen();
  try {
    for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
      // Who takes a piece may work on it for long.
      clearTimeout(timer);
      yield chunk;
      listen();
    }
    if (!incoming.complete && !silent) throw failure("the answer breaks off");
  } catch (e) {
    signal?.throwIfAborted();
    if (silent || e instanceof NetError) throw silent ? failure(`nothing came for ${idleMs / 1000} s`) : e;
    throw failure(`the answer breaks off: ${sentenceOf(e)}`, e);
  } finally {
    clearTimeout(timer);
    incoming.destroy();
  }
}

/** An error of the network or of TLS, in a few words. */
function sentenceOf(e: unknown): string {
  const { code, message } = e as { readonly code?: unknown; readonly message?: unknown };
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: "nobody listens there",
    ECONNRESET: "the connection was cut",
    ENOTFOUND: "the name is not known",
    EAI_AGAIN: "the name could not be looked up",
    SELF_SIGNED_CERT_IN_CHAIN: "the server's certificate is signed by an authority that is not trusted",
    DEPTH_ZERO_SELF_SIGNED_CERT: "the server's certificate is signed by itself",
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the server's certificate is signed by an authority that is not trusted",
    UNABLE_TO_GET_ISSUER_CERT: "the server's certificate is signed by an authority that is not trusted",
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
      "the server's certificate is signed by an authority that is not trusted",
    CERT_SIGNATURE_FAILURE: "the server's certificate is signed by an authority that is not trusted",
    CERT_HAS_EXPIRED: "the server's certificate has expired",
    ERR_TLS_CERT_ALTNAME_INVALID: "the server's certificate is for other names (tls-server-name names one)",
  };
  const name = typeof code === "string" ? code : "";
  const said = typeof message === "string" ? message : String(e);
  return known[name] === undefined ? said.slice(0, 200) : `${known[name]} (${name})`;
}
