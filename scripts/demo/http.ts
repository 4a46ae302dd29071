/** The two ends of the demo's traffic, each a process of its own inside a container. */

/** What the server prints when it listens. */
export const LISTENING = "listening on port";
/** A container's first packet may wait for an address to be resolved; more than this is a fault. */
const TIMEOUT_MS = 5_000;

/** Serves HTTP on port 80 until the process is ended. */
export function serve(name: string): Promise<never> {
  const server = Bun.serve({
    port: 80,
    hostname: "0.0.0.0",
    development: false,
    fetch: (request, server) => {
      const from = server.requestIP(request)?.address ?? "somewhere";
      return new Response(`hello from ${name}: you asked ${new URL(request.url).host} and come from ${from}`);
    },
  });
  console.log(`${LISTENING} ${server.port}`);
  return new Promise<never>(() => {});
}

/** What the server at the address answers. */
export async function get(url: string): Promise<string> {
  // Without keep-alive: the second pass must not meet a connection of the first.
  const response = await fetch(url, {
    keepalive: false,
    headers: { connection: "close" },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  return response.text();
}

/** Prints what the server at the address answers. */
export async function fetchOnce(url: string): Promise<number> {
  console.log(await get(url));
  return 0;
}
