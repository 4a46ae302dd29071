/** Reads the journal by the system's own program: its files have no other stable reader. */
import { parseJson } from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import { userOutside } from "../../sys/capabilities.ts";
import { complain } from "../output.ts";
import { printable } from "../terminal.ts";
import { concerns, type LogEntry, logEntry } from "./entry.ts";

/** The newest so many. */
const MOST = 10_000;
const LIMIT_MS = 30_000;

/**
 * What plugins told, oldest first: of the attachment with that key and of the container with that id, however long ago;
 * else of all whose key or container's id begins so, among the newest of everything.
 * @throws program/failed if there is no journalctl, or it refuses `since`
 */
export async function readJournal(
  key: string | undefined,
  since: string | undefined,
): Promise<readonly LogEntry[]> {
  if (key === undefined) return ask([[]], since);
  const named = await ask([[`HEDDLE_KEY=${key}`], [`HEDDLE_CONTAINER_ID=${key}`]], since);
  return named.length > 0 ? named : (await ask([[]], since)).filter((e) => concerns(e, key));
}

/** Anybody can write under our name, but not under another user's: root's entries count, and one's own. */
const believed = (): readonly string[] => [
  "SYSLOG_IDENTIFIER=heddle",
  ...new Set([0, userOutside()].map((uid) => `_UID=${uid}`)),
];

/** Entries with all the fields of one of the groups. */
async function ask(
  groups: readonly (readonly string[])[],
  since: string | undefined,
): Promise<readonly LogEntry[]> {
  const path = Bun.which("journalctl", { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" });
  if (path === null)
    throw new NetError("program/failed", { program: "journalctl", why: "it is not on this host" });
  const child = Bun.spawn(
    [
      // Without --all a field that is longer than 4096 bytes is left out.
      ...[path, "--output=json", "--all", "--no-pager", "--quiet", `--lines=${MOST}`],
      ...(since === undefined ? [] : [`--since=${since}`]),
      ...groups.flatMap((fields, i) => [...(i === 0 ? [] : ["+"]), ...believed(), ...fields]),
    ],
    { env: { LC_ALL: "C" }, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: LIMIT_MS },
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const said = stderr.trim();
  if (child.exitCode !== 0) {
    const end =
      child.signalCode === null ? `it ended with ${child.exitCode}` : `ended by ${child.signalCode}`;
    throw new NetError("program/failed", { program: path, why: said === "" ? end : said });
  }
  // One of its files may be damaged: what is in the others is told all the same.
  for (const line of said === "" ? [] : said.split("\n")) complain(`${path}: ${printable(line)}`);
  return stdout.split("\n").flatMap(entryOf);
}

/** What is no entry of a plugin is passed over. */
function entryOf(line: string): readonly LogEntry[] {
  if (line === "") return [];
  try {
    const entry = logEntry(parseJson(line, "an entry of the journal"), "");
    return entry.plugin === undefined ? [] : [entry];
  } catch (e) {
    if (e instanceof NetError) return [];
    throw e;
  }
}
