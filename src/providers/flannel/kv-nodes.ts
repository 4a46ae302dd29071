/** The hosts of a Flannel network as its store tells them: all, then each change, and all again after a gap. */
import { NetError } from "../../errors.ts";
import type { FabricNode, UnreadableNode } from "../../fabric/model.ts";
import type { Change, Entry, Kv } from "../../fabric/store/kv.ts";
import { type Backoff, backoffMs, pause } from "../../fabric/store/pause.ts";
import { parseLeaseName, parseLeaseValue } from "./lease-codec.ts";
import type { NodeNews } from "./registry.ts";

/** Between tries to list. */
const BACKOFF: Backoff = { firstMs: 100, maxMs: 5000 };

/** A lease's name of both families is half as long. What is longer is none, and is kept and told as this much of it. */
const MOST_ID = 128;

function idOf(prefix: string, key: string): string {
  const id = key.slice(prefix.length);
  return id.length <= MOST_ID ? id : `${id.slice(0, MOST_ID)}… (${Bun.hash(id).toString(16)})`;
}

/** The node that an entry is, or why it is none. */
export function nodeOf(prefix: string, { key, value }: Entry): FabricNode | UnreadableNode {
  const id = idOf(prefix, key);
  const subnets = parseLeaseName(id);
  if (!subnets.ok) return { id, why: subnets.why };
  const told = parseLeaseValue(value);
  return told.ok ? { id, subnets: subnets.value, ...told.value } : { id, why: told.why };
}

/** Goes on until the signal; a store that is away, or refuses, is asked again and again. */
export async function* followNodes(kv: Kv, prefix: string, signal: AbortSignal): AsyncGenerator<NodeNews> {
  let unwatched: string | undefined;
  for (let failures = 0; !signal.aborted;) {
    let isListed = false;
    try {
      const { entries, revision } = await kv.list(prefix);
      isListed = true;
      const nodes = entries.map((entry) => nodeOf(prefix, entry));
      yield { kind: "all", nodes, ...(unwatched === undefined ? {} : { unwatched }) };
      for await (const batch of kv.watch(prefix, { after: revision, signal })) {
        failures = 0;
        if (unwatched !== undefined) yield { kind: "back" };
        unwatched = undefined;
        yield* batch.map((change) => newsOf(prefix, change));
      }
    } catch (e) {
      if (!isPassing(e)) throw e;
      failures++;
      if (!e.is("store/compacted")) {
        if (isListed) unwatched = `what changes is not told: ${e.message}`;
        else yield { kind: "failing", why: e.message };
      }
      await pause(backoffMs(failures, BACKOFF), signal).catch(() => undefined);
    }
  }
}

function newsOf(prefix: string, change: Change): NodeNews {
  return change.kind === "put"
    ? { kind: "put", node: nodeOf(prefix, change.entry) }
    : { kind: "gone", id: idOf(prefix, change.key) };
}

const isPassing = (e: unknown): e is NetError =>
  e instanceof NetError && (e.is("store/unavailable") || e.is("store/compacted") || e.is("store/denied"));
