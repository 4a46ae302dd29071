/** A lock that many hold together or one alone. Who wants it alone is not kept waiting by those who come later. */
export interface Gate {
  together<T>(work: () => Promise<T>): Promise<T>;
  alone<T>(work: () => Promise<T>): Promise<T>;
}

export function gate(): Gate {
  let inside = 0;
  /** Resolves when the last one who wants it alone is done; undefined if nobody does. */
  let closed: Promise<void> | undefined;
  let emptied = Promise.withResolvers<void>();
  return {
    together: async (work) => {
      while (closed !== undefined) await closed;
      inside++;
      try {
        return await work();
      } finally {
        if (--inside === 0) emptied.resolve();
      }
    },
    alone: async (work) => {
      const before = closed;
      const mine = Promise.withResolvers<void>();
      closed = mine.promise;
      try {
        await before;
        while (inside > 0) {
          emptied = Promise.withResolvers();
          await emptied.promise;
        }
        return await work();
      } finally {
        if (closed === mine.promise) closed = undefined;
        mine.resolve();
      }
    },
  };
}
