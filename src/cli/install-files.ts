/**
 * Puts one executable and its links into a directory that others use at the same time. Nothing is touched before
 * everything has been looked at; each change is one link(2), symlink(2) or rename(2), so that a name is never missing
 * and never half a file. Knows nothing of plugins.
 */
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { executableMark } from "../build-info.ts";
import { NetError } from "../errors.ts";

/** The name of the file that all links point to. */
const FILE = "heddle";
/**
 * A small file that is a plugin by its own name: the kernel starts the executable for it (execve(2), "Interpreter
 * scripts"), which has to be at this path.
 */
export const PLUGIN_STUB = "#!/opt/cni/bin/heddle as-plugin\n";
/** Unfinished files; the number is the process that works on it. */
const TEMPORARY = /^\.heddle-install-(\d+)-\d+$/;

export interface InstallPlan {
  /** The executable to copy. */
  readonly source: string;
  readonly dir: string;
  /** Names that become links to the file. */
  readonly links: readonly string[];
  /** Names that become small files, `PLUGIN_STUB`: whoever writes to one of these does not write to the executable. */
  readonly stubs: readonly string[];
  /** Replace what is not ours. */
  readonly force: boolean;
}
export interface Installed {
  readonly name: string;
  readonly what: "created" | "replaced" | "unchanged";
}
type Before = "absent" | "done" | "ours" | "foreign" | "directory";

/**
 * Carries the plan out.
 * @throws resource/exists, with nothing changed, if a name belongs to somebody else; sys/call
 */
export function install({ source, dir, links, stubs, force }: InstallPlan): readonly Installed[] {
  return describingErrors(dir, () => {
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    removeAbandoned(dir);
    const before = [
      [FILE, fileBefore(join(dir, FILE), source)] as const,
      ...links.map((name) => [name, linkBefore(join(dir, name))] as const),
      ...stubs.map((name) => [name, stubBefore(join(dir, name))] as const),
    ];
    refuse(before, dir, force);
    return before.map(([name, state]) => {
      if (state === "done") return { name, what: "unchanged" as const };
      const put = name === FILE ? putFile : stubs.includes(name) ? putStub : putLink;
      put(source, dir, name, state === "absent");
      return { name, what: state === "absent" ? ("created" as const) : ("replaced" as const) };
    });
  });
}

function refuse(before: readonly (readonly [string, Before])[], dir: string, force: boolean): void {
  const inTheWay = before.filter(([, state]) => state === "directory" || (state === "foreign" && !force));
  if (inTheWay.length === 0) return;
  const what = inTheWay.map(([name]) => name).join(", ");
  const advice = inTheWay.some(([, state]) => state === "directory")
    ? ""
    : " (--force replaces what is not Heddle's)";
  throw new NetError("resource/exists", { what, where: `${dir}${advice}` });
}

function linkBefore(path: string): Before {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return "absent";
  if (found.isDirectory()) return "directory";
  if (found.isSymbolicLink()) return readlinkSync(path) === FILE ? "done" : "foreign";
  return isStub(path, found) ? "ours" : "foreign";
}

function stubBefore(path: string): Before {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return "absent";
  if (found.isDirectory()) return "directory";
  if (found.isSymbolicLink()) return readlinkSync(path) === FILE ? "ours" : "foreign";
  return isStub(path, found) ? "done" : "foreign";
}

const isStub = (path: string, found: Stats): boolean =>
  found.isFile() && found.size === PLUGIN_STUB.length && readFileSync(path, "utf8") === PLUGIN_STUB;

function fileBefore(path: string, source: string): Before {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return "absent";
  if (found.isDirectory()) return "directory";
  if (!found.isFile()) return "foreign";
  const wanted = statSync(source);
  // The running program is that file already; or it is another copy of it.
  if (found.dev === wanted.dev && found.ino === wanted.ino) return "done";
  if (found.size === wanted.size && (found.mode & 0o111) !== 0 && sameBytes(path, source)) return "done";
  return readFileSync(path).includes(executableMark) ? "ours" : "foreign";
}

function sameBytes(a: string, b: string): boolean {
  const [left, right] = [new Uint8Array(1 << 20), new Uint8Array(1 << 20)];
  const [fa, fb] = [openSync(a, "r"), openSync(b, "r")];
  try {
    for (;;) {
      const n = readSync(fa, left);
      const m = readSync(fb, right);
      if (n !== m || Buffer.compare(left.subarray(0, n), right.subarray(0, m)) !== 0) return false;
      if (n === 0) return true;
    }
  } finally {
    closeSync(fa);
    closeSync(fb);
  }
}

let counter = 0;
const temporaryIn = (dir: string): string => join(dir, `.heddle-install-${process.pid}-${++counter}`);

const putFile = (source: string, dir: string, name: string, absent: boolean): void =>
  putWhole(dir, name, absent, (temporary) =>
    copyFileSync(source, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL),
  );

const putStub = (_source: string, dir: string, name: string, absent: boolean): void =>
  putWhole(dir, name, absent, (temporary) => writeFileSync(temporary, PLUGIN_STUB, { flag: "wx" }));

function putWhole(dir: string, name: string, absent: boolean, make: (temporary: string) => void): void {
  const temporary = temporaryIn(dir);
  try {
    make(temporary);
    chmodSync(temporary, 0o755);
    sync(temporary);
    // A name that was free is taken only if it still is: somebody may have come between.
    if (absent) linkSync(temporary, join(dir, name));
    else renameSync(temporary, join(dir, name));
  } finally {
    rmSync(temporary, { force: true });
  }
}

function putLink(_source: string, dir: string, name: string, absent: boolean): void {
  if (absent) return symlinkSync(FILE, join(dir, name));
  const temporary = temporaryIn(dir);
  try {
    symlinkSync(FILE, temporary);
    renameSync(temporary, join(dir, name));
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** A power loss after the rename must not leave an empty plugin. */
function sync(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function removeAbandoned(dir: string): void {
  for (const name of readdirSync(dir)) {
    const pid = TEMPORARY.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join(dir, name), { force: true });
  }
}

function describingErrors<T>(dir: string, work: () => T): T {
  try {
    return work();
  } catch (e) {
    if (e instanceof NetError || !(e instanceof Error) || !("code" in e) || !("syscall" in e)) throw e;
    const on = "path" in e ? String(e.path) : dir;
    throw new NetError("sys/call", { call: String(e.syscall), on, errno: String(e.code) }, { cause: e });
  }
}
