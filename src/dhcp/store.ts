/**
 * Leases on disk, one file each, so that a daemon that was stopped, killed or replaced goes on with what it had. Each file
 * is written beside its place, synced and renamed, and the directory synced: after a power loss there is the old one or
 * the new one.
 */
import { errorText } from "../cni/errors.ts";
import { decodeAs, type Decode, integer, object, parseJson, required, text } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { requireTrusted } from "../netstate/trusted-dir.ts";
import {
  listDir,
  makeDirs,
  O,
  openFile,
  putText,
  readText,
  removeIfThere,
  renameFile,
  syncPath,
} from "../sys/files.ts";
import { type Lock, tryLockFile } from "../sys/flock.ts";
import type { Stamp } from "./clock.ts";
import {
  type Client,
  type LeaseKey,
  type LinkRef,
  type NetnsRef,
  readClient,
  readKey,
  readLink,
  readNetns,
  readTerms,
  type Terms,
} from "./model.ts";

/** A lease as it is kept, in memory and on disk. */
export interface Lease {
  readonly key: LeaseKey;
  readonly netns: NetnsRef;
  readonly link: LinkRef;
  readonly client: Client;
  readonly terms: Terms;
  /** When the request was sent that the server granted last. */
  readonly granted: Stamp;
  /** Why the lease is over; it is kept until DEL, so that CHECK can say so. */
  readonly over?: string;
}

const VERSION = 1;
const readLease: Decode<Lease> = object({
  key: required(readKey),
  netns: required(readNetns),
  link: required(readLink),
  client: required(readClient),
  terms: required(readTerms),
  granted: required(
    object({ sinceMs: required(integer()), wallMs: required(integer()), bootId: required(text) }),
  ),
  over: text,
});
const readVersion = object({ v: required(integer()) });

/** One lease's name: the same for the same attachment and family. */
export function leaseId(key: LeaseKey, family: 4 | 6): string {
  const words = JSON.stringify([key.network, key.containerId, key.ifname, family]);
  return new Bun.CryptoHasher("sha256").update(words).digest("hex").slice(0, 32);
}

export interface Store extends Disposable {
  /** Everything that can be read; `log` hears of the rest, which stays where it is. */
  load(log: (line: string) => void): readonly Lease[];
  save(lease: Lease): void;
  remove(key: LeaseKey, family: 4 | 6): void;
}

const ENDING = ".json";
const DRAFT = ".new";
const LOCK = "lock";

/** The directory of leases below a state directory. */
export const leaseDir = (stateDir: string): string => `${stateDir}/dhcp`;

/**
 * Opens the directory for one daemon.
 * @throws resource/exists if another daemon has it, env/invalid if others than root can write to it
 */
export function openStore(stateDir: string): Store {
  requireTrusted(stateDir, "HEDDLE_STATE_DIR");
  const dir = leaseDir(stateDir);
  makeDirs(dir, 0o700);
  const lock: Lock | undefined = tryLockFile(`${dir}/${LOCK}`);
  if (lock === undefined) throw new NetError("resource/exists", { what: "another DHCP daemon", where: dir });
  const pathOf = (key: LeaseKey, family: 4 | 6): string => `${dir}/${leaseId(key, family)}${ENDING}`;
  return {
    load: (log) => loadAll(dir, log),
    save(lease) {
      const path = pathOf(lease.key, lease.terms.family);
      const draft = path + DRAFT;
      putText(draft, `${JSON.stringify({ v: VERSION, ...lease })}\n`, O.CREAT | O.TRUNC | O.NOFOLLOW, 0o600);
      syncPath(draft);
      renameFile(draft, path);
      syncPath(dir);
    },
    remove(key, family) {
      if (removeIfThere(pathOf(key, family))) syncPath(dir);
    },
    [Symbol.dispose]: () => lock[Symbol.dispose](),
  };
}

/** True if a lease of this attachment is on disk: asked by a plugin whose daemon does not answer. */
export function hasLease(stateDir: string, key: LeaseKey): boolean {
  const dir = leaseDir(stateDir);
  return ([4, 6] as const).some((family) => {
    try {
      using _ = openFile(`${dir}/${leaseId(key, family)}${ENDING}`, O.RDONLY | O.NOFOLLOW);
      return true;
    } catch (e) {
      if (e instanceof NetError && e.is("sys/call") && ["ENOENT", "ENOTDIR"].includes(e.detail.errno))
        return false;
      throw e;
    }
  });
}

function loadAll(dir: string, log: (line: string) => void): readonly Lease[] {
  const leases: Lease[] = [];
  for (const { name } of listDir(dir)) {
    const path = `${dir}/${name}`;
    // What a killed daemon had not finished writing.
    if (name.endsWith(DRAFT)) removeIfThere(path);
    if (!name.endsWith(ENDING)) continue;
    try {
      leases.push(decodeLease(readText(path, O.NOFOLLOW), path));
    } catch (e) {
      log(`left alone, because it cannot be read: ${errorText(e)}`);
    }
  }
  return leases;
}

/** @throws decode/malformed */
export function decodeLease(source: string, path: string): Lease {
  const value = parseJson(source, path);
  const { v } = decodeAs(path, readVersion, value);
  if (v !== VERSION)
    throw new NetError("decode/malformed", { what: path, why: `version ${v} is not ${VERSION}` });
  return decodeAs(path, readLease, value);
}

const STATE_DIR = "/var/lib/heddle";

/** `/var/lib/heddle`, or `HEDDLE_STATE_DIR` if that is an absolute path: what must outlive the process, and a reboot. */
export function stateDir(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const asked = env["HEDDLE_STATE_DIR"];
  return asked !== undefined && asked.startsWith("/") ? asked : STATE_DIR;
}
