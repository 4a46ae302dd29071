/** Listening to something that may fail: it is listened to anew, after longer and longer pauses, and told each time. */
import { setTimeout as sleep } from "node:timers/promises";
import { retryAfter } from "./jobs.ts";

export interface ListeningSetup {
  /** Begins to listen, and says later why no more comes; undefined: there is nothing to be heard on this host. */
  readonly open: (over: (why: unknown) => void) => Promise<AsyncDisposable | undefined>;
  /** Undefined when it is listened to from now on, else why it is not. */
  readonly tell: (why: unknown) => void;
  /** Milliseconds to wait after so many failures in a row. */
  readonly pauseMs?: (failures: number) => number;
}

/** Who listened for so long had no failure before, in milliseconds. */
const LASTING_MS = 60_000;

/** Listens until disposed; nothing is told after that. */
export function keepListening({ open, tell, pauseMs = retryAfter }: ListeningSetup): AsyncDisposable {
  const ending = new AbortController();
  const { signal } = ending;
  const ended = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  /** Why it is over; undefined: there is nothing to listen to, or nobody wants to. */
  const listen = async (): Promise<{ readonly why: unknown } | undefined> => {
    const over = Promise.withResolvers<unknown>();
    try {
      await using watch = await open(over.resolve);
      if (watch === undefined || signal.aborted) return undefined;
      tell(undefined);
      return await Promise.race([over.promise.then((why) => ({ why })), ended.then(() => undefined)]);
    } catch (why) {
      return { why };
    }
  };
  const run = async (): Promise<void> => {
    for (let failures = 1; ; failures++) {
      const from = performance.now();
      const failed = await listen();
      if (failed === undefined || signal.aborted) return;
      tell(failed.why);
      if (performance.now() - from >= LASTING_MS) failures = 1;
      await sleep(pauseMs(failures), undefined, { signal }).catch(() => undefined);
    }
  };
  const running = run();
  return {
    [Symbol.asyncDispose]: async () => {
      ending.abort();
      await running;
    },
  };
}
