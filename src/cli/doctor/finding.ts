/** What the doctor says: a finding, its severity, and how a check makes one. The ids are those of `catalogue.ts`. */
import type { FindingId } from "./catalogue.ts";
import type { Seen } from "./seen.ts";

/**
 * `ok`: looked at and in order. `note`: worth knowing, or could not be told. `warning`: may fail, or will under some
 * condition that was not looked at. `problem`: something does not work, or somebody can do what they must not.
 */
export type Severity = "ok" | "note" | "warning" | "problem";

export interface Finding {
  readonly id: FindingId;
  readonly severity: Severity;
  /** The link, file, network, container or program that it is about; empty for the host as a whole. */
  readonly subject: string;
  /** What was seen, with the number or the name. */
  readonly seen: string;
  /** Commands and settings, one each, as they can be typed; empty if there is nothing to do. */
  readonly cure: readonly string[];
  /** Set if it could not be told whether there is something wrong; `seen` then says because of what. */
  readonly unknown?: true;
}

/** One subject that the doctor looks at. `run` is pure: it reads facts, never the host. */
export interface Check<Facts> {
  /** Every id that its findings can have. One without a finding is reported as ok. */
  readonly ids: readonly FindingId[];
  readonly run: (facts: Facts) => readonly Finding[];
}

type Make = (id: FindingId, subject: string, seen: string, ...cure: readonly string[]) => Finding;

const make =
  (severity: Severity): Make =>
  (id, subject, seen, ...cure) => ({ id, severity, subject, seen, cure });

export const ok = make("ok");
export const note = make("note");
export const warning = make("warning");
export const problem = make("problem");

/** Nobody knows whether there is something wrong, and why that is so. */
export const cannotTell = (id: FindingId, why: string, subject = ""): Finding => ({
  ...note(id, subject, `cannot tell because ${why}`),
  unknown: true,
});

/** The findings about a fact, or that of each id it cannot be told. */
export const whenSeen = <T>(
  ids: FindingId | readonly FindingId[],
  fact: Seen<T>,
  look: (value: T) => readonly Finding[],
): readonly Finding[] => (fact.known ? look(fact.value) : [ids].flat().map((id) => cannotTell(id, fact.why)));
