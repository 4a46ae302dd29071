/**
 * What is known of all objects of a kind, and what changes: a list in pages, then a watch that is taken up again where it
 * ended, then a list again if the server has forgotten where that was. The server may be away for as long as it likes.
 */
import { isNetError, NetError } from "../../../errors.ts";
import { unusable } from "./answers.ts";
import type { KubeClient, KubeObject, Place, Selection } from "./client.ts";
import { type Backoff, backoffMs, pause } from "../pause.ts";

export type ObjectNews<T> =
  | { readonly kind: "all"; readonly objects: ReadonlyMap<string, T> }
  | { readonly kind: "put"; readonly name: string; readonly object: T }
  | { readonly kind: "gone"; readonly name: string }
  /** The server is away, or refuses; what was told before still stands. */
  | { readonly kind: "failing"; readonly error: NetError; readonly retryInMs: number }
  /** It answers again, and nothing was missed. */
  | { readonly kind: "back" };

export interface Following<T> {
  readonly client: KubeClient;
  readonly place: Place;
  readonly selection?: Selection;
  /** What of an object matters; undefined if it does not matter at all. */
  readonly read: (object: KubeObject) => T | undefined;
  readonly backoff?: Backoff;
  /** How many objects a page of a list has. */
  readonly pageLimit?: number;
}

const BACKOFF: Backoff = { firstMs: 500, maxMs: 30_000 };
/** A node with the names of its images has 10 to 25 kilobytes. */
const PAGE_LIMIT = 200;
/** Nobody has a million nodes; a server that never ends its list is not believed. */
const OBJECTS = 1_000_000;

/**
 * The news of a kind, until the signal: first `all` as soon as there was an answer. Only what changes in what `read` returns is
 * told. The signal ends it without an error.
 */
export async function* follow<T>(options: Following<T>, signal: AbortSignal): AsyncGenerator<ObjectNews<T>> {
  const backoff = options.backoff ?? BACKOFF;
  const known = new Map<string, string>();
  let after = "";
  let failures = 0;
  let told = false;
  while (!signal.aborted) {
    let openedAt: number | undefined;
    try {
      if (after === "") {
        const { objects, resourceVersion } = await listAll(options, signal);
        after = resourceVersion;
        known.clear();
        for (const [name, object] of objects) known.set(name, printOf(object));
        if (told) yield { kind: "back" };
        [failures, told] = [0, false];
        yield { kind: "all", objects };
      }
      const { client, place, selection = {} } = options;
      for await (const event of client.watch(place, selection, after, signal)) {
        if (event.kind === "open") {
          openedAt = performance.now();
          if (told) yield { kind: "back" };
          told = false;
          continue;
        }
        failures = 0;
        after = event.kind === "bookmark" ? event.resourceVersion : event.object.resourceVersion || after;
        const news = event.kind === "bookmark" ? undefined : newsOf(options, known, event);
        if (news !== undefined) yield news;
      }
      // A server that ends each watch at once is not asked without a breath between.
      if (performance.now() - (openedAt ?? 0) < 1000) await pause(backoffMs(1, backoff), signal);
    } catch (e) {
      if (signal.aborted) return;
      if (!(e instanceof NetError)) throw e;
      failures++;
      if (e.is("store/compacted")) after = "";
      const retryInMs = backoffMs(failures, backoff);
      // A watch that is cut off and goes on at the first attempt is nothing to speak of.
      const isWorthTelling = !e.is("store/compacted") && (openedAt === undefined || failures > 1);
      if (isWorthTelling) {
        told = true;
        yield { kind: "failing", error: e, retryInMs };
      }
      await pause(retryInMs, signal).catch(() => undefined);
    }
  }
}

/** To tell whether something that matters has changed, without keeping it. */
const printOf = (object: unknown): string => String(Bun.hash(JSON.stringify(object)));

function newsOf<T>(
  { read }: Following<T>,
  known: Map<string, string>,
  event: { readonly kind: "put" | "gone"; readonly object: KubeObject },
): ObjectNews<T> | undefined {
  const { name } = event.object;
  const object = event.kind === "put" ? read(event.object) : undefined;
  if (object === undefined) return known.delete(name) ? { kind: "gone", name } : undefined;
  const print = printOf(object);
  if (known.get(name) === print) return undefined;
  known.set(name, print);
  return { kind: "put", name, object };
}

/** How often a list is begun anew because its pages were forgotten before it was at its end; then it is asked for whole. */
const BEGINNINGS = 3;

async function listAll<T>(
  { client, place, selection = {}, read, pageLimit = PAGE_LIMIT }: Following<T>,
  signal: AbortSignal,
): Promise<{ readonly objects: ReadonlyMap<string, T>; readonly resourceVersion: string }> {
  for (let begun = 1; ; begun++) {
    const limit = begun <= BEGINNINGS ? pageLimit : 0;
    const objects = new Map<string, T>();
    try {
      for (let next = ""; ;) {
        const page = await client.list(place, selection, { limit, continue: next }, signal);
        for (const object of page.objects) {
          const found = read(object);
          if (found !== undefined) objects.set(object.name, found);
        }
        if (page.continue === "") return { objects, resourceVersion: page.resourceVersion };
        if (page.continue === next || objects.size > OBJECTS)
          throw unusable(client.name, "the list has no end");
        next = page.continue;
      }
    } catch (e) {
      if (!isNetError(e, "store/compacted") || begun > BEGINNINGS) throw e;
    }
  }
}
