import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { NetError } from "../../errors.ts";
import { Seen } from "../../testing/kv-contract.ts";
import { diceOf, seed } from "../../testing/seed.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { openEtcd, type EtcdOptions } from "./etcd.ts";
import { rangeOf } from "./etcd-codec.ts";
import type { Kv } from "./kv.ts";

/** What a real etcd never does: it is in test/fabric/ that real ones are asked. */
type Handler = (path: string, body: unknown, signal: AbortSignal) => Response | Promise<Response>;

interface Fake extends AsyncDisposable {
  readonly url: string;
  readonly asked: { readonly path: string; readonly body: unknown }[];
}

function fake(handler: Handler): Fake {
  const asked: Fake["asked"] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      const body: unknown = await request.json();
      asked.push({ path: pathname, body });
      return handler(pathname, body, request.signal);
    },
  });
  return {
    url: server.url.origin,
    asked,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** A server that writes these bytes as its answer and closes, or keeps the connection. */
function raw(answer: string, isKept = false): Fake {
  const asked: Fake["asked"] = [];
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: (socket) => {
        asked.push({ path: "", body: undefined });
        socket.write(answer);
        if (!isKept) socket.end();
      },
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    asked,
    [Symbol.asyncDispose]: async () => server.stop(true),
  };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const header = (revision: number, cluster = "1"): object => ({
  cluster_id: cluster,
  revision: String(revision),
});

function client(
  options: Partial<EtcdOptions> & Pick<EtcdOptions, "endpoints">,
): { readonly kv: Kv } & Disposable {
  const kv = openEtcd({ requestMs: 1000, ...options });
  return { kv, [Symbol.dispose]: () => kv.close() };
}

async function failure(work: Promise<unknown>): Promise<NetError> {
  const e: unknown = await work.then(
    (value) => value,
    (error: unknown) => error,
  );
  if (!(e instanceof NetError)) throw new Error(`no such failure: ${JSON.stringify(e)}`);
  return e;
}

/** Addresses at which nobody listens. */
const deadEnds = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
const [deadEnd = ""] = deadEnds;

describe("the range of a prefix", () => {
  test.each([
    ["/a/", "2f612f", "2f6130"],
    ["é", "c3a9", "c3aa"],
    ["", "00", "00"],
  ])("%j ends before the next key that does not begin with it", (prefix, key, end) => {
    const hex = (text: string): string => Buffer.from(text, "base64").toString("hex");
    const range = rangeOf(prefix);
    expect([hex(range.key), hex(range.range_end)]).toEqual([key, end]);
  });
});

describe("an etcd that answers garbage", () => {
  const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
  const json = (text: string): string => `${ok}Content-Length: ${text.length}\r\n\r\n${text}`;
  test.each([
    ["nothing", "", "connection was cut"],
    ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "Parse Error"],
    ["half an answer", `${ok}Content-Length: 500\r\n\r\n{"header":{"rev`, "breaks off"],
    ["half of a chunk", `${ok}Transfer-Encoding: chunked\r\n\r\n50\r\n{"header"`, "breaks off"],
    ["an empty answer", `${ok}Content-Length: 0\r\n\r\n`, "no JSON object"],
    ["a page of a proxy", "HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>", "status 502"],
    [
      "another server's page",
      "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!",
      "has no JSON gateway",
    ],
    [
      "a redirection",
      "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
      "status 302",
    ],
    ["a list", json("[]"), "no JSON object"],
    ["JSON without a header", json("{}"), "lacks what it should have"],
    ["keys that are none", json('{"header":{"revision":"1"},"kvs":[{"key":7}]}'), "lacks"],
    ["fewer keys than it counts", json('{"header":{"revision":"9"},"count":"40"}'), "lacks"],
    ["a revision that is none", json('{"header":{"revision":"99999e99"}}'), "lacks"],
    [
      "a strange error",
      `HTTP/1.1 500 X\r\nContent-Length: 27\r\n\r\n{"error":"\\u001b[31mred\\n"}`,
      "?[31mred?",
    ],
  ])("%s is said so, with the member's address", async (_what, answer, why) => {
    await using server = raw(answer);
    using c = client({ endpoints: [server.url] });
    const e = await failure(c.kv.get("a"));
    expect(e.code).toBe("store/unavailable");
    expect(e.message).toContain(why);
    expect(e.message).toContain(server.url);
  });

  test("without end is read as far as it may go", async () => {
    const block = " ".repeat(1024 * 1024);
    await using server = fake(
      () => new Response(new ReadableStream({ pull: (c) => c.enqueue(Buffer.from(block)) })),
    );
    using c = client({ endpoints: [server.url], requestMs: 10_000 });
    expect((await failure(c.kv.get("a"))).message).toContain("more than 33554432 bytes");
    expect((await failure(c.kv.list("a"))).message).toContain("more than 33554432 bytes");
  });

  test("slowly is waited for as long as it may take, and no longer", async () => {
    await using server = raw(`${ok}Content-Length: 500\r\n\r\n{`, true);
    using c = client({ endpoints: [server.url], requestMs: 50 });
    expect((await failure(c.kv.get("a"))).message).toContain("no answer in 50 ms");
    expect((await failure(c.kv.put("a", ""))).message).toContain("no answer in 50 ms");
  });

  test("of whatever form is a value or an error that is known", async () => {
    const dice = diceOf(seed, "etcd");
    const names = ["header", "revision", "kvs", "key", "mod_revision", "lease", "ID", "TTL", "succeeded"];
    names.push(
      "count",
      "responses",
      "response_delete_range",
      "deleted",
      "result",
      "error",
      "code",
      "message",
      "more",
    );
    const leaf = [null, true, "", "1", "-1", "x", 0, 1, -1, 1e300, "AAAA"];
    const value = (depth: number): unknown => {
      const kind = depth === 0 ? 0 : dice(4);
      if (kind === 0) return leaf[dice(leaf.length)];
      const some = Array.from({ length: dice(4) }, () => [names[dice(names.length)] ?? "", value(depth - 1)]);
      return kind === 1 ? some.map(([, item]) => item) : Object.fromEntries(some);
    };
    await using server = fake(() => Response.json(value(5), { status: dice(4) === 0 ? 400 : 200 }));
    using c = client({ endpoints: [server.url] });
    const calls: readonly ((kv: Kv) => Promise<unknown>)[] = [
      (kv) => kv.get("a"),
      (kv) => kv.list("a"),
      (kv) => kv.put("a", ""),
      (kv) => kv.put("a", "", { when: { revision: 1 } }),
      (kv) => kv.delete("a"),
      (kv) => kv.delete("a", { absent: true }),
      (kv) => kv.grant(5),
      (kv) => kv.refresh("1"),
      (kv) => kv.timeToLive("1"),
      (kv) => kv.revoke("1"),
    ];
    for (let n = 0; n < 60; n++)
      for (const call of calls) {
        const e: unknown = await call(c.kv).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (e !== undefined && !(e instanceof NetError)) throw e;
      }
  });

  test("with more keys to come and none told is not asked for ever", async () => {
    await using server = fake(() => Response.json({ header: header(1), more: true, count: "5" }));
    using c = client({ endpoints: [server.url] });
    expect((await failure(c.kv.list("a"))).message).toContain("tells none");
  });

  test("has its token refused that would break a header", async () => {
    await using server = fake(() => Response.json({ token: "a\r\nx: y" }));
    using c = client({ endpoints: [server.url], user: { name: "u", password: "p" } });
    expect((await failure(c.kv.get("a"))).message).toContain("token of the user u cannot be used");
  });
});

describe("several members", () => {
  const empty: Handler = () => Response.json({ header: header(7) });

  test("are asked in turn until one answers, and that one first from then on", async () => {
    await using good = fake(empty);
    await using odd = raw("garbage\r\n\r\n");
    using c = client({ endpoints: [deadEnd, odd.url, good.url] });
    for (let n = 0; n < 5; n++) expect(await c.kv.get("a")).toBeUndefined();
    expect(good.asked).toHaveLength(5);
    expect(odd.asked.length).toBeLessThan(2);
  });

  test("that all fail are all named", async () => {
    using c = client({ endpoints: deadEnds });
    const { message } = await failure(c.kv.get("a"));
    for (const url of deadEnds) expect(message).toContain(`${url}: nobody listens there`);
  });

  test("get a write once: whoever may have done it is not followed by another", async () => {
    await using good = fake(empty);
    await using odd = raw("");
    for (let n = 0; n < 8; n++) {
      using c = client({ endpoints: [odd.url, good.url] });
      const before = [odd.asked.length, good.asked.length];
      const outcome = await c.kv.put("a", "").catch((e: unknown) => e);
      const asked = [odd.asked.length - (before[0] ?? 0), good.asked.length - (before[1] ?? 0)];
      expect([outcome instanceof NetError ? outcome.code : outcome, ...asked]).toEqual(
        outcome === 7 ? [7, 0, 1] : ["store/unavailable", 1, 0],
      );
    }
  });

  test("get a write that was refused by one that has no leader", async () => {
    await using good = fake(empty);
    const refusal = { error: "etcdserver: no leader", message: "etcdserver: no leader", code: 14 };
    await using lost = fake(() => Response.json(refusal, { status: 503 }));
    for (let n = 0; n < 4; n++) {
      using c = client({ endpoints: [lost.url, good.url, deadEnd] });
      expect(await c.kv.put("a", "")).toBe(7);
    }
  });
});

describe("a configuration for etcd", () => {
  test.each([
    [[], "at least one"],
    [["10.0.0.1:2379"], "http://HOST:PORT"],
    [["ftp://10.0.0.1:2379"], "http://HOST:PORT"],
    [["http://10.0.0.1:2379/v3"], "nothing but"],
    [["http://user:pw@10.0.0.1:2379"], "nothing but"],
  ])("with the addresses %j is refused", (endpoints, why) => {
    expect(() => openEtcd({ endpoints })).toThrow(why);
  });

  test("with files that are no certificates is refused by their names", () => {
    using temp = tempDir("etcd");
    writeFileSync(temp.in("x"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const endpoints = ["https://127.0.0.1:1"];
    const open = (tls: EtcdOptions["tls"]) => () => openEtcd({ endpoints, ...(tls && { tls }) });
    expect(open({ caFile: temp.in("none") })).toThrow(`${temp.in("none")}: cannot be read`);
    expect(open({ caFile: temp.in("x") })).toThrow("is no certificate in PEM form");
    expect(open({ certFile: temp.in("x") })).toThrow("are given together");
    expect(open({ certFile: temp.in("x"), keyFile: temp.in("x") })).toThrow("in PEM form");
  });
});

describe("a watch of etcd", () => {
  const put = (key: string, revision: number): object => ({
    kv: { key: base64(key), mod_revision: String(revision), value: base64(String(revision)) },
  });
  const created = (revision: number, cluster?: string): object => ({
    header: header(revision, cluster),
    created: true,
  });
  const message = (revision: number, ...events: readonly object[]): object => ({
    header: header(revision),
    events,
  });
  const line = (result: object): string => `${JSON.stringify({ result })}\n`;

  /** Answers one watch after the other with these texts; what is asked besides is the store's revision. */
  const script = (revision: () => number, ...texts: readonly string[]): Handler => {
    let at = 0;
    return (path, _body, signal) => {
      if (path !== "/v3/watch") return Response.json({ header: header(revision()) });
      const text = texts[at++];
      const isLast = at >= texts.length;
      return new Response(
        new ReadableStream({
          start: (c) => {
            if (text !== undefined) c.enqueue(Buffer.from(text));
            if (!isLast && text?.includes("quiet") !== true) c.close();
            else signal.addEventListener("abort", () => c.close());
          },
        }),
      );
    };
  };
  const startsOf = (server: Fake): readonly unknown[] =>
    server.asked
      .filter(({ path }) => path === "/v3/watch")
      .map(
        ({ body }) => (body as { create_request: { start_revision: unknown } }).create_request.start_revision,
      );

  test("goes on after what it was told whole, whatever a connection ends with", async () => {
    const half = line(message(12, put("/p/c", 12)));
    await using server = fake(
      script(
        () => 9,
        line(created(9)) + line(message(10, put("/p/a", 10))),
        line(created(10)) + half.slice(0, half.length / 2),
        `${line(created(10))}{"result":{"header":{"revision":"11"},"events":[{"kv":{}}]}}\n`,
        `${line(created(10))}garbage\n`,
        line(created(11)) + line(message(11, put("/p/a", 10), put("/p/b", 11), put("/q/x", 11))),
        line(created(12)) + half + half,
      ),
    );
    using c = client({ endpoints: [server.url] });
    await using seen = new Seen(c.kv, "/p/", 9);
    expect(await seen.changes(3)).toEqual(["/p/a=10", "/p/b=11", "/p/c=12"]);
    expect(startsOf(server)).toEqual(["10", "11", "11", "11", "11", "12"]);
  });

  test("tells a moment when all parts of it are there", async () => {
    const part = line({ ...message(10, put("/p/a", 10)), fragment: true });
    const all = line(created(9)) + part + line(message(11, put("/p/b", 10), put("/p/c", 11)));
    await using server = fake(script(() => 9, line(created(9)) + part, all));
    using c = client({ endpoints: [server.url] });
    await using seen = new Seen(c.kv, "/p/", 9);
    await seen.changes(3);
    expect(seen.batches.map((batch) => batch.length)).toEqual([2, 1]);
  });

  test("notices a connection that died without a word", async () => {
    let revision = 9;
    const second = line(created(10)) + line(message(10, put("/p/a", 10)));
    await using server = fake(script(() => revision++, line({ ...created(9), note: "quiet" }), second));
    using c = client({ endpoints: [server.url], quietMs: 30 });
    await using seen = new Seen(c.kv, "/p/", 9);
    expect(await seen.changes(1)).toEqual(["/p/a=10"]);
  });

  test.each([
    ["that has fewer changes than were seen", () => 5, [line(created(5))]],
    ["of another cluster", () => 9, [line(created(9)), line(created(9, "2"))]],
    ["that says so", () => 9, [line({ header: header(9), canceled: true, compact_revision: "12" })]],
  ])("ends at a store %s", async (_what, revision, texts) => {
    await using server = fake(script(revision, ...texts));
    using c = client({ endpoints: [server.url] });
    await using seen = new Seen(c.kv, "/p/", 9);
    expect(await seen.end()).toMatchObject({ code: "store/compacted" });
  });

  test("waits for a member that only lags behind", async () => {
    const text = line(created(7)) + line(message(10, put("/p/a", 10)));
    await using server = fake(script(() => 9, text));
    using c = client({ endpoints: [server.url] });
    await using seen = new Seen(c.kv, "/p/", 9);
    expect(await seen.changes(1)).toEqual(["/p/a=10"]);
  });

  test("ends when the store does not let it be", async () => {
    const denied = { ...created(9), canceled: true, cancel_reason: "etcdserver: permission denied" };
    await using server = fake(script(() => 9, line(denied)));
    using c = client({ endpoints: [server.url] });
    await using seen = new Seen(c.kv, "/p/", 9);
    expect(await seen.end()).toMatchObject({ code: "store/denied" });
  });
});
