/** A bound on how many of something run at a time; the others wait in the order in which they came. */
export interface Slots {
  /** Runs `work` when there is room. Rejects with the signal's reason if that comes first. */
  run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export function makeSlots(most: number): Slots {
  let running = 0;
  const waiting: (() => void)[] = [];
  const enter = (signal: AbortSignal | undefined): Promise<void> => {
    if (running < most) {
      running++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal?.removeEventListener("abort", stop);
        resolve();
      };
      const stop = (): void => {
        waiting.splice(waiting.indexOf(go), 1);
        reject(signal?.reason as Error);
      };
      waiting.push(go);
      signal?.addEventListener("abort", stop, { once: true });
    });
  };
  const leave = (): void => {
    const next = waiting.shift();
    // The place goes from one to the next.
    if (next) next();
    else running--;
  };
  return {
    async run(work, signal) {
      signal?.throwIfAborted();
      await enter(signal);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
