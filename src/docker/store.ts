/**
 * What has to outlive this process and Docker's, on disk: a file for each network, endpoint, pool and address. Each is
 * written beside its place, synced and renamed, and the directory synced: after a power loss there is the old one or the new
 * one.
 */
import { errorText } from "../cni/errors.ts";
import { anyObject, decodeAs, integer, type JsonObject, object, parseJson, required } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { requireTrusted } from "../netstate/trusted-dir.ts";
import {
  listDir,
  makeDirs,
  O,
  putText,
  readText,
  removeIfThere,
  renameFile,
  syncPath,
  unlessErrno,
} from "../sys/files.ts";
import { tryLockFile } from "../sys/flock.ts";

/** What there are files of. */
export type Shelf = "networks" | "endpoints" | "pools" | "addresses";
const shelves: readonly Shelf[] = ["networks", "endpoints", "pools", "addresses"];

export interface Store extends Disposable {
  /** Everything on a shelf that can be read; `log` hears of the rest, which stays where it is. */
  load(shelf: Shelf, log: (line: string) => void): readonly JsonObject[];
  save(shelf: Shelf, key: string, value: JsonObject): void;
  /** Nothing there is fine. */
  remove(shelf: Shelf, key: string): void;
}

const VERSION = 1;
const ENDING = ".json";
const DRAFT = ".new";
const readFile = object({ v: required(integer()), value: required(anyObject) });

/** The same file for the same key. */
const fileName = (key: string): string =>
  new Bun.CryptoHasher("sha256").update(key).digest("hex").slice(0, 32) + ENDING;

/**
 * Opens the directory below a state directory for one process.
 * @throws resource/exists if another one has it, env/invalid if others than root can write to it
 */
export function openStore(stateDir: string): Store {
  requireTrusted(stateDir, "HEDDLE_STATE_DIR");
  const dir = `${stateDir}/docker`;
  for (const shelf of shelves) makeDirs(`${dir}/${shelf}`, 0o700);
  const lock = tryLockFile(`${dir}/lock`);
  if (lock === undefined)
    throw new NetError("resource/exists", { what: "another Docker plugin", where: dir });
  return {
    load: (shelf, log) => loadAll(`${dir}/${shelf}`, log),
    save(shelf, key, value) {
      const path = `${dir}/${shelf}/${fileName(key)}`;
      const draft = path + DRAFT;
      putText(draft, `${JSON.stringify({ v: VERSION, value })}\n`, O.CREAT | O.TRUNC | O.NOFOLLOW, 0o600);
      syncPath(draft);
      renameFile(draft, path);
      syncPath(`${dir}/${shelf}`);
    },
    remove(shelf, key) {
      if (removeIfThere(`${dir}/${shelf}/${fileName(key)}`)) syncPath(`${dir}/${shelf}`);
    },
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
}

function loadAll(dir: string, log: (line: string) => void): readonly JsonObject[] {
  const found: JsonObject[] = [];
  for (const { name } of unlessErrno(["ENOENT"], () => listDir(dir)) ?? []) {
    const path = `${dir}/${name}`;
    // What a killed process had not finished writing.
    if (name.endsWith(DRAFT)) removeIfThere(path);
    if (!name.endsWith(ENDING)) continue;
    try {
      const { v, value } = decodeAs(path, readFile, parseJson(readText(path, O.NOFOLLOW), path));
      if (v !== VERSION)
        throw new NetError("decode/malformed", { what: path, why: `version ${v} is not ${VERSION}` });
      found.push(value);
    } catch (e) {
      log(`left alone, because it cannot be read: ${errorText(e)}`);
    }
  }
  return found;
}
