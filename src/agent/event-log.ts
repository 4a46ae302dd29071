/** The last events, numbered, for those who ask later and those who follow. */
import { type Level, type Telling, tellingLevels } from "./tellings.ts";

export interface RecordedEvent extends Telling {
  /** Grows by one with each. */
  readonly number: number;
  /** ISO 8601 in UTC. */
  readonly at: string;
  readonly level: Level;
}

/** How many are kept. */
export const KEPT = 1_000;

export interface EventLog {
  add(telling: Telling, at: number): RecordedEvent;
  /** Those after that number, the oldest first. */
  after(number: number): readonly RecordedEvent[];
  /** Calls with each new one until the result is called. */
  follow(hear: (event: RecordedEvent) => void): () => void;
}

export function makeEventLog(): EventLog {
  const kept: RecordedEvent[] = [];
  const hearers = new Set<(event: RecordedEvent) => void>();
  let last = 0;
  return {
    add(telling, at) {
      const event: RecordedEvent = {
        number: ++last,
        at: new Date(at).toISOString(),
        level: tellingLevels[telling.code],
        ...telling,
      };
      if (kept.push(event) > KEPT) kept.shift();
      for (const hear of hearers) hear(event);
      return event;
    },
    after: (number) => kept.filter((event) => event.number > number),
    follow(hear) {
      hearers.add(hear);
      return () => void hearers.delete(hear);
    },
  };
}
