/** The hosts of a Flannel network as its store tells them: all, then each change, and all again after a gap. */
import { NetError } from "../../errors.ts";
import type { FabricNode, UnreadableNode } from "../../fabric/model.ts";
import type { Change, Entry, Kv } from "../../fabric/store/kv.ts";
import { type Backoff, backoffMs, pause } from "../../fabric/store/pause.ts";
import { parseLeaseName, parseLeaseValue } from "./lease-codec.ts";
import type { NodeNews } from "./registry.ts";

/** Between tries to list. */
const BACKOFF: Backoff = { firstMs: 100, maxMs: 5000 };

/** The node that an entry is, or why it is none. */
export function nodeOf(prefix: string, { key, value }: Entry): FabricNode | UnreadableNode {
  const id = key.slice(prefix.length);
  const subnets = parseLeaseName(id);
  if (!subnets.ok) return { id, why: subnets.why };
  const told = parseLeaseValue(value);
  return told.ok ? { id, subnets: subnets.value, ...told.value } : { id, why: told.why };
}

/** Goes on until the signal; a store that is away is asked again and again. */
export async function* followNodes(kv: Kv, prefix: string, signal: AbortSignal): AsyncGenerator<NodeNews> {
  for (let failures = 0; !signal.aborted;) {
    try {
      const { entries, revision } = await kv.list(prefix);
      yield { kind: "all", nodes: entries.map((entry) => nodeOf(prefix, entry)) };
      for await (const batch of kv.watch(prefix, { after: revision, signal })) {
        failures = 0;
        yield* batch.map((change) => newsOf(prefix, change));
      }
    } catch (e) {
      if (!isPassing(e)) throw e;
      await pause(backoffMs(++failures, BACKOFF), signal).catch(() => undefined);
    }
  }
}

function newsOf(prefix: string, change: Change): NodeNews {
  return change.kind === "put"
    ? { kind: "put", node: nodeOf(prefix, change.entry) }
    : { kind: "gone", id: change.key.slice(prefix.length) };
}

const isPassing = (e: unknown): boolean =>
  e instanceof NetError && (e.is("store/unavailable") || e.is("store/compacted") || e.is("store/denied"));
