/** Whom files belong to and who may write them: Heddle's state, the configurations, the plugins. */
import { runDir } from "../../../netstate/record.ts";
import { inUserNamespace } from "../../../sys/capabilities.ts";
import { type FileStat, listDir, statLink, statPath, unlessErrno } from "../../../sys/files.ts";
import { look, type Seen } from "../seen.ts";

export interface FileFacts {
  readonly state: Seen<readonly FileFact[]>;
  readonly config: Seen<readonly FileFact[]>;
  readonly plugins: Seen<readonly FileFact[]>;
}

/** Whose a file is: root's, or who looks; somebody else's; or, in a user namespace, of a user that it does not show. */
export type Belongs = "own" | "other" | "hidden";

export interface FileFact {
  readonly path: string;
  readonly uid: number;
  readonly belongs: Belongs;
  /** Permission bits with those of set-user-id, set-group-id and sticky. */
  readonly mode: number;
  readonly modifiedMs: number;
}

export interface FilePlaces {
  /** `/var/lib/heddle`, or where it was put. */
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly reservationDirs: Seen<readonly string[]>;
  readonly confDir: string;
  readonly pluginDirs: Seen<readonly string[]>;
}

export function gatherFiles(places: FilePlaces): FileFacts {
  const run = runDir();
  const { stateDir, cacheDir, reservationDirs, confDir, pluginDirs } = places;
  return {
    state: !reservationDirs.known
      ? reservationDirs
      : look(() => [
          ...factOf(run),
          ...[`${run}/attachments`, `${run}/lock`, `${cacheDir}/results`].flatMap(withOwnFiles),
          ...withOwnFiles(stateDir).flatMap((f) => (f.path === stateDir ? [f] : withOwnFiles(f.path))),
          ...reservationDirs.value.flatMap(factOf),
        ]),
    config: look(() => withFiles(confDir)),
    plugins: pluginDirs.known ? factsIn(pluginDirs.value) : pluginDirs,
  };
}

const factsIn = (dirs: readonly string[]): Seen<readonly FileFact[]> => look(() => dirs.flatMap(withFiles));

/** A directory and what is in it; nothing if it is not there. */
const withFiles = (dir: string): readonly FileFact[] => [...factOf(dir), ...namesIn(dir).flatMap(factOf)];

/** The same where nobody but Heddle puts anything: a symbolic link there is none of its files. */
const withOwnFiles = (dir: string): readonly FileFact[] => [
  ...factOf(dir),
  ...namesIn(dir).flatMap((path) => (statLink(path)?.isLink === true ? [] : factOf(path))),
];

const namesIn = (dir: string): readonly string[] =>
  (unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(dir)) ?? [])
    .map(({ name }) => `${dir}/${name}`)
    .toSorted();

/** What a symbolic link leads to counts: that is what is read and executed. */
function factOf(path: string): readonly FileFact[] {
  const found = statPath(path);
  return found === undefined ? [] : [fact(path, found)];
}

const PERMISSIONS = 0o7777;

/** What a user namespace shows for every user that it does not have (user_namespaces(7)). */
const OVERFLOW_UID = 65534;

const belongs = (uid: number): Belongs => {
  if (uid === 0) return "own";
  if (uid === OVERFLOW_UID && inUserNamespace()) return "hidden";
  return uid === process.geteuid?.() ? "own" : "other";
};

const fact = (path: string, { uid, mode, mtimeNs }: FileStat): FileFact => ({
  path,
  uid,
  belongs: belongs(uid),
  mode: mode & PERMISSIONS,
  modifiedMs: Number(mtimeNs / 1_000_000n),
});
