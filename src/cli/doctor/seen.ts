/** A fact of the host that may be out of sight: known, or why not. The doctor never takes the second for "nothing". */
import { NetError } from "../../errors.ts";

export type Seen<T> =
  { readonly known: true; readonly value: T } | { readonly known: false; readonly why: string };

export const seen = <T>(value: T): Seen<T> => ({ known: true, value });
export const unseen = (why: string): { readonly known: false; readonly why: string } => ({
  known: false,
  why,
});

/** What `work` finds. What the system refuses is out of sight; a mistake of the program is thrown. */
export function look<T>(work: () => T): Seen<T> {
  try {
    return seen(work());
  } catch (e) {
    return unseen(whyOf(e));
  }
}

/** As `look`, for what has to be waited for. */
export async function lookLater<T>(work: () => Promise<T>): Promise<Seen<T>> {
  try {
    return seen(await work());
  } catch (e) {
    return unseen(whyOf(e));
  }
}

/** All of them, or why the first that is out of sight is. */
export function allSeen<T extends Readonly<Record<string, Seen<unknown>>>>(
  facts: T,
): Seen<{ readonly [K in keyof T]: T[K] extends Seen<infer V> ? V : never }> {
  const values: Record<string, unknown> = {};
  for (const [name, fact] of Object.entries(facts)) {
    if (!fact.known) return fact;
    values[name] = fact.value;
  }
  return seen(values as { readonly [K in keyof T]: T[K] extends Seen<infer V> ? V : never });
}

const DENIED = /\b(?:EPERM|EACCES)\b/;

function whyOf(e: unknown): string {
  const isSystems = e instanceof NetError || (e instanceof Error && "code" in e && "syscall" in e);
  if (!isSystems) throw e;
  const text = e.message;
  return DENIED.test(text) ? `only root may look (${text})` : text;
}
