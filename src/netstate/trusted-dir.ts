/**
 * Whether records in a directory can be believed. DEL puts back what a record says was there before, as root: who could
 * write a record could set any parameter of the kernel.
 */
import { NetError } from "../errors.ts";
import { inUserNamespace } from "../sys/capabilities.ts";
import { dirOf, type FileStat, statLink, statPath } from "../sys/files.ts";

/** Mode bits: others than the owner may write; in a sticky directory nobody removes what is somebody else's. */
const WRITABLE = 0o022;
const STICKY = 0o1000;

const checked = new Set<string>();

/**
 * A directory that is not there yet is made with mode 0700, so that only those above it count. One that is there is
 * looked at once in a process.
 * @throws NetError `env/invalid` if somebody else can write to `dir`, or put another directory in its place
 */
export function requireTrusted(dir: string, variable: string): void {
  const why = whyDistrusted(dir);
  if (why !== undefined)
    throw new NetError("env/invalid", { variables: [variable], why: `${why}, who could forge records` });
}

/**
 * The same of a directory that a configuration names. Who can write to it, or replace it, could have root write in any other
 * by a link, or do what root has never kept there. A user's own root, in a namespace of users, has no more than the user,
 * whose directories a group may share.
 * @throws NetError `config/invalid` if this is root, and `dir` not root's alone
 */
export function requireOwnDir(dir: string, field: string): void {
  if (process.geteuid?.() !== 0) return;
  const why = whyDistrusted(dir);
  if (why === undefined || inUserNamespace()) return;
  throw new NetError("config/invalid", { field, why: `${why}, who could lead root elsewhere by a link` });
}

/** Which directory somebody else can write to, and why, so that `path` is not ours alone; undefined if it is. */
export function whyDistrusted(path: string): string | undefined {
  const dir = path.startsWith("/") ? path : `${process.cwd()}/${path}`;
  if (checked.has(dir)) return undefined;
  const itself = statLink(dir);
  for (let at = dir; ; at = dirOf(at)) {
    const why = distrust(at, at === dir ? itself : statLink(at), at !== dir);
    if (why !== undefined) return `${at} ${why}`;
    if (at === dirOf(at)) break;
  }
  // Below a sticky directory somebody else may make what is not there yet.
  if (itself !== undefined) checked.add(dir);
  return undefined;
}

function distrust(path: string, link: FileStat | undefined, isAbove: boolean): string | undefined {
  const there = link?.isLink === true ? statPath(path) : link;
  if (link === undefined || there === undefined) return undefined;
  const believed = (found: FileStat): boolean => isOwn(found) || (isAbove && isOutsiders(found));
  if (!believed(link) || !believed(there)) return `belongs to user ${isOwn(link) ? there.uid : link.uid}`;
  const writable = (there.mode & WRITABLE) !== 0 && !(isAbove && (there.mode & STICKY) !== 0);
  return writable ? "can be written to by others" : undefined;
}

/** What a user namespace shows for every user that it does not have, the machine's own root among them. */
const OVERFLOW_UID = 65534;

const isOutsiders = ({ uid }: FileStat): boolean => uid === OVERFLOW_UID && inUserNamespace();
const isOwn = ({ uid }: FileStat): boolean => uid === 0 || uid === process.geteuid?.();
