/**
 * The course of a lease: when it is renewed, rebound and over (RFC 2131, section 4.4.5; RFC 8415, section 18.2.4 and
 * 18.2.5). A function of times; whose clock they are of, its caller knows.
 */
import { FOREVER, type Terms } from "./model.ts";

/** Points in time, in milliseconds of one clock; `Infinity` never comes. */
export interface Course {
  readonly renewMs: number;
  readonly rebindMs: number;
  readonly endMs: number;
  /** When the server was last asked in vain. */
  readonly triedMs?: number;
}

export type Due = { readonly action: "renew" | "rebind" | "end"; readonly atMs: number };

/** `sinceMs`: when the request was sent that the server granted. */
export function courseOf(terms: Terms, sinceMs: number): Course {
  const at = (seconds: number): number => (seconds === FOREVER ? Infinity : sinceMs + seconds * 1000);
  return {
    renewMs: at(terms.renewSeconds),
    rebindMs: at(terms.rebindSeconds),
    endMs: at(terms.leaseSeconds),
  };
}

/** RFC 2131 asks again after half of the time that is left, but not more often than this. */
const LEAST_PAUSE_MS = 60_000;
/** Of leases so short that this would leave them one attempt, each phase has four. */
const TRIES = 4;

/** What comes next, and when; a time that has passed means now. */
export function nextDue(course: Course): Due {
  const { renewMs, rebindMs, endMs, triedMs } = course;
  const again = (fromMs: number, untilMs: number): number => {
    if (triedMs === undefined || triedMs < fromMs) return fromMs;
    const least = Math.min(LEAST_PAUSE_MS, (untilMs - fromMs) / TRIES);
    return triedMs + Math.max(least, (untilMs - triedMs) / 2);
  };
  const renewal = again(renewMs, rebindMs);
  if (renewal < rebindMs) return { action: "renew", atMs: renewal };
  const rebinding = again(rebindMs, endMs);
  if (rebinding < endMs) return { action: "rebind", atMs: rebinding };
  return { action: "end", atMs: endMs };
}

/** As `nextDue`, but for an action whose time is over when it comes up: what is due at `nowMs`, if anything is. */
export function dueAt(course: Course, nowMs: number): Due["action"] | undefined {
  if (nowMs >= course.endMs) return "end";
  const due = nextDue(course);
  if (due.atMs > nowMs) return undefined;
  return due.action === "renew" && nowMs >= course.rebindMs ? "rebind" : due.action;
}
