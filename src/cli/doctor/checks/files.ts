/** Who may write what root acts on, and files that are younger than the clock allows. */
import { some } from "../commands.ts";
import type { HostFacts } from "../facts.ts";
import { cannotTell, type Check, type Finding, problem, whenSeen } from "../finding.ts";
import type { FileFact } from "../gather/files.ts";
import type { Seen } from "../seen.ts";
import type { FindingId } from "../catalogue.ts";

type Facts = Pick<HostFacts, "files" | "nowMs">;

/** Group and others may write. */
const WRITABLE = 0o022;

const mode = (bits: number): string => bits.toString(8).padStart(4, "0");

export const files: Check<Facts> = {
  ids: ["state-permissions", "config-permissions", "plugin-permissions", "clock-behind"],
  run: ({ files: { state, config, plugins }, nowMs }) => [
    ...permissions("state-permissions", state),
    ...permissions("config-permissions", config),
    ...permissions("plugin-permissions", plugins),
    ...whenSeen("clock-behind", state, (all) => clock(all, nowMs)),
  ],
};

/** True if somebody else than root, or than who looks, can change it. */
export const isOpen = ({ belongs, mode: bits }: FileFact): boolean =>
  belongs === "other" || (bits & WRITABLE) !== 0;

function permissions(id: FindingId, fact: Seen<readonly FileFact[]>): readonly Finding[] {
  return whenSeen(id, fact, (all) => {
    const hidden = all.filter((f) => f.belongs === "hidden" && !isOpen(f)).map((f) => f.path);
    return [
      ...all.filter(isOpen).map((file) => openFile(id, file)),
      ...(hidden.length === 0
        ? []
        : [cannotTell(id, `this user namespace does not show to whom these belong: ${some(hidden, 3)}`)]),
    ];
  });
}

function openFile(id: FindingId, { path, uid, belongs, mode: bits }: FileFact): Finding {
  const isOther = belongs === "other";
  const seen = isOther
    ? `${path} belongs to user ${uid}, mode ${mode(bits)}`
    : `${path} has mode ${mode(bits)}`;
  return problem(
    id,
    path,
    seen,
    ...(isOther ? [`chown root:root ${path}`] : []),
    ...((bits & WRITABLE) === 0 ? [] : [`chmod go-w ${path}`]),
  );
}

/** Clocks of a file system and of the system may differ by a tick, those of machines that share one by more. */
const TOLERANCE_MS = 60_000;

function clock(all: readonly FileFact[], nowMs: number): readonly Finding[] {
  const ahead = all.filter((f) => f.modifiedMs > nowMs + TOLERANCE_MS);
  if (ahead.length === 0) return [];
  const seconds = Math.round((Math.max(...ahead.map((f) => f.modifiedMs)) - nowMs) / 1000);
  const seen = `it is ${new Date(nowMs).toISOString()}, and ${some(
    ahead.map((f) => f.path),
    3,
  )} will be written in ${seconds} s`;
  return [problem("clock-behind", "clock", seen, "timedatectl set-ntp true")];
}
