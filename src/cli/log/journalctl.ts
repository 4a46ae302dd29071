/** Reads the journal by the system's own program: its files have no other stable reader. */
import { parseJson } from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import { type LogEntry, logEntry } from "./entry.ts";

/** The newest so many. */
const MOST = 10_000;
const LIMIT_MS = 30_000;

/** What plugins told, oldest first. @throws program/failed if there is no journalctl, or it refuses `since` */
export async function readJournal(since: string | undefined): Promise<readonly LogEntry[]> {
  const path = Bun.which("journalctl", { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" });
  if (path === null)
    throw new NetError("program/failed", { program: "journalctl", why: "it is not on this host" });
  const child = Bun.spawn(
    [
      ...[path, "--output=json", "--no-pager", "--quiet", `--lines=${MOST}`],
      ...(since === undefined ? [] : [`--since=${since}`]),
      "SYSLOG_IDENTIFIER=heddle",
    ],
    { env: { LC_ALL: "C" }, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: LIMIT_MS },
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (stderr.trim() !== "") throw new NetError("program/failed", { program: path, why: stderr.trim() });
  return stdout.split("\n").flatMap(entryOf);
}

/** What is no entry of a plugin is passed over: anybody can write under our name. */
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
