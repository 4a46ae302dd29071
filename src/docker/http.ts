/**
 * The part of HTTP/1.1 (RFC 9112) that Docker speaks to a plugin: one request with a body of stated length, one answer, the
 * end. Pure functions; Bun's own server cannot tell who calls (decision 20).
 */
export const HEAD_BYTES = 16 * 1024;
export const BODY_BYTES = 1024 * 1024;

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly body: string;
}
export type Heard =
  | { readonly kind: "more" }
  | { readonly kind: "request"; readonly request: HttpRequest }
  /** What has come is no request that could be served. */
  | { readonly kind: "refused"; readonly status: Status; readonly why: string };

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  411: "Length Required",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
} as const;
export type Status = keyof typeof REASONS;

const refused = (status: Status, why: string): Heard => ({ kind: "refused", status, why });
const END = "\r\n\r\n";
const LINE = /^([A-Z]{1,16}) (\/[!-~]{0,1024}) HTTP\/1\.[01]$/;

/** What the bytes of a connection say, from its beginning. */
export function hear(bytes: Uint8Array): Heard {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(END);
  if (at < 0 || at > HEAD_BYTES)
    return bytes.length > HEAD_BYTES
      ? refused(431, `the head is longer than ${HEAD_BYTES} bytes`)
      : { kind: "more" };
  const [line = "", ...fields] = new TextDecoder("latin1").decode(bytes.subarray(0, at)).split("\r\n");
  const [, method = "", target = ""] = LINE.exec(line) ?? [];
  if (method === "") return refused(400, "the first line is no request line of HTTP/1.1");
  const lengths = new Set<string>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    // A name with a space in it, or a folded line, is where parsers disagree.
    if (colon < 1 || !/^[!#$%&'*+.^_`|~\w-]+$/.test(field.slice(0, colon)))
      return refused(400, "a header field is malformed");
    const name = field.slice(0, colon).toLowerCase();
    if (name === "transfer-encoding") return refused(411, "send the body with a Content-Length");
    if (name === "content-length") lengths.add(field.slice(colon + 1).trim());
  }
  const [length = "0", ...more] = lengths;
  if (more.length > 0 || !/^\d{1,15}$/.test(length)) return refused(400, "Content-Length is malformed");
  if (Number(length) > BODY_BYTES) return refused(413, `the body is longer than ${BODY_BYTES} bytes`);
  const from = at + END.length;
  const to = from + Number(length);
  if (bytes.length < to) return { kind: "more" };
  const body = new TextDecoder().decode(bytes.subarray(from, to));
  const [path = ""] = target.split("?");
  return { kind: "request", request: { method, path, body } };
}

/** An answer, after which the connection ends. */
export function answer(status: Status, body: object): string {
  const text = `${JSON.stringify(body)}\n`;
  return [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    "Content-Type: application/vnd.docker.plugins.v1.2+json",
    `Content-Length: ${Buffer.byteLength(text)}`,
    "Connection: close",
    "",
    text,
  ].join("\r\n");
}
