/** Waiting for something to happen, or for a time to be over, without missing what happens while one is busy. */

export interface Bell {
  readonly ring: () => void;
  /** What rings after this call ends the wait of the function that it returns, which waits at most so long. */
  readonly next: () => (milliseconds: number) => Promise<void>;
}

/** The signal rings too, once and for ever. */
export function newBell(signal: AbortSignal): Bell {
  let rung = Promise.withResolvers<void>();
  const ring = (): void => rung.resolve();
  signal.addEventListener("abort", ring, { once: true });
  return {
    ring,
    next: () => {
      rung = Promise.withResolvers();
      if (signal.aborted) ring();
      const { promise } = rung;
      return async (milliseconds) => {
        const late = Promise.withResolvers<void>();
        const timer = setTimeout(late.resolve, milliseconds);
        await Promise.race([promise, late.promise]);
        clearTimeout(timer);
      };
    },
  };
}
