/** The lines that a program prints, kept, for tests that wait for one of them. */
export interface LineLog {
  lines(): readonly string[];
  /** The first line that fits, of those printed and those to come; throws when the program ends or takes too long. */
  line(fits: (line: string, index: number) => boolean, withinMs?: number): Promise<string>;
}

/** Reads the stream to its end. */
export function lineLog(stream: ReadableStream<Uint8Array<ArrayBuffer>>): LineLog {
  const lines: string[] = [];
  let ended = false;
  let changed = Promise.withResolvers<void>();
  const wake = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  void (async () => {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
      wake();
    }
    ended = true;
    wake();
  })();
  return {
    lines: () => lines,
    line: async (fits, withinMs = 20_000) => {
      const late = Promise.withResolvers<"late">();
      const timer = setTimeout(() => late.resolve("late"), withinMs);
      try {
        for (let at = 0; ;) {
          for (; at < lines.length; at++) {
            const line = lines[at] ?? "";
            if (fits(line, at)) return line;
          }
          if (ended) throw new Error(`the program ended; it printed:\n${lines.join("\n")}`);
          if ((await Promise.race([changed.promise, late.promise])) === "late")
            throw new Error(`not within ${withinMs} ms; printed was:\n${lines.join("\n")}`);
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
