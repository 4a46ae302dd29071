/** Health and metrics over HTTP, for supervisors and Prometheus: `/healthz`, `/readyz`, `/metrics`. Nothing can be changed here. */

export interface HttpSetup {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  readonly isReady: () => boolean;
  readonly metrics: () => string;
}

/** What is answered to a path, as status and text. */
export function answerTo(
  method: string,
  path: string,
  { isReady, metrics }: Pick<HttpSetup, "isReady" | "metrics">,
): { readonly status: number; readonly text: string; readonly type?: string } {
  const known = path === "/healthz" || path === "/readyz" || path === "/metrics";
  if (known && method !== "GET" && method !== "HEAD") return { status: 405, text: "only GET and HEAD\n" };
  if (path === "/healthz") return { status: 200, text: "ok\n" };
  if (path === "/readyz")
    return isReady() ? { status: 200, text: "ok\n" } : { status: 503, text: "not ready\n" };
  if (path === "/metrics")
    return { status: 200, text: metrics(), type: "text/plain; version=0.0.4; charset=utf-8" };
  return { status: 404, text: "there are /healthz, /readyz and /metrics\n" };
}

/** Serves until stopped. @throws an Error of the system if the address is taken */
export function serveHttp(setup: HttpSetup): { readonly port: number; stop(): void } {
  const server = Bun.serve({
    hostname: setup.host,
    port: setup.port,
    idleTimeout: 10,
    maxRequestBodySize: 1024,
    fetch: (request) => {
      const {
        status,
        text,
        type = "text/plain; charset=utf-8",
      } = answerTo(request.method, new URL(request.url).pathname, setup);
      return new Response(text, { status, headers: { "content-type": type } });
    },
  });
  return { port: server.port ?? setup.port, stop: () => void server.stop(true) };
}
