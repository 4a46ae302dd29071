/**
 * The directory of one network's reservations, under its lock, in the reference's format: a file a reservation, named
 * by the address and holding the owner; `lock`; `last_reserved_ip.N`. A reservation appears whole or not at all. It
 * knows files and owners, not ranges.
 */
import type { AttachmentKey } from "../../../cni/plugin.ts";
import { type Ip, parseIp } from "../../../net/ip.ts";
import { requireOwnDir } from "../../../netstate/trusted-dir.ts";
import { lockFile } from "../../../sys/flock.ts";
import { errnoOf, listDir, readText, statPath } from "../../../sys/files.ts";
import { type Files, unless } from "./files.ts";
import { type Change, extendIndex, filesOf, type Index, readIndex, writeIndex } from "./index-file.ts";

const LOCK = "lock";
const LAST = "last_reserved_ip.";
/**
 * Holds the owner until the address is linked to it. The reference passes over it when it looks for an owner's
 * addresses (the name is none) and removes it with that owner's files, so a left-over one does no harm.
 */
const DRAFT = ".heddle-draft";

/** Where a network keeps its reservations, and where the index of them is. */
export interface Place {
  readonly dir: string;
  readonly index: string;
}

export const placeOf = (dataDir: string, network: string): Place => ({
  dir: `${dataDir}/${network}`,
  // No network has this name: names begin with a letter or a digit.
  index: `${dataDir}/.heddle/${network}.index`,
});

type Picture =
  | { readonly kind: "index"; readonly index: Index }
  | { readonly kind: "scan"; readonly entries: ReadonlyMap<string, string> };

export interface Store extends Disposable {
  readonly place: Place;
  readonly files: Files;
  readonly picture: Picture;
  /** What this holder of the lock has changed. */
  readonly changes: Change[];
}

/** The content of a reservation file. */
export const ownerText = (key: AttachmentKey): string => `${key.containerId.trim()}\r\n${key.ifname}`;
/** What releases before the interface was recorded wrote. */
const oldOwnerText = (key: AttachmentKey): string => key.containerId.trim();

/**
 * Waits for the network's lock, making the directory if it is missing. Release it by disposing.
 * @throws config/invalid as `requireOwn`, sys/call
 */
export function openStore(place: Place, files: Files): Store {
  const store = openExisting(place, files);
  if (store) return store;
  files.makeDir(place.dir);
  return open(place, files);
}

/**
 * As `openStore`; undefined if there is no directory, and so no reservation. A network's name may be longer than the
 * name of a directory can be, or `dataDir` a file: ADD then fails, and DEL has nothing to do.
 */
export const openExisting = (place: Place, files: Files): Store | undefined =>
  unless("ENOENT", () => unless("ENAMETOOLONG", () => unless("ENOTDIR", () => open(place, files))));

/** @throws config/invalid */
export const requireOwn = ({ dir }: Place): void => requireOwnDir(dir, "ipam.dataDir");

function open(place: Place, files: Files): Store {
  requireOwn(place);
  const lock = lockFile(`${place.dir}/${LOCK}`, "exclusive");
  try {
    const index = readIndex(place.index, place.dir);
    const picture: Picture = index
      ? { kind: "index", index }
      : { kind: "scan", entries: scan(place.dir, files) };
    return { place, files, picture, changes: [], [Symbol.dispose]: () => lock[Symbol.dispose]() };
  } catch (e) {
    lock[Symbol.dispose]();
    throw e;
  }
}

function scan(dir: string, files: Files): Map<string, string> {
  const entries = new Map<string, string>();
  for (const { name, isFile } of listDir(dir)) {
    if (!isFile || name === LOCK || name.startsWith(LAST)) continue;
    // We hold the lock, so whoever wrote this draft is dead.
    if (name === DRAFT) unless("ENOENT", () => files.unlink(`${dir}/${DRAFT}`));
    else entries.set(name, unless("ENOENT", () => readText(`${dir}/${name}`).trim()) ?? "");
  }
  return entries;
}

/** Every file and its owner, read from the directory if the index is not trusted with it. */
export const allEntries = (store: Store): ReadonlyMap<string, string> =>
  store.picture.kind === "scan" ? store.picture.entries : scan(store.place.dir, store.files);

function filesWith(store: Store, owner: string): string[] {
  const { picture } = store;
  if (picture.kind === "index") return filesOf(picture.index, owner);
  return [...picture.entries].filter(([, o]) => o === owner).map(([file]) => file);
}

/** The addresses of an attachment, those in the old format, which name the container alone, included. */
export function addressesOf(store: Store, key: AttachmentKey): Ip[] {
  const names = [...filesWith(store, ownerText(key)), ...filesWith(store, oldOwnerText(key))];
  return names.map(parseIp).flatMap((ip) => (ip.ok ? [ip.value] : []));
}

/** The owner recorded for an address: `undefined` if it is free, `""` if the file is empty. */
export const ownerOf = (place: Place, ip: Ip): string | undefined =>
  unless("ENOENT", () => readText(`${place.dir}/${ip.text}`).trim());

/** True if that file content names this attachment, in the present or the old format. */
export const isOwner = (content: string | undefined, key: AttachmentKey): boolean =>
  content === ownerText(key) || content === oldOwnerText(key);

export const isReserved = (place: Place, ip: Ip): boolean =>
  statPath(`${place.dir}/${ip.text}`) !== undefined;

/** An empty reservation, which the reference leaves when it is killed between creating and writing. */
export const isEmpty = (place: Place, file: string): boolean => statPath(`${place.dir}/${file}`)?.size === 0;

/** Every name in the directory; none if there is no directory. */
export const namesIn = (place: Place): ReadonlySet<string> =>
  new Set((unless("ENOENT", () => listDir(place.dir)) ?? []).map((entry) => entry.name));

/** Reserves an address; false if it is taken. */
export function reserve(store: Store, ip: Ip, key: AttachmentKey): boolean {
  const { files, place } = store;
  const draft = `${place.dir}/${DRAFT}`;
  const owner = ownerText(key);
  // No draft is there: one would have changed the directory, and then the scan has removed it.
  files.create(draft, owner);
  const linked = unless("EEXIST", () => (files.link(draft, `${place.dir}/${ip.text}`), true)) ?? false;
  if (linked) store.changes.push({ sign: "+", file: ip.text, owner });
  files.unlink(draft);
  return linked;
}

/** Removes a file of the directory; one that is gone already is fine. */
export function release(store: Store, file: string, owner: string): void {
  unless("ENOENT", () => store.files.unlink(`${store.place.dir}/${file}`));
  store.changes.push({ sign: "-", file, owner });
}

/**
 * Removes everything that an attachment owns, whatever the file is called; if there is nothing, what the container
 * owns in the old format.
 */
export function releaseAll(store: Store, key: AttachmentKey): void {
  if (releaseOwner(store, ownerText(key)) === 0) releaseOwner(store, oldOwnerText(key));
}

function releaseOwner(store: Store, owner: string): number {
  const mine = filesWith(store, owner).filter(
    // The index does not see a file that somebody wrote over in place; removing it would free a stranger's address.
    (file) => unless("ENOENT", () => readText(`${store.place.dir}/${file}`).trim()) === owner,
  );
  for (const file of mine) release(store, file, owner);
  return mine.length;
}

/** Takes back what this holder of the lock has reserved; the rest of a failed ADD. */
export function undo(store: Store): void {
  for (const { sign, file } of store.changes)
    if (sign === "+") unless("ENOENT", () => store.files.unlink(`${store.place.dir}/${file}`));
  unless("ENOENT", () => store.files.unlink(`${store.place.dir}/${DRAFT}`));
}

/** The address that was reserved last in range set `n`, if the directory says so. */
export function lastReserved(place: Place, n: number): Ip | undefined {
  const text = unless("ENOENT", () => readText(`${place.dir}/${LAST}${n}`).trim());
  const ip = text === undefined ? undefined : parseIp(text);
  return ip?.ok ? ip.value : undefined;
}

export function setLastReserved(store: Store, n: number, ip: Ip): void {
  store.files.write(`${store.place.dir}/${LAST}${n}`, ip.text);
}

/** Brings the index up to date with the changes. A failure costs the next caller a scan and nobody anything else. */
export function commit(store: Store): void {
  const { place, picture, changes, files } = store;
  try {
    if (picture.kind === "index") {
      if (changes.length > 0) extendIndex(place.index, place.dir, picture.index, changes, files);
      return;
    }
    const entries = new Map(picture.entries);
    for (const c of changes)
      if (c.sign === "+") entries.set(c.file, c.owner);
      else entries.delete(c.file);
    writeIndex(place.index, place.dir, entries, files);
  } catch (e) {
    if (errnoOf(e) === undefined) throw e;
  }
}
