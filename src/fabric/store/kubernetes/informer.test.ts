import { describe, expect, test } from "bun:test";
import { kubeconfig, nodeObject, startCluster, userOf } from "../../../testing/kubernetes/cluster.ts";
import type { Fault } from "../../../testing/kubernetes/server.ts";
import { parseKubeconfig } from "./access.ts";
import { KUBE_TIMES, kubeClient, type KubeObject, type KubeTimes } from "./client.ts";
import { follow, type ObjectNews } from "./informer.ts";
import { backoffMs } from "../pause.ts";

const NODES = { resource: "nodes" };
/** What matters of a node here: who gave it a colour. */
const colour = ({ body }: KubeObject): string | undefined =>
  (body["metadata"] as { readonly labels?: Readonly<Record<string, string>> }).labels?.["colour"];

interface Site extends AsyncDisposable {
  readonly next: () => Promise<ObjectNews<string>>;
  readonly cluster: Awaited<ReturnType<typeof startCluster>>;
  /** Gives a node a colour; without one it is nothing that matters. */
  readonly paint: (name: string, value: string | null) => Promise<void>;
  readonly end: () => void;
}

/** A cluster, somebody who follows its nodes, and somebody who changes them. */
async function site(
  options: { readonly bookmarkEveryMs?: number; readonly pageLimit?: number } = {},
  times: Partial<KubeTimes> = {},
): Promise<Site> {
  const cluster = await startCluster(options);
  const text = kubeconfig(cluster.server.url, cluster.authority.certificate, userOf(cluster.admin));
  const client = kubeClient(parseKubeconfig(text, "/"), { ...KUBE_TIMES, answerMs: 5000, ...times });
  const { abort, signal } = abortable();
  const { pageLimit = 2 } = options;
  const following = { client, place: NODES, read: colour, backoff: { firstMs: 5, maxMs: 20 }, pageLimit };
  const news = follow(following, signal);
  return {
    cluster,
    end: abort,
    next: async () => {
      const { value, done } = await news.next();
      if (done === true) throw new Error("the news have ended");
      return value;
    },
    paint: async (name, value) => {
      await client.patch(NODES, { name }, "merge", { metadata: { labels: { colour: value } } });
    },
    [Symbol.asyncDispose]: async () => {
      abort();
      await news.return(undefined);
      await cluster[Symbol.asyncDispose]();
    },
  };
}
function abortable(): { readonly abort: () => void; readonly signal: AbortSignal } {
  const controller = new AbortController();
  return { abort: () => controller.abort(), signal: controller.signal };
}
const painted = (name: string, value: string) => nodeObject(name, [], { labels: { colour: value } });
const add = ({ cluster }: Site, name: string, value = "red"): void =>
  void cluster.server.create("", "nodes", painted(name, value));
const all = (...pairs: readonly (readonly [string, string])[]): ObjectNews<string> => ({
  kind: "all",
  objects: new Map(pairs),
});
/** Does something once the watch has told something, so that it is surely open. */
async function whenWatched(at: Site, then: () => void): Promise<ObjectNews<string>> {
  const { server } = at.cluster;
  add(at, "probe");
  expect(await at.next()).toEqual({ kind: "put", name: "probe", object: "red" });
  server.store.write("/nodes//probe", () => undefined);
  expect(await at.next()).toEqual({ kind: "gone", name: "probe" });
  const coming = at.next();
  then();
  return coming;
}
/** The next news that is not about the connection. */
async function nextChange(at: Site, first?: ObjectNews<string>): Promise<ObjectNews<string>> {
  let news = first ?? (await at.next());
  while (news.kind === "failing" || news.kind === "back") news = await at.next();
  return news;
}

describe("whoever follows", () => {
  test("hears all in pages, then what changes, and only what matters", async () => {
    await using at = await site();
    for (const name of ["a", "b", "c", "d", "e"]) add(at, name);
    at.cluster.server.create("", "nodes", nodeObject("grey", []));
    expect(await at.next()).toEqual(
      all(["a", "red"], ["b", "red"], ["c", "red"], ["d", "red"], ["e", "red"]),
    );
    expect(await whenWatched(at, () => add(at, "f"))).toEqual({ kind: "put", name: "f", object: "red" });
    await at.paint("a", "red");
    await at.paint("grey", null);
    await at.paint("a", "blue");
    expect(await at.next()).toEqual({ kind: "put", name: "a", object: "blue" });
    await at.paint("a", null);
    expect(await at.next()).toEqual({ kind: "gone", name: "a" });
    at.cluster.server.store.write("/nodes//b", () => undefined);
    expect(await at.next()).toEqual({ kind: "gone", name: "b" });
  });

  test("begins anew when the pages of a list are forgotten, and asks for all at once if it must", async () => {
    await using at = await site();
    for (const name of ["a", "b", "c"]) add(at, name);
    let forgets = true;
    at.cluster.server.fault = ({ url }) => {
      if (forgets && url.includes("continue=")) {
        at.cluster.server.store.write("/nodes//x", (revision) => ({
          ...painted("x", "red"),
          metadata: { name: "x", resourceVersion: String(revision), labels: { colour: "red" } },
        }));
        at.cluster.server.store.compact();
      }
      return undefined;
    };
    expect(await at.next()).toEqual(all(["a", "red"], ["b", "red"], ["c", "red"], ["x", "red"]));
    const lists = at.cluster.server.asked.map(({ url }) => url.replace(/continue=[^&]+/, "continue"));
    expect(lists.filter((url) => url === "/api/v1/nodes?limit=2")).toHaveLength(3);
    expect(lists.at(-1)).toBe("/api/v1/nodes");
    forgets = false;
  });

  test.each([
    ["in the stream", undefined],
    ["as a status", { kind: "status", code: 410 } satisfies Fault],
    [
      "by a server that was restored from a copy",
      {
        kind: "status",
        code: 504,
        body: { kind: "Status", details: { causes: [{ reason: "ResourceVersionTooLarge" }] } },
      } satisfies Fault,
    ],
  ])("lists again when the server has forgotten, told %s", async (_how, fault) => {
    await using at = await site();
    add(at, "a");
    expect(await at.next()).toEqual(all(["a", "red"]));
    const again = await whenWatched(at, () => {
      let once = fault;
      at.cluster.server.fault = ({ url }) => {
        const answer = url.includes("watch=true") ? once : undefined;
        if (answer !== undefined) once = undefined;
        return answer;
      };
      at.cluster.server.cut();
      add(at, "b");
      at.cluster.server.store.compact();
    });
    expect(again).toEqual(all(["a", "red"], ["b", "red"]));
  });

  test("goes on from a bookmark, however much was forgotten before it", async () => {
    await using at = await site({ bookmarkEveryMs: 5 });
    add(at, "a");
    expect(await at.next()).toEqual(all(["a", "red"]));
    const { server } = at.cluster;
    const first = whenWatched(at, () => {
      // Nothing that this watch is about: only bookmarks move on.
      for (let i = 0; i < 3; i++)
        server.create("", "configmaps", { metadata: { name: `m${i}`, namespace: "default" } });
    });
    const coming = first.then((news) => nextChange(at, news));
    const revision = (): string => String(server.store.revision());
    const watches = (): readonly string[] =>
      server.asked.map(({ url }) => url).filter((url) => url.includes("watch=true"));
    // On a slow machine a bookmark takes its time to arrive.
    for (let waitMs = 10; !watches().at(-1)?.includes(`resourceVersion=${revision()}&`); waitMs *= 2) {
      const before = watches().length;
      await Bun.sleep(waitMs);
      server.cut();
      while (watches().length === before) await Bun.sleep(1);
    }
    server.store.compact();
    server.cut();
    add(at, "b");
    expect(await coming).toEqual({ kind: "put", name: "b", object: "red" });
  });

  test("misses nothing when connections are cut, and makes no fuss of it", async () => {
    await using at = await site();
    expect(await at.next()).toEqual(all());
    for (let i = 0; i < 10; i++) {
      const news = await whenWatched(at, () => {
        at.cluster.server.cut();
        add(at, `n${i}`);
      });
      expect(news).toEqual({ kind: "put", name: `n${i}`, object: "red" });
    }
  });

  test("takes a silent watch for a dead one", async () => {
    await using at = await site({}, { watchIdleMs: 30 });
    expect(await at.next()).toEqual(all());
    const coming = at.next();
    const watches = (): number =>
      at.cluster.server.asked.filter(({ url }) => url.includes("watch=true")).length;
    while (watches() < 2) await Bun.sleep(5);
    add(at, "a");
    expect(await nextChange(at, await coming)).toEqual({ kind: "put", name: "a", object: "red" });
  });

  test("hears that the server is away, and that it is back, and all that was missed", async () => {
    await using at = await site();
    add(at, "a");
    expect(await at.next()).toEqual(all(["a", "red"]));
    const failing = await whenWatched(at, () => {
      at.cluster.server.fault = () => ({ kind: "status", code: 500 });
      at.cluster.server.cut();
      add(at, "b");
    });
    expect(failing).toMatchObject({ kind: "failing", error: { code: "store/unavailable" } });
    at.cluster.server.fault = undefined;
    const rest: ObjectNews<string>[] = [];
    while (rest.at(-1)?.kind !== "put") {
      const news = await at.next();
      if (news.kind !== "failing") rest.push(news);
    }
    expect(rest).toEqual([{ kind: "back" }, { kind: "put", name: "b", object: "red" }]);
  });

  test("hears of a server that was never there, until it is", async () => {
    await using at = await site();
    at.cluster.server.fault = () => ({ kind: "bytes", text: "nonsense\n" });
    expect(await at.next()).toMatchObject({ kind: "failing" });
    expect(await at.next()).toMatchObject({ kind: "failing" });
    at.cluster.server.fault = undefined;
    let news = await at.next();
    while (news.kind === "failing") news = await at.next();
    expect([news, await at.next()]).toEqual([{ kind: "back" }, all()]);
  });

  test("is not led astray by events that are none", async () => {
    await using at = await site();
    add(at, "a");
    expect(await at.next()).toEqual(all(["a", "red"]));
    const bad = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"type":"ADDED","object":{}}\n`;
    let left = 2;
    const news = await whenWatched(at, () => {
      at.cluster.server.fault = ({ url }) =>
        url.includes("watch=true") && left-- > 0 ? { kind: "bytes", text: bad } : undefined;
      at.cluster.server.cut();
      add(at, "b");
    });
    expect(await nextChange(at, news)).toEqual({ kind: "put", name: "b", object: "red" });
  });

  test("ends quietly with the signal", async () => {
    await using at = await site();
    expect(await at.next()).toEqual(all());
    const coming = at.next();
    at.end();
    expect(coming).rejects.toThrow("the news have ended");
    await coming.catch(() => undefined);
  });
});

describe("a pause before the next attempt", () => {
  test("doubles up to a bound, and differs from host to host", () => {
    const times = { firstMs: 100, maxMs: 1000 };
    const longest = [1, 2, 3, 4, 5, 6, 100].map((n) => backoffMs(n, times, () => 1));
    expect(longest).toEqual([100, 200, 400, 800, 1000, 1000, 1000]);
    expect(backoffMs(3, times, () => 0)).toBe(200);
  });
});
