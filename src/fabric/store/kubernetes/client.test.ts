import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { NetError } from "../../../errors.ts";
import { authenticated } from "../../../testing/kubernetes/access.ts";
import {
  type Cluster,
  kubeconfig,
  nodeObject,
  startCluster,
  userOf,
} from "../../../testing/kubernetes/cluster.ts";
import type { JsonObject } from "../../../testing/kubernetes/json.ts";
import { tempDir } from "../../../testing/temp-dir.ts";
import { certificateAuthority } from "../../../testing/x509.ts";
import { inCluster, parseKubeconfig } from "./access.ts";
import { jsonBody, jsonLines } from "./answers.ts";
import { KUBE_TIMES, type KubeClient, kubeClient } from "./client.ts";
import type { Answer } from "../http.ts";

const NODES = { resource: "nodes" };
const quick = { ...KUBE_TIMES, answerMs: 2000, watchIdleMs: 2000 };
const clientOf = (cluster: Cluster, user: JsonObject, more: JsonObject = {}): KubeClient =>
  kubeClient(
    parseKubeconfig(kubeconfig(cluster.server.url, cluster.authority.certificate, user, more), "/"),
    quick,
  );
const adminOf = (cluster: Cluster): KubeClient => clientOf(cluster, userOf(cluster.admin));

async function failureOf(work: Promise<unknown>): Promise<NetError> {
  const e = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (e instanceof NetError) return e;
  throw new Error(`failed with ${String(e)}`);
}

describe("who asks", () => {
  test("shows a client certificate, a token, or nothing", async () => {
    await using cluster = await startCluster();
    cluster.tokens.set("good", authenticated("jane", []));
    expect((await adminOf(cluster).list(NODES, {}, { limit: 0 })).objects).toEqual([]);
    const jane = await failureOf(clientOf(cluster, { token: "good" }).list(NODES, {}, { limit: 0 }));
    expect(jane.code).toBe("store/denied");
    expect(jane.message).toContain('User "jane" cannot list resource "nodes"');
    const nobody = await failureOf(clientOf(cluster, {}).list(NODES, {}, { limit: 0 }));
    expect(nobody.message).toContain('User "system:anonymous"');
    const wrong = await failureOf(clientOf(cluster, { token: "bad" }).list(NODES, {}, { limit: 0 }));
    expect(wrong.code).toBe("store/denied");
    expect(wrong.message).toContain("it does not know who asks");
  });

  test("with a certificate of a foreign authority is refused every time", async () => {
    await using cluster = await startCluster();
    const foreign = await (await certificateAuthority()).client("admin", ["system:masters"]);
    const clients = [adminOf(cluster), clientOf(cluster, userOf(foreign))] as const;
    const asked = Array.from({ length: 24 }, (_, i) =>
      clients[i % 2 === 0 ? 0 : 1].get(NODES, "host1").then(
        () => "let in",
        (e: unknown) => (e instanceof NetError ? e.code : String(e)),
      ),
    );
    const answers = await Promise.all(asked);
    expect(answers.filter((_, i) => i % 2 === 0)).toEqual(Array<string>(12).fill("let in"));
    expect(answers.filter((_, i) => i % 2 === 1)).toEqual(Array<string>(12).fill("store/denied"));
  });

  test("shows the token that the file holds now", async () => {
    await using cluster = await startCluster();
    using dir = tempDir();
    writeFileSync(dir.in("ca.crt"), cluster.authority.certificate);
    const env = {
      KUBERNETES_SERVICE_HOST: "127.0.0.1",
      KUBERNETES_SERVICE_PORT: String(cluster.server.port),
    };
    const client = kubeClient(inCluster(env, dir.path), quick);
    const root = authenticated("pod", ["system:masters"]);
    cluster.tokens.set("one", root);
    writeFileSync(dir.in("token"), "one");
    expect(await client.get(NODES, "host1")).toBeUndefined();
    cluster.tokens.clear();
    cluster.tokens.set("two", root);
    // The server knows the new one first: the old one is read, refused, and read again.
    cluster.server.fault = () => {
      writeFileSync(dir.in("token"), "two");
      return undefined;
    };
    expect(await client.get(NODES, "host1")).toBeUndefined();
    expect(cluster.server.asked.map(({ user }) => user)).toEqual(["pod", "", "pod"]);
  });

  test("believes only a server of the authority, under its name", async () => {
    await using cluster = await startCluster();
    const user = userOf(cluster.admin);
    const other = await certificateAuthority();
    const stranger = kubeClient(
      parseKubeconfig(kubeconfig(cluster.server.url, other.certificate, user), "/"),
      quick,
    );
    const untrusted = await failureOf(stranger.get(NODES, "a"));
    expect(untrusted.code).toBe("store/unavailable");
    expect(untrusted.message).toContain("an authority that is not trusted");
    const named = clientOf(cluster, user, { "tls-server-name": "kubernetes" });
    expect(await named.get(NODES, "a")).toBeUndefined();
    const misnamed = clientOf(cluster, user, { "tls-server-name": "other.test" });
    expect((await failureOf(misnamed.get(NODES, "a"))).message).toContain("for other names");
  });

  test("goes past the proxies of the environment", async () => {
    await using cluster = await startCluster();
    const before = process.env["HTTPS_PROXY"];
    process.env["HTTPS_PROXY"] = "http://127.0.0.1:1";
    try {
      expect(await adminOf(cluster).get(NODES, "a")).toBeUndefined();
    } finally {
      if (before === undefined) delete process.env["HTTPS_PROXY"];
      else process.env["HTTPS_PROXY"] = before;
    }
  });

  test("reaches a server by IPv6", async () => {
    await using cluster = await startCluster({ host: "::1" });
    expect(await adminOf(cluster).get(NODES, "a")).toBeUndefined();
  });

  test("with unusable certificates is told so", async () => {
    await using cluster = await startCluster();
    const broken = {
      ...cluster.admin,
      key: "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
    };
    expect((await failureOf(clientOf(cluster, userOf(broken)).get(NODES, "a"))).message).toContain(
      "the certificates cannot be used",
    );
  });
});

describe("reading and writing", () => {
  test("lists in pages of one moment", async () => {
    await using cluster = await startCluster();
    for (let i = 0; i < 5; i++) cluster.server.create("", "nodes", nodeObject(`host${i}`, []));
    const client = adminOf(cluster);
    const first = await client.list(NODES, {}, { limit: 2 });
    cluster.server.create("", "nodes", nodeObject("host3x", []));
    const names = [...first.objects];
    for (let next = first.continue; next !== "";) {
      const page = await client.list(NODES, {}, { limit: 2, continue: next });
      names.push(...page.objects);
      expect(page.resourceVersion).toBe(first.resourceVersion);
      next = page.continue;
    }
    expect(names.map(({ name }) => name)).toEqual(["host0", "host1", "host2", "host3", "host4"]);
    const selected = await client.list(NODES, { fieldSelector: "metadata.name=host3x" }, { limit: 2 });
    expect(selected.objects.map(({ name }) => name)).toEqual(["host3x"]);
  });

  test("a list whose pages are forgotten is store/compacted", async () => {
    await using cluster = await startCluster();
    for (let i = 0; i < 3; i++) cluster.server.create("", "nodes", nodeObject(`host${i}`, []));
    const client = adminOf(cluster);
    const page = await client.list(NODES, {}, { limit: 1 });
    cluster.server.create("", "nodes", nodeObject("later", []));
    cluster.server.store.compact();
    const error = await failureOf(client.list(NODES, {}, { limit: 1, continue: page.continue }));
    expect(error.code).toBe("store/compacted");
  });

  test("patches in three ways, the status apart from the rest", async () => {
    await using cluster = await startCluster();
    cluster.server.create("", "nodes", nodeObject("host1", ["10.1.0.0/24"]));
    const client = adminOf(cluster);
    const host = { name: "host1" };
    await client.patch(NODES, host, "merge", { metadata: { annotations: { "a.b/c": "1" } } });
    await client.patch(NODES, host, "json", [
      { op: "add", path: "/metadata/annotations/a.b~1d", value: "2" },
    ]);
    const conditions = [{ type: "NetworkUnavailable", status: "False" }];
    const patched = await client.patch(NODES, { ...host, subresource: "status" }, "strategic", {
      metadata: { annotations: { "a.b/e": "3" } },
      spec: { unschedulable: true },
      status: { conditions },
    });
    expect(patched?.body).toMatchObject({
      metadata: { annotations: { "a.b/c": "1", "a.b/d": "2", "a.b/e": "3" } },
      spec: { podCIDR: "10.1.0.0/24" },
      status: { conditions: [{ type: "Ready" }, { type: "NetworkUnavailable" }] },
    });
    expect(patched?.body["spec"]).not.toHaveProperty("unschedulable");
    expect(await client.patch(NODES, { name: "nobody" }, "merge", {})).toBeUndefined();
  });

  test("a patch of a version that is no longer the last is not done", async () => {
    await using cluster = await startCluster();
    cluster.server.create("", "nodes", nodeObject("host1", []));
    const client = adminOf(cluster);
    const found = await client.get(NODES, "host1");
    const patchOf = (value: string): object => ({
      metadata: { resourceVersion: found?.resourceVersion, annotations: { "a.b/c": value } },
    });
    await client.patch(NODES, { name: "host1" }, "merge", patchOf("first"));
    const error = await failureOf(client.patch(NODES, { name: "host1" }, "merge", patchOf("second")));
    expect(error.code).toBe("try-again");
    const after = await client.get(NODES, "host1");
    expect(after?.body["metadata"]).toMatchObject({ annotations: { "a.b/c": "first" } });
  });

  test("a server that says later is asked later", async () => {
    await using cluster = await startCluster();
    const client = kubeClient(
      parseKubeconfig(
        kubeconfig(cluster.server.url, cluster.authority.certificate, userOf(cluster.admin)),
        "/",
      ),
      { ...quick, retryAfterMs: 20 },
    );
    let left = 2;
    cluster.server.fault = () =>
      left-- > 0 ? { kind: "status", code: 429, headers: { "retry-after": "1" } } : undefined;
    expect(await client.get(NODES, "a")).toBeUndefined();
    left = 100;
    expect((await failureOf(client.get(NODES, "a"))).code).toBe("store/unavailable");
    expect(cluster.server.asked).toHaveLength(8);
  });
});

test("an answer whose body comes after its head is read whole", async () => {
  await using cluster = await startCluster();
  const client = adminOf(cluster);
  const body = JSON.stringify({ metadata: { name: "host1", resourceVersion: "7" }, items: [] });
  cluster.server.fault = () => ({
    kind: "bytes",
    text: `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 9)}`,
    later: body.slice(9),
  });
  expect((await client.get(NODES, "host1"))?.resourceVersion).toBe("7");
  expect((await client.patch(NODES, { name: "host1" }, "merge", {}))?.name).toBe("host1");
  expect((await client.list(NODES, {}, { limit: 0 })).resourceVersion).toBe("7");
});

describe("a server that is broken", () => {
  const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
  test.each([
    ["says no HTTP", "hello\r\n\r\n"],
    ["says nothing", ""],
    ["ends within its head", "HTTP/1.1 200 OK\r\nConte"],
    ["ends within its body", `${head}Content-Length: 100\r\n\r\n{"metadata":`],
    ["ends within a chunk", `${head}Transfer-Encoding: chunked\r\n\r\n50\r\n{"meta`],
    ["sends broken chunks", `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}`],
    ["sends no JSON", `${head}Content-Length: 5\r\n\r\nhello`],
    ["sends a list that is none", `${head}Content-Length: 2\r\n\r\n[]`],
    ["sends an object without a name", `${head}Content-Length: 15\r\n\r\n{"metadata":{}}`],
    ["sends a head without end", `HTTP/1.1 200 OK\r\nX: ${"a".repeat(200_000)}\r\n\r\n`],
    [
      "sends somewhere else",
      "HTTP/1.1 302 Found\r\nLocation: https://other.test/\r\nContent-Length: 0\r\n\r\n",
    ],
    ["fails", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"],
  ])("and %s is store/unavailable", async (_what, text) => {
    await using cluster = await startCluster();
    cluster.server.fault = () => ({ kind: "bytes", text });
    expect((await failureOf(adminOf(cluster).get(NODES, "a"))).code).toBe("store/unavailable");
  });

  test("and silent is given up, and so is one that nobody listens at", async () => {
    await using cluster = await startCluster();
    cluster.server.fault = () => ({ kind: "silence" });
    const { href } = new URL(cluster.server.url);
    const text = kubeconfig(href, cluster.authority.certificate, userOf(cluster.admin));
    const client = kubeClient(parseKubeconfig(text, "/"), { ...quick, answerMs: 50 });
    expect((await failureOf(client.get(NODES, "a"))).message).toContain("no answer within 0.05 s");
    await cluster.server[Symbol.asyncDispose]();
    expect((await failureOf(client.get(NODES, "a"))).message).toContain("nobody listens there");
  });

  test("and whoever no longer wants the answer gets his own reason", async () => {
    await using cluster = await startCluster();
    cluster.server.fault = () => ({ kind: "silence" });
    const enough = new AbortController();
    const asked = adminOf(cluster).get(NODES, "a", enough.signal);
    enough.abort(new Error("enough"));
    expect(asked).rejects.toThrow("enough");
    await asked.catch(() => undefined);
  });
});

describe("an answer", () => {
  const answer = (...chunks: readonly string[]): Answer => ({
    status: 200,
    header: () => undefined,
    body: (async function* () {
      for (const chunk of chunks) yield new TextEncoder().encode(await Promise.resolve(chunk));
    })(),
    [Symbol.dispose]: () => undefined,
  });

  test("is read up to a bound", async () => {
    expect(await jsonBody("x", answer('{"a":', "1}"), 10)).toEqual({ a: 1 });
    expect((await failureOf(jsonBody("x", answer('{"a":', "1", " ".repeat(10), "}"), 10))).message).toContain(
      "longer than 10 bytes",
    );
  });

  test("may come line by line, cut wherever", async () => {
    const text = '{"a":1}\n\n{"b":"ä"}\n{"c":3}\n';
    for (let at = 0; at < text.length; at++) {
      const found = await Array.fromAsync(jsonLines("x", answer(text.slice(0, at), text.slice(at)), 20));
      expect(found).toEqual([{ a: 1 }, { b: "ä" }, { c: 3 }]);
    }
    const endless = Array.fromAsync(
      jsonLines("x", answer("{}\n", '{"a', "aaaaaaaaaaaaaaa", "aaaaaaaaa"), 20),
    );
    expect((await failureOf(endless)).message).toContain("a line is longer than 20 bytes");
    expect((await failureOf(Array.fromAsync(jsonLines("x", answer('{"a'), 20)))).message).toContain(
      "breaks off within a line",
    );
  });
});
