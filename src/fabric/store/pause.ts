/** Waiting before something is tried again: longer each time, and not for all hosts at the same moment. */

export interface Backoff {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** How long to wait after that many failures in a row (from 1): doubled each time, of it between half and the whole. */
export function backoffMs(failures: number, { firstMs, maxMs }: Backoff, random = Math.random): number {
  const whole = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return whole * (0.5 + random() / 2);
}

/** Resolves after that many milliseconds. @throws the signal's reason as soon as it fires */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const cancel = (): void => reject(signal?.reason);
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
  }
}
