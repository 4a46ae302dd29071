/**
 * Keeping what a host has told of itself: its node is watched, annotations that somebody takes away are written again, and the
 * node says that its network is there. A node that is gone or has other subnets is not this host's any longer.
 */
import { NetError } from "../../errors.ts";
import type { FabricNode, Subnets } from "../../fabric/model.ts";
import { newBell } from "../../fabric/store/bell.ts";
import type { KubeClient, KubeObject } from "../../fabric/store/kubernetes/client.ts";
import { follow } from "../../fabric/store/kubernetes/informer.ts";
import { type Backoff, backoffMs } from "../../fabric/store/pause.ts";
import { type AnnotationNames, difference, type Written, writtenOf } from "./kube-annotations.ts";
import {
  annotationsOf,
  availablePatch,
  fabricNodeOf,
  type Families,
  isAvailable,
  subnetsOf,
} from "./kube-node.ts";
import type { Announcement, Lease, LeaseNews } from "./registry.ts";

export const NODES = { resource: "nodes" } as const;

/** The node that this host has taken; acquiring it anew, holding it and releasing it change it. */
export interface KubeHeld {
  /** As the others read it. */
  node: FabricNode;
  wanted: Announcement;
  subnets: Subnets;
  families: Families;
  isReleased: boolean;
}

export interface KubeHoldOptions {
  readonly client: KubeClient;
  readonly names: AnnotationNames;
  /** Brings the annotations of a node into line; returns it as it is then. */
  readonly write: (node: KubeObject, written: Written) => Promise<KubeObject>;
  /** From when on the node says that its network is there; undefined: never. */
  readonly available: Promise<unknown> | undefined;
  readonly signal: AbortSignal;
  readonly backoff?: Backoff;
}

/** What the watch has told last. */
interface Seen {
  /** Undefined: nothing yet, or it was dealt with. */
  node: KubeObject | "gone" | undefined;
  failing: { readonly why: string; readonly retryInMs: number } | undefined;
}

const BACKOFF: Backoff = { firstMs: 1000, maxMs: 30_000 };
/** Writing the same again more often than this in a minute is a fight with somebody, and not won by writing. */
const REPAIRS_A_MINUTE = 5;
const MINUTE = 60_000;

/** Ends with `lost`, with the signal, or when the node is given back. */
export async function* holdNode(held: KubeHeld, options: KubeHoldOptions): AsyncGenerator<LeaseNews> {
  const ending = new AbortController();
  const signal = AbortSignal.any([options.signal, ending.signal]);
  const bell = newBell(signal);
  const seen: Seen = { node: undefined, failing: undefined };
  const watching = watchOwn(held, options, signal, seen, bell.ring);
  const keeper: Keeper = {
    held,
    options,
    isReady: false,
    repairs: { annotations: [], condition: [] },
    failures: 0,
  };
  const ready = (): void => {
    keeper.isReady = true;
    bell.ring();
  };
  void options.available?.then(ready, () => undefined);
  const isOver = (): boolean => signal.aborted || held.isReleased;
  try {
    while (!isOver()) {
      const rung = bell.next();
      const news = await look(keeper, seen);
      if (isOver()) return;
      if (news !== undefined) yield news;
      if (news?.kind === "lost") return;
      await rung(news?.kind === "failing" ? news.retryInSeconds * 1000 : MINUTE);
    }
  } finally {
    ending.abort();
    await watching;
  }
}

interface Keeper {
  readonly held: KubeHeld;
  readonly options: KubeHoldOptions;
  isReady: boolean;
  /** When each was written within the last minute, by `performance.now()`. */
  readonly repairs: Record<"annotations" | "condition", readonly number[]>;
  /** In a row, told or not. */
  failures: number;
  latest?: KubeObject;
}

/** What there is to tell, if anything: success is told when something changed, and after failures. */
async function look(keeper: Keeper, seen: Seen): Promise<LeaseNews | undefined> {
  const { held } = keeper;
  if (seen.failing !== undefined) {
    const { why, retryInMs } = seen.failing;
    keeper.failures++;
    return { kind: "failing", why, retryInSeconds: Math.max(0.1, retryInMs / 1000) };
  }
  if (seen.node === "gone") return lost(`node ${held.node.id} was deleted`);
  const node = seen.node ?? keeper.latest;
  seen.node = undefined;
  if (node === undefined) return undefined;
  const found = subnetsOf(node, held.families);
  const now = found.ok ? textOf(found.value) : found.why;
  if (now !== textOf(held.subnets))
    return lost(`the subnet of node ${held.node.id} is ${now || "none"}, no longer ${textOf(held.subnets)}`);
  try {
    const changed = await keep(keeper, node);
    const recovered = keeper.failures > 0;
    keeper.failures = 0;
    return changed || recovered ? { kind: "renewed", lease: leaseOf(held) } : undefined;
  } catch (e) {
    // What was under way ends with the signal's reason.
    if (keeper.options.signal.aborted) return undefined;
    if (!(e instanceof NetError)) throw e;
    const retryInMs = backoffMs(++keeper.failures, keeper.options.backoff ?? BACKOFF);
    return { kind: "failing", why: e.message, retryInSeconds: Math.max(0.1, retryInMs / 1000) };
  }
}

const lost = (why: string): LeaseNews => ({ kind: "lost", why });
const leaseOf = ({ node }: KubeHeld): Lease => ({ node });
const textOf = ({ v4, v6 }: Subnets): string =>
  [v4?.text, v6?.text].filter((text) => text !== undefined).join(", ");

/** Writes what is missing. Returns whether what the others read of this host has changed. */
async function keep(keeper: Keeper, node: KubeObject): Promise<boolean> {
  const { held, options } = keeper;
  const { client, names } = options;
  const written = writtenOf(names, held.wanted, annotationsOf(node));
  let current = node;
  keeper.latest = node;
  if (difference(written, annotationsOf(node)) !== undefined) {
    noteRepair(
      keeper,
      "annotations",
      `somebody else writes the annotations of node ${node.name} again and again: does another daemon run on it?`,
    );
    current = await options.write(node, written);
    keeper.latest = current;
  }
  if (keeper.isReady && !isAvailable(current)) {
    noteRepair(
      keeper,
      "condition",
      `somebody else says again and again that node ${node.name} has no network: does a controller make routes for the cloud?`,
    );
    const target = { name: node.name, subresource: "status" } as const;
    const patch = availablePatch(new Date());
    current = (await client.patch(NODES, target, "strategic", patch, options.signal)) ?? current;
  }
  keeper.latest = current;
  const told = fabricNodeOf(current, names, held.families);
  if (told === undefined || "why" in told || JSON.stringify(told) === JSON.stringify(held.node)) return false;
  held.node = told;
  return true;
}

/** @throws try-again if it was written so often that somebody else must be at it */
function noteRepair({ repairs }: Keeper, what: keyof Keeper["repairs"], why: string): void {
  const now = performance.now();
  const recent = repairs[what].filter((at) => at > now - MINUTE);
  repairs[what] = recent;
  if (recent.length >= REPAIRS_A_MINUTE) throw new NetError("try-again", { why });
  repairs[what] = [...recent, now];
}

/** Watches this host's own node until the signal. */
async function watchOwn(
  held: KubeHeld,
  { client, names, backoff }: KubeHoldOptions,
  signal: AbortSignal,
  seen: Seen,
  ring: () => void,
): Promise<void> {
  const selection = { fieldSelector: `metadata.name=${held.node.id}` };
  const latest: { node?: KubeObject } = {};
  /** What matters of the node; the node itself is kept beside. */
  const read = (node: KubeObject): object => {
    latest.node = node;
    const annotations = annotationsOf(node);
    return {
      subnets: subnetsOf(node, held.families),
      annotations: Object.values(names).map((name) => annotations[name]),
      available: isAvailable(node),
    };
  };
  const following = { client, place: NODES, selection, read, ...(backoff === undefined ? {} : { backoff }) };
  for await (const news of follow(following, signal)) {
    if (news.kind === "failing") seen.failing = { why: news.error.message, retryInMs: news.retryInMs };
    else seen.failing = undefined;
    if (news.kind === "gone") seen.node = "gone";
    if (news.kind === "put") seen.node = latest.node;
    if (news.kind === "all") seen.node = news.objects.size === 0 ? "gone" : latest.node;
    ring();
  }
}
