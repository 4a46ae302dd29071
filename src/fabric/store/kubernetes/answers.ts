/** What the API server answered: bodies and lines up to a bound, and its refusals as errors of ours. */
import { NetError } from "../../../errors.ts";
import { type Members, members, words } from "../shape.ts";
import type { Answer } from "../http.ts";

/** A page of 200 nodes, each with the names of 50 images, has about 5 megabytes. */
export const BODY_BYTES = 64 * 1024 * 1024;
/** An object has at most 1.5 megabytes in etcd. */
export const LINE_BYTES = 4 * 1024 * 1024;

/** The whole body as JSON. @throws store/unavailable if it is too long or no JSON object */
export async function jsonBody(store: string, answer: Answer, limit = BODY_BYTES): Promise<Members> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body) {
    size += chunk.length;
    if (size > limit) throw unusable(store, `the answer is longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return objectOf(store, Buffer.concat(chunks));
}

/** The lines of a body, each a JSON object. @throws store/unavailable if one is too long or none */
export async function* jsonLines(store: string, answer: Answer, limit = LINE_BYTES): AsyncGenerator<Members> {
  let kept: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body) {
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...kept, chunk.subarray(from, at)]);
      if (line.length > limit) throw unusable(store, `a line is longer than ${limit} bytes`);
      [kept, size, from] = [[], 0, at + 1];
      if (line.length > 0) yield objectOf(store, line);
    }
    const rest = chunk.subarray(from);
    size += rest.length;
    if (size > limit) throw unusable(store, `a line is longer than ${limit} bytes`);
    if (rest.length > 0) kept.push(rest);
  }
  if (size > 0) throw unusable(store, "the answer breaks off within a line");
}

function objectOf(store: string, bytes: Uint8Array): Members {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (e) {
    throw unusable(store, "the answer is no JSON", e);
  }
  const object = members(parsed);
  if (object === undefined) throw unusable(store, "the answer is no JSON object");
  return object;
}

export const unusable = (store: string, why: string, cause?: unknown): NetError =>
  new NetError("store/unavailable", { store, why }, { cause });

/** What a Status object says, or a status of HTTP alone. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  /** The version that was asked from is not there yet: the server has an older state than somebody had before. */
  readonly tooNew: boolean;
}

/** The Status object in an answer or an ERROR event; one that is none counts as an empty one. */
export function refusalOf(status: number, body: Members | undefined): Refusal {
  const code = body?.["code"];
  const causes = members(body?.["details"])?.["causes"];
  return {
    tooNew:
      Array.isArray(causes) &&
      causes.some((cause: unknown) => members(cause)?.["reason"] === "ResourceVersionTooLarge"),
    status: typeof code === "number" && Number.isInteger(code) ? code : status,
    reason: shown(words(body?.["reason"]) ?? "", 64),
    message: shown(words(body?.["message"]) ?? "", 500),
  };
}

/** Text of somebody else's, on one line and not endless. */
const shown = (text: string, limit: number): string => {
  const clean = text.replaceAll(/\p{C}+/gu, " ").trim();
  return clean.length > limit ? `${clean.slice(0, limit)}…` : clean;
};

const forgotten = (store: string, asked: string): NetError =>
  new NetError("store/compacted", { store, since: `what ${asked} began with` });

/** The error for a refusal. `asked` is what was asked for, as `patch nodes/host1`. */
export function errorOf(store: string, asked: string, refusal: Refusal): NetError {
  const { status, reason, message, tooNew } = refusal;
  // After a server was restored from a copy there may never be such a version.
  if (tooNew) return forgotten(store, asked);
  const said = [String(status), reason, message].filter((part) => part !== "").join(" ");
  const why = `${asked}: ${said}`;
  switch (status) {
    case 401:
      return new NetError("store/denied", {
        store,
        why: `${asked}: it does not know who asks (${said}); renew the token or the certificate`,
      });
    case 409:
      return new NetError("try-again", { why: `${store}: ${why}` });
    case 410:
      return forgotten(store, asked);
    case 408:
    case 429:
      return unusable(store, why);
    default:
      return status >= 400 && status < 500
        ? new NetError("store/denied", { store, why })
        : unusable(store, why);
  }
}
