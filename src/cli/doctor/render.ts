/** The doctor's report: for people, as text; for programs, as JSON. */
import { coloured } from "../terminal.ts";
import { catalogue } from "./catalogue.ts";
import { plural } from "./commands.ts";
import type { Finding, Severity } from "./finding.ts";
import type { Done, Fix } from "./fix.ts";

/** What `--fix` did; with `--dry-run` nothing was done. */
export interface Fixed {
  readonly fix: Pick<Fix, "ids" | "what">;
  /** Absent if it was only planned. */
  readonly done?: readonly Done[];
}

export interface Report {
  readonly findings: readonly Finding[];
  readonly fixed: readonly Fixed[];
}

const SEVERITIES: readonly Severity[] = ["problem", "warning", "note", "ok"];

const count = (findings: readonly Finding[], severity: Severity): number =>
  findings.filter((f) => f.severity === severity).length;

/** The form is stable (docs/doctor.md): keys are added, never changed. */
export const toJson = ({ findings, fixed }: Report): string =>
  JSON.stringify(
    {
      version: 1,
      findings: findings.map(({ id, severity, subject, seen, cure, unknown }) => ({
        id,
        group: catalogue[id].group,
        severity,
        subject,
        seen,
        why: catalogue[id].why,
        cure,
        unknown: unknown === true,
      })),
      summary: {
        ...Object.fromEntries(SEVERITIES.map((s) => [s, count(findings, s)])),
        unknown: findings.filter((f) => f.unknown).length,
      },
      fixes: fixed.map(({ fix, done }) => ({
        ids: fix.ids,
        what: fix.what,
        done: (done ?? []).map(({ what, failure }) => ({
          what,
          ok: failure === undefined,
          ...(failure ? { error: failure.message } : {}),
        })),
      })),
    },
    undefined,
    2,
  );

/** The worst first; what is ok, one line each, only if `all` is asked for. */
export function toText({ findings, fixed }: Report, all: boolean, screen: Screen): string {
  const shown = SEVERITIES.filter((s) => s !== "ok" || all);
  const lines = [
    ...shown.flatMap((s) => findings.filter((f) => f.severity === s)).flatMap((f) => linesOf(f, screen)),
  ];
  return [...fixed.flatMap(fixLines), ...lines, summary(findings)].join("\n");
}

/** Whether it has colours. */
type Screen = Parameters<typeof coloured>[0];

const colours = { problem: "red", warning: "yellow", note: "bold", ok: "green" } as const;

function linesOf({ id, severity, seen, cure, unknown }: Finding, screen: Screen): readonly string[] {
  const word = unknown ? "unknown" : severity;
  const head = `${coloured(screen, colours[severity], word)}${" ".repeat(9 - word.length)}${id}: ${seen}`;
  if (severity === "ok" || unknown) return [head];
  return [head, `         ${catalogue[id].why}`, ...cure.map((line) => `         > ${line}`)];
}

function fixLines({ fix, done }: Fixed): readonly string[] {
  if (done === undefined) return [`would    ${fix.what}`];
  if (done.length === 0) return [`fixed    ${fix.what}: there was nothing left to do`];
  return done.map(({ what, failure }) =>
    failure ? `failed   ${what}: ${failure.message}` : `fixed    ${what}`,
  );
}

function summary(findings: readonly Finding[]): string {
  const unknown = findings.filter((f) => f.unknown).length;
  const parts = [
    plural(count(findings, "problem"), "problem"),
    plural(count(findings, "warning"), "warning"),
    plural(count(findings, "note") - unknown, "note"),
    `${count(findings, "ok")} ok`,
    ...(unknown > 0 ? [`${unknown} that could not be told`] : []),
  ];
  return `${parts.join(", ")}; docs/doctor.md explains each`;
}
