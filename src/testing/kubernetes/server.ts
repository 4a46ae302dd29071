/**
 * A stand-in for the Kubernetes API server, for the kinds that the fabric uses: revisions, optimistic concurrency, pages, watches
 * with bookmarks, patches, a status of its own, client certificates, tokens and roles. What the real one has beside that
 * (server-side apply, dry runs, defaults, admission, controllers) is refused or absent. kubectl is its witness.
 */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { createServer as createTlsServer, TLSSocket } from "node:tls";
import type { Identity } from "../x509.ts";
import { ANONYMOUS, authenticated, type User } from "./access.ts";
import { ApiError, unauthorized } from "./api-error.ts";
import { serveRequest } from "./requests.ts";
import { createStore, type Store } from "./store.ts";
import { createObject } from "./write.ts";
import { resourceOf } from "./resources.ts";
import type { JsonObject } from "./json.ts";

/** What a test makes of a request instead of an answer. */
export type Fault =
  | {
      readonly kind: "status";
      readonly code: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: JsonObject;
    }
  /** These bytes in the place of an answer, then the end; `later` comes in a piece of its own. */
  | { readonly kind: "bytes"; readonly text: string; readonly later?: string }
  /** Nothing, until somebody gives up. */
  | { readonly kind: "silence" };

export interface Asked {
  readonly method: string;
  /** With its query. */
  readonly url: string;
  readonly user: string;
}

export interface ApiServerOptions {
  /** An address of this host; 127.0.0.1 unless told. */
  readonly host?: string;
  /** 0: any free one. */
  readonly port?: number;
  readonly identity: Identity;
  /** In PEM: whose client certificates are believed. */
  readonly clientAuthority: string;
  readonly tokens?: ReadonlyMap<string, User>;
  /** Carried over from a server that was stopped. */
  readonly store?: Store;
  readonly bookmarkEveryMs?: number;
}

export interface ApiServer extends AsyncDisposable {
  /** `https://127.0.0.1:PORT` */
  readonly url: string;
  readonly port: number;
  readonly store: Store;
  /** Every request that was understood, in order. */
  readonly asked: readonly Asked[];
  /** Looks at each request before it is served; `undefined` lets it through. */
  fault: ((asked: Asked) => Fault | undefined) | undefined;
  /** Writes without asking who it is: what a controller of the cluster would do. */
  create(group: string, plural: string, object: JsonObject): JsonObject;
  /** Cuts all connections, as a load balancer does that is restarted. */
  cut(): void;
}

/** Starts a server. It stops, with all its connections, at the end of the block; the store outlives it. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const store = options.store ?? newCluster();
  const asked: Asked[] = [];
  const sockets = new Set<Socket>();
  const http = createHttpServer((request, answer) => {
    void serve(request, answer).catch(() => answer.destroy());
  });
  const tls = createTlsServer(
    {
      cert: options.identity.certificate,
      key: options.identity.key,
      ca: options.clientAuthority,
      requestCert: true,
      // Who brings none, or a foreign one, gets an answer that says so.
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
    },
    (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      http.emit("connection", socket);
    },
  );
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  tls.once("error", reject);
  tls.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
  await promise;
  const { port, address } = tls.address() as AddressInfo;

  async function serve(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const user = userOf(request, options.tokens);
    const seen = { method: request.method ?? "", url: request.url ?? "", user: user?.name ?? "" };
    asked.push(seen);
    const fault = server.fault?.(seen);
    if (fault !== undefined) return misbehave(fault, request, answer);
    try {
      if (user === undefined) throw unauthorized();
      await serveRequest(store, user, request, answer, options.bookmarkEveryMs ?? 60_000);
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      const retry = e.code === 504 ? { "retry-after": "1" } : {};
      answer.writeHead(e.code, { "content-type": "application/json", ...retry });
      answer.end(JSON.stringify(e.body));
    }
  }
  const server: ApiServer = {
    url: `https://${address.includes(":") ? `[${address}]` : address}:${port}`,
    port,
    store,
    asked,
    fault: undefined,
    create: (group, plural, object) => {
      const resource = resourceOf(group, plural);
      if (resource === undefined) throw new Error(`no resource ${plural}`);
      const { metadata } = object as { readonly metadata?: { readonly namespace?: string } };
      const target = { resource, namespace: metadata?.namespace ?? "", name: "" };
      return createObject(store, target, object, "Strict").object;
    },
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      tls.close(() => closed.resolve());
      server.cut();
      await closed.promise;
    },
  };
  return server;
}

/** A cluster as it is when it begins. */
export function newCluster(): Store {
  const store = createStore();
  const resource = resourceOf("", "namespaces");
  if (resource === undefined) throw new Error("no namespaces");
  for (const name of ["default", "kube-system"])
    createObject(store, { resource, namespace: "", name: "" }, { metadata: { name } }, "Strict");
  return store;
}

/** Undefined: there is something that should say who calls, and it is wrong. */
function userOf(request: IncomingMessage, tokens: ReadonlyMap<string, User> = new Map()): User | undefined {
  const { socket } = request;
  const subject = socket instanceof TLSSocket ? socket.getPeerCertificate()?.subject : undefined;
  const { CN, O } = (subject ?? {}) as { readonly CN?: string; readonly O?: string | readonly string[] };
  if (CN !== undefined && socket instanceof TLSSocket && socket.authorized)
    return authenticated(CN, O === undefined ? [] : [O].flat());
  const { authorization } = request.headers;
  if (authorization !== undefined) return tokens.get(/^Bearer (\S+)$/i.exec(authorization)?.[1] ?? "");
  return CN === undefined ? ANONYMOUS : undefined;
}

function misbehave(fault: Fault, request: IncomingMessage, answer: ServerResponse): void {
  if (fault.kind === "status")
    answer
      .writeHead(fault.code, fault.headers ?? {})
      .end(fault.body === undefined ? undefined : JSON.stringify(fault.body));
  else if (fault.kind === "bytes") {
    const { socket } = request;
    const { text, later } = fault;
    if (later === undefined) socket.end(text);
    else socket.write(text, () => setTimeout(() => socket.end(later), 20));
  }
}
