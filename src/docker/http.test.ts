/** Requests of Docker from bytes, whatever the bytes are. */
import { describe, expect, test } from "bun:test";
import { answer, BODY_BYTES, HEAD_BYTES, hear, type Heard } from "./http.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
/** As Go's client writes it. */
const post = (path: string, body: string, more = ""): string =>
  `POST ${path} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
  `Accept: application/vnd.docker.plugins.v1.2+json\r\n${more}\r\n${body}`;
const status = (heard: Heard): number | string => (heard.kind === "refused" ? heard.status : heard.kind);

describe("a request", () => {
  test("is heard when all of it has come, and not before", () => {
    const whole = bytes(post("/NetworkDriver.Join", '{"NetworkID":"ä"}'));
    for (let n = 0; n < whole.length; n++) expect(hear(whole.subarray(0, n))).toEqual({ kind: "more" });
    expect(hear(whole)).toEqual({
      kind: "request",
      request: { method: "POST", path: "/NetworkDriver.Join", body: '{"NetworkID":"ä"}' },
    });
  });

  test("may have no body, and a query that nobody asked for", () => {
    expect(hear(bytes("POST /Plugin.Activate?a=b HTTP/1.1\r\nHost: x\r\n\r\n"))).toEqual({
      kind: "request",
      request: { method: "POST", path: "/Plugin.Activate", body: "" },
    });
  });

  test.each([
    ["a line that is none", "hello\r\n\r\n", 400],
    ["another version", "POST / HTTP/2.0\r\n\r\n", 400],
    ["a path that does not begin with a slash", "POST http://x/ HTTP/1.1\r\n\r\n", 400],
    ["a field without a name", post("/x", "", ": value\r\n"), 400],
    ["a field that goes on in the next line", post("/x", "", "A: b\r\n c: d\r\n"), 400],
    ["a space before the colon", post("/x", "", "Content-Length : 5\r\n"), 400],
    ["two lengths", post("/x", "", "Content-Length: 5\r\n"), 400],
    ["a length with a sign", "POST /x HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 400],
    ["a body in chunks", post("/x", "", "Transfer-Encoding: chunked\r\n"), 411],
    ["a body that is too long", `POST /x HTTP/1.1\r\nContent-Length: ${BODY_BYTES + 1}\r\n\r\n`, 413],
    ["a head that does not end", `POST /x HTTP/1.1\r\nA: ${"b".repeat(HEAD_BYTES)}`, 431],
  ])("is refused with %s", (_, text, code) => {
    expect(status(hear(bytes(text)))).toBe(code);
  });

  test("of any bytes is heard, refused, or not complete", () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
    console.log(`seed ${seed}`);
    let x = seed || 1;
    const number = (below: number): number => {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      return (x >>> 0) % below;
    };
    const whole = bytes(post("/NetworkDriver.Join", "{}"));
    for (let i = 0; i < 5_000; i++) {
      const changed = whole.slice(0, number(whole.length + 1));
      for (let n = number(4); n >= 0 && changed.length > 0; n--)
        changed[number(changed.length)] = number(256);
      expect(["more", "request", "refused"]).toContain(hear(changed).kind);
    }
  });
});

test("an answer says its length in bytes, and that it is the last one", () => {
  const text = answer(200, { Err: "schön" });
  const [head = "", body = ""] = text.split("\r\n\r\n");
  expect(head).toStartWith("HTTP/1.1 200 OK\r\n");
  expect(head).toContain(`Content-Length: ${Buffer.byteLength(body)}\r\n`);
  expect(head).toEndWith("Connection: close");
});
