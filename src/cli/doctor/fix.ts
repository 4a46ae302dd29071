/**
 * What the doctor may put right by itself: what is Heddle's own, and what a command of Heddle's does anyway. It never
 * touches chains, links, configurations, parameters or reservations of others, and never a container that lives.
 */
import { fchmodSync } from "node:fs";
import { collectDead } from "../../cni/collect.ts";
import type { Runtime } from "../../cni/runtime.ts";
import { describeOwner } from "../../netstate/alive.ts";
import { reload } from "../../netstate/reload.ts";
import { O, openFile, statFd } from "../../sys/files.ts";
import { removeEmptyRecords } from "../../netstate/record.ts";
import { failureOf } from "../../errors.ts";
import type { FindingId } from "./catalogue.ts";
import { isOpen } from "./checks/files.ts";
import type { HostFacts } from "./facts.ts";
import type { Finding } from "./finding.ts";

/** One thing that is put right, or would be. */
export interface Fix {
  /** The findings that ask for it. */
  readonly ids: readonly FindingId[];
  readonly what: string;
  readonly run: () => Promise<readonly Done[]>;
}

/** What was done, one line each. */
export interface Done {
  readonly what: string;
  readonly failure?: Error;
}

export interface FixMeans {
  readonly runtime: Runtime;
  readonly confDir: string;
}

/** What can be done about these findings, each thing once, in the order in which it has to be done. Does nothing yet. */
export function planFixes(findings: readonly Finding[], facts: HostFacts, means: FixMeans): readonly Fix[] {
  const asked = (...ids: readonly FindingId[]): readonly FindingId[] =>
    ids.filter((id) => findings.some((f) => f.id === id && f.severity !== "ok" && !f.unknown));
  const fixes = [
    permissionFix(asked("state-permissions"), facts),
    {
      ids: asked("attachment-dead", "cache-dead"),
      what: "detach containers whose network namespace is gone (heddle gc)",
      run: () => detach(means),
    },
    {
      ids: asked("record-unreadable"),
      what: "remove empty records that no process is about to write",
      run: removeEmpty,
    },
    {
      ids: asked("rules-lost", "forwarding", "loopback-exposed").filter(() => lives(facts)),
      what: "put back firewall rules and shared settings of live attachments (heddle reload)",
      run: putBack,
    },
  ];
  return fixes.filter((fix) => fix.ids.length > 0);
}

const lives = ({ state: { attachments } }: HostFacts): boolean =>
  attachments.known && attachments.value.some((a) => a.state === "live");

/** Takes from group and others what they may write of Heddle's state. A file of another user stays as it is. */
function permissionFix(ids: readonly FindingId[], { files: { state } }: HostFacts): Fix {
  const open = state.known ? state.value.filter((f) => f.belongs === "own" && isOpen(f)) : [];
  return {
    ids: open.length === 0 ? [] : ids,
    what: `take from group and others the right to write ${open.map((f) => f.path).join(", ")}`,
    run: async () => {
      const done: Done[] = [];
      // Directories come before what is in them: from then on nobody else exchanges that.
      for (const { path } of open) {
        const failure = await failureOf(async () => takeWriting(path));
        done.push({ what: `chmod go-w ${path}`, ...(failure ? { failure } : {}) });
      }
      return done;
    },
  };
}

/** Never follows a symbolic link, which somebody else may have put there; what is not ours by now stays as it is. */
function takeWriting(path: string): void {
  using fd = openFile(path, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  const { uid, mode } = statFd(fd.raw);
  if (uid === 0 || uid === process.geteuid?.()) fchmodSync(fd.raw, mode & 0o7777 & ~0o022);
}

async function detach({ runtime, confDir }: FixMeans): Promise<readonly Done[]> {
  const done = await collectDead(runtime, confDir);
  return done.map(({ network, containerId, ifname, failure }) => ({
    what: `detached container ${containerId} (${ifname}, network ${network})`,
    ...(failure ? { failure } : {}),
  }));
}

async function removeEmpty(): Promise<readonly Done[]> {
  const failure = await failureOf(async () => removeEmptyRecords("heddle-"));
  return [{ what: "removed empty records", ...(failure ? { failure } : {}) }];
}

async function putBack(): Promise<readonly Done[]> {
  const done = await reload();
  return done.map(({ record, failure }) => ({
    what: `restored ${record.owner.component} of ${describeOwner(record)}`,
    ...(failure ? { failure } : {}),
  }));
}
