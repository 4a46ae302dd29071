/**
 * A plugin's side of the socket: one request, and the daemon's answer or a clear reason why there is none. It waits for a
 * slow DHCP server as long as the daemon says that it is at work, and not for a daemon that says nothing.
 */
import { NetError } from "../errors.ts";
import {
  decodeReply,
  encodeRequest,
  type LeaseView,
  LINE_BYTES,
  type Request,
  SILENCE_MS,
} from "./protocol.ts";

export const SOCKET_PATH = "/run/cni/dhcp.sock";

/** The daemon is not there; what that means depends on the verb. */
export class NotRunning extends Error {}

/** Attempts to connect, and the pause between: a daemon that is being replaced is back in a moment. */
const TRIES = 3;
const PAUSE_MS = 100;

/**
 * Asks the daemon.
 * @throws NotRunning if nobody listens, try-again if it is silent or ends meanwhile, or what it refuses with
 */
export async function askDaemon(path: string, request: Request): Promise<readonly LeaseView[]> {
  const line = encodeRequest(request);
  if (Buffer.byteLength(line) > LINE_BYTES)
    throw new NetError("config/invalid", {
      field: "ipam",
      why: `the request to the DHCP daemon is longer than ${LINE_BYTES} bytes`,
    });
  for (let tries = 1; ; tries++) {
    try {
      return await converse(path, line);
    } catch (e) {
      if (!(e instanceof NotRunning) || tries === TRIES) throw e;
      await Bun.sleep(PAUSE_MS);
    }
  }
}

async function converse(path: string, line: string): Promise<readonly LeaseView[]> {
  const answer = Promise.withResolvers<readonly LeaseView[]>();
  const fail = (why: string): void => answer.reject(new NetError("try-again", { why }));
  let silence: ReturnType<typeof setTimeout> | undefined;
  const listen = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => fail(`the DHCP daemon at ${path} does not answer`), SILENCE_MS);
  };
  let text = "";
  const decoder = new TextDecoder();
  const hear = (bytes: Uint8Array): void => {
    listen();
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const reply = decodeReply(text.slice(0, end));
      text = text.slice(end + 1);
      if (reply instanceof NetError) answer.reject(reply);
      else if (reply !== undefined) answer.resolve(reply);
    }
    if (text.length > LINE_BYTES) fail(`the DHCP daemon at ${path} says too much`);
  };
  let unsent: Uint8Array = Buffer.from(line);
  const flush = (socket: { write(data: Uint8Array): number }): void => {
    if (unsent.length > 0) unsent = unsent.subarray(Math.max(0, socket.write(unsent)));
  };
  let socket: { terminate(): void } | undefined;
  try {
    socket = await connect(path, {
      open: flush,
      drain: flush,
      data: (_, bytes) => {
        try {
          hear(bytes);
        } catch (e) {
          answer.reject(e);
        }
      },
      close: () => fail(`the DHCP daemon at ${path} ended before it answered`),
      error: (_, e) => fail(`the connection to the DHCP daemon at ${path} broke: ${e.message}`),
    });
    listen();
    return await answer.promise;
  } finally {
    clearTimeout(silence);
    socket?.terminate();
  }
}

async function connect(path: string, socket: Bun.SocketHandler<undefined>): Promise<{ terminate(): void }> {
  try {
    return await Bun.connect({ unix: path, socket });
  } catch (e) {
    const code = e instanceof Error && "code" in e ? String(e.code) : "";
    const why = code === "ENOENT" ? "there is no such socket" : `nobody listens (${code || String(e)})`;
    throw new NotRunning(
      `the dhcp daemon is not running at ${path}: ${why}; start it with: heddle dhcp-daemon`,
      {
        cause: e,
      },
    );
  }
}
