/** When what failed is tried again, and when putting right becomes a fight. Times are milliseconds of one clock. */

export interface Attempts {
  /** Nothing failed and nothing was repaired of late: no name has to be looked up. */
  readonly isClear: boolean;
  /** True if it may be tried now. */
  may(name: string): boolean;
  /** It was refused: it is held for 1 s, and twice as long each time, up to 30 s. */
  failed(name: string): void;
  /** It is as it should be. */
  succeeded(name: string): void;
  /**
   * It was put right after somebody had changed it. The sixth time within a minute begins a fight: it is held as above, up to
   * 60 s. The fight ends when fewer were needed.
   */
  repaired(name: string): void;
  /** What failed may be tried at once, since something changed; a fight goes on. True if something was held. */
  again(chosen?: (name: string) => boolean): boolean;
  /** Something else is wanted: what was before does not count. */
  forget(chosen: (name: string) => boolean): void;
  /** True once for names that were held and may be tried now. */
  takeDue(chosen: (name: string) => boolean): boolean;
  /** What is fought over, with the repairs of the last minute. */
  fights(): readonly { readonly name: string; readonly repairs: number }[];
  /** Milliseconds until something that is held may be tried; undefined if nothing is held. */
  wait(): number | undefined;
}

/** The first time something is held; each next time is twice as long, up to the longest. */
export const FIRST_MS = 1000;
export const LONGEST_MS = { failure: 30_000, fight: 60_000 } as const;
export const MINUTE_MS = 60_000;
/** More repairs than this in a minute are a fight. */
export const REPAIRS = 5;

interface History {
  /** When it was repaired within the last minute. */
  repairs: number[];
  /** How often it failed, or was repaired in a fight, in a row. */
  level: number;
  heldUntil: number;
}

export function makeAttempts(now: () => number): Attempts {
  const all = new Map<string, History>();
  const of = (name: string): History => {
    let history = all.get(name);
    if (history === undefined) all.set(name, (history = { repairs: [], level: 0, heldUntil: 0 }));
    return history;
  };
  const hold = (history: History, longest: number): void => {
    history.heldUntil = now() + Math.min(longest, FIRST_MS * 2 ** history.level);
    history.level++;
  };
  const recent = (history: History): number => {
    const since = now() - MINUTE_MS;
    history.repairs = history.repairs.filter((at) => at > since);
    return history.repairs.length;
  };
  return {
    get isClear() {
      return all.size === 0;
    },
    may: (name) => (all.get(name)?.heldUntil ?? 0) <= now(),
    failed: (name) => hold(of(name), LONGEST_MS.failure),
    succeeded: (name) => {
      const history = all.get(name);
      if (history === undefined || recent(history) > REPAIRS) return;
      if (history.repairs.length === 0) all.delete(name);
      else [history.level, history.heldUntil] = [0, 0];
    },
    repaired: (name) => {
      const history = of(name);
      history.repairs.push(now());
      if (recent(history) > REPAIRS) hold(history, LONGEST_MS.fight);
      else [history.level, history.heldUntil] = [0, 0];
    },
    again: (chosen = () => true) => {
      let any = false;
      for (const [name, history] of all) {
        if (history.heldUntil === 0 || recent(history) > REPAIRS || !chosen(name)) continue;
        [history.level, history.heldUntil, any] = [0, 0, true];
      }
      return any;
    },
    forget: (chosen) => {
      for (const name of all.keys()) if (chosen(name)) all.delete(name);
    },
    takeDue: (chosen) => {
      let any = false;
      for (const [name, history] of all) {
        if (history.heldUntil === 0 || history.heldUntil > now() || !chosen(name)) continue;
        history.heldUntil = 0;
        any = true;
      }
      return any;
    },
    fights: () =>
      [...all].flatMap(([name, history]) => {
        const repairs = recent(history);
        if (repairs === 0 && history.heldUntil < now() - MINUTE_MS) all.delete(name);
        return repairs > REPAIRS ? [{ name, repairs }] : [];
      }),
    wait: () => {
      let first: number | undefined;
      for (const { heldUntil } of all.values())
        if (heldUntil > now()) first = Math.min(first ?? heldUntil, heldUntil);
      return first === undefined ? undefined : first - now();
    },
  };
}
