import { dirname, join } from "node:path";
import { writeAll } from "../../cni/executable.ts";
import { parseJson } from "../../cni/json.ts";
import { DEFAULT_CACHE_DIR } from "../../cni/cache.ts";
import { isNetError } from "../../errors.ts";
import { type NetlinkWatch, watchNetlink, type WatchOptions } from "../../netlink/events.ts";
import { recordDir } from "../../netstate/record.ts";
import { endingSignal, ownProgram } from "../daemon.ts";
import { complain } from "../output.ts";
import type { Asked } from "../ps/gather.ts";
import type { Entry } from "../ps/entry.ts";
import { compareLooks, firstLook, type Known, lineOf, type Looked } from "./changes.ts";
import { watchDirectories } from "./directories.ts";

/**
 * Tells what comes, goes and changes until a signal ends it, or nobody reads any more. Files and the kernel say when to
 * look; a look is a child of its own, since it enters the namespaces of containers, which what runs long must not.
 */
export interface WatchAsked extends Asked {
  readonly json: boolean;
}

/** Changes come in flocks: one look for all that follow one another so closely. */
const QUIET_MS = 50;
/** However often something changes, looking takes at most this part of the time. */
const SHARE = 0.1;
/** What is changed inside of a container is told to nobody outside. */
const ANYWAY_MS = 60_000;

/** RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR; NFNLGRP_NFTABLES (linux/rtnetlink.h, linux/netfilter/nfnetlink.h). */
const subscriptions: readonly WatchOptions[] = [
  { protocol: "route", groups: 0x1 | 0x10 | 0x100, name: "links and addresses" },
  { protocol: "netfilter", groups: 1 << (7 - 1), name: "nftables" },
];

export async function watchAttachments(asked: WatchAsked): Promise<void> {
  const stop = new AbortController();
  void endingSignal().then(() => stop.abort());
  const bell = makeBell(stop.signal);
  let failure: unknown;
  const end = (reason?: unknown): void => {
    failure ??= reason;
    stop.abort();
  };
  await using stack = new AsyncDisposableStack();
  const directories = stack.use(watchDirectories(bell.ring));
  for (const options of subscriptions) {
    const events = await subscribe(options);
    if (events !== undefined) void ringFor(stack.use(events), bell.ring).catch(end);
  }
  const files = [recordDir(), join(asked.cacheDir ?? DEFAULT_CACHE_DIR, "results")];
  directories.set(files);
  let known: Known | undefined;
  while (!stop.signal.aborted) {
    bell.hush();
    const started = performance.now();
    const entries = await look(asked, stop.signal);
    if (entries !== undefined) {
      const at = new Date().toISOString();
      const looked = known === undefined ? firstLook(entries, at) : compareLooks(known, entries, at);
      known = looked.known;
      if (!tell(looked, asked.json)) break;
    }
    // What was seen may have gone before its directory was watched.
    if (directories.set([...files, ...namespaceDirs(known)])) bell.ring();
    await bell.next((performance.now() - started) / SHARE);
  }
  if (failure !== undefined) throw failure as Error;
}

/** Nothing is told of what is below /proc. */
const namespaceDirs = (known: Known | undefined): readonly string[] => [
  ...new Set(
    [...(known?.values() ?? [])].flatMap(({ netns }) =>
      netns === null || netns.startsWith("/proc/") ? [] : [dirname(netns)],
    ),
  ),
];

/** False if nobody reads any more. */
const tell = ({ changes }: Looked, json: boolean): boolean =>
  changes.every((c) => writeAll(1, `${json ? JSON.stringify(c) : lineOf(c)}\n`));

/** Says that something changed, to one who waits for it. */
interface Bell {
  ring(this: void): void;
  /** What was rung before is being looked at. */
  hush(): void;
  /** Waits, at least so many milliseconds, until it is rung, or long enough; at once at the end. */
  next(leastMs: number): Promise<void>;
}

function makeBell(end: AbortSignal): Bell {
  let rung = Promise.withResolvers<void>();
  const ended = new Promise<void>((resolve) =>
    end.addEventListener("abort", () => resolve(), { once: true }),
  );
  const wait = async (ms: number, sooner: readonly Promise<void>[]): Promise<void> => {
    const over = Promise.withResolvers<void>();
    const timer = setTimeout(over.resolve, ms);
    await Promise.race([over.promise, ended, ...sooner]);
    clearTimeout(timer);
  };
  return {
    ring: () => rung.resolve(),
    hush() {
      rung = Promise.withResolvers<void>();
    },
    async next(leastMs) {
      await wait(leastMs, []);
      await wait(ANYWAY_MS, [rung.promise]);
      await wait(QUIET_MS, []);
    },
  };
}

async function subscribe(options: WatchOptions): Promise<NetlinkWatch | undefined> {
  try {
    return await watchNetlink(options);
  } catch (e) {
    // A kernel without nftables has nothing to tell of it.
    if (isNetError(e, "sys/call") && e.detail.errno === "EPROTONOSUPPORT") return undefined;
    throw e;
  }
}

async function ringFor(events: AsyncIterable<unknown>, ring: () => void): Promise<void> {
  for await (const _ of events) ring();
}

/** The variables that say where the host's state is. */
const KEPT = ["HEDDLE_RUN_DIR", "XDG_RUNTIME_DIR"] as const;

/** What is attached at this moment; undefined if that could not be seen, which is told, or is not wanted any more. */
async function look(
  { network, container, cacheDir }: WatchAsked,
  signal: AbortSignal,
): Promise<readonly Entry[] | undefined> {
  const options = Object.entries({ network, container, "cache-dir": cacheDir });
  const words = options.flatMap(([name, value]) => (value === undefined ? [] : [`--${name}=${value}`]));
  const child = Bun.spawn([...ownProgram(), "ps", "--json", ...words], {
    argv0: "heddle",
    env: Object.fromEntries(KEPT.map((name) => [name, process.env[name]])),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    killSignal: "SIGKILL",
    signal,
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (signal.aborted) return undefined;
  if (code === 0) return parseJson(stdout, "heddle ps") as readonly Entry[];
  complain(`could not look: ${stderr.trim() || stdout.trim() || `ended by ${child.signalCode ?? code}`}`);
  return undefined;
}
