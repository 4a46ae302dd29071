/** What attachments have left or hold: records, reservations, cached results, and whether what is recorded is in place. */
import { type CachedAttachment, listCache, liveNetns } from "../../../cni/cache.ts";
import { isNetError } from "../../../errors.ts";
import { openContext } from "../../../netstate/context.ts";
import { type ComparedFirewalls, compareFirewalls } from "../../../netstate/compare-firewalls.ts";
import { whyDead } from "../../../netstate/health.ts";
import { verify } from "../../../netstate/interpret.ts";
import type { NetObject } from "../../../netstate/model.ts";
import { markOf, type Owner } from "../../../netstate/owner.ts";
import { listRecords, unreadableRecords } from "../../../netstate/record.ts";
import { openSpaces } from "../../../netstate/spaces.ts";
import { lookSteadily } from "../../../netstate/steady.ts";
import { listUnrecorded } from "../../../netstate/unrecorded.ts";
import { listDir, readText, statPath, unlessErrno } from "../../../sys/files.ts";
import { parseIp } from "../../../net/ip.ts";
import { look, lookLater, type Seen, seen } from "../seen.ts";

export interface StateFacts {
  readonly attachments: Seen<readonly RecordedAttachment[]>;
  /** What the kernel has with a mark and without a record, by the mark. */
  readonly unrecorded: Seen<ReadonlyMap<string, readonly string[]>>;
  /** Paths of records that say nothing. */
  readonly unreadable: Seen<readonly string[]>;
  readonly reservations: Seen<readonly Reservation[]>;
  readonly cached: Seen<readonly CachedFact[]>;
}

export interface RecordedAttachment {
  readonly owner: Owner;
  readonly mark: string;
  readonly state: "live" | "busy" | "dead";
  /** Of a dead one: why nobody lives behind it. */
  readonly why?: string;
  readonly objects: readonly NetObject[];
  /** Of a live one: what is not as it was made in the host's firewall, in its own words; undefined inside if nothing. */
  readonly firewall?: Seen<string | undefined>;
}

export interface Reservation {
  readonly network: string;
  readonly address: string;
  readonly containerId: string;
  /** Absent in files of releases that did not write it. */
  readonly ifname?: string;
  readonly file: string;
  readonly ageSeconds: number;
}

export interface CachedFact {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  /** Absent if the file names no namespace. */
  readonly netns?: string;
  readonly live: boolean;
  /** Our runtime wrote it. */
  readonly ours: boolean;
}

export interface StatePlaces {
  readonly cacheDir: string;
  /** Directories of reservations, each of one network. */
  readonly reservationDirs: Seen<readonly string[]>;
}

export async function gatherState(
  places: StatePlaces,
  nowMs: number,
  tell: (done: number, of: number) => void,
): Promise<StateFacts> {
  return {
    attachments: await lookLater(() => attachmentsOf(tell)),
    unrecorded: look(listUnrecorded),
    unreadable: look(() =>
      unreadableRecords("heddle-")
        .filter((path) => ageOf(path, nowMs) > WRITTEN_SECONDS)
        .toSorted(),
    ),
    reservations: places.reservationDirs.known
      ? reservationsOf(places.reservationDirs.value, nowMs)
      : places.reservationDirs,
    cached: look(() => listCache(places.cacheDir).map(cachedFact)),
  };
}

async function attachmentsOf(
  tell: (done: number, of: number) => void,
): Promise<readonly RecordedAttachment[]> {
  // The order of a directory is that of its file system.
  const records = listRecords("heddle-").toSorted((a, b) => (nameOf(a.owner) < nameOf(b.owner) ? -1 : 1));
  const found: RecordedAttachment[] = [];
  if (records.length === 0) return found;
  const opened = await openFirewalls();
  using _open = opened.known ? opened.value : undefined;
  for (const [i, { owner }] of records.entries()) {
    tell(i, records.length);
    found.push(...(await attachmentOf(owner, opened)));
  }
  return found;
}

const nameOf = (o: Owner): string => [o.network, o.containerId, o.ifname, o.component].join("/");

/** Of all backends: an attachment may be made anew, in another one, while the others are looked at. */
const openFirewalls = (): Promise<Seen<ComparedFirewalls>> =>
  lookLater(() => compareFirewalls(new Set(["nftables", "iptables", "firewalld"] as const)));

async function attachmentOf(
  owner: Owner,
  opened: Seen<ComparedFirewalls>,
): Promise<readonly RecordedAttachment[]> {
  const first = await lookAt(owner, opened);
  if (!first.some(hasLost)) return first;
  // What was listed once may be older than the attachment.
  const again = await openFirewalls();
  using _open = again.known ? again.value : undefined;
  return lookAt(owner, again);
}

const hasLost = ({ firewall }: RecordedAttachment): boolean =>
  firewall?.known === true && firewall.value !== undefined;

async function lookAt(owner: Owner, opened: Seen<ComparedFirewalls>): Promise<readonly RecordedAttachment[]> {
  const looked = await lookSteadily(owner, (record) => {
    const objects = record.state?.objects ?? [];
    const why = whyDead(record);
    return why === undefined
      ? { state: "live" as const, objects, firewall: compareFirewall(owner, objects, opened) }
      : { state: "dead" as const, objects, why };
  });
  const base = { owner, mark: markOf(owner) };
  if (looked.kind === "gone") return [];
  return [looked.kind === "busy" ? { ...base, state: "busy", objects: [] } : { ...base, ...looked.value }];
}

/** An ADD writes the first line at once after it has made the file. */
const WRITTEN_SECONDS = 10;

const ageOf = (path: string, nowMs: number): number =>
  nowMs / 1000 - Number((statPath(path)?.mtimeNs ?? BigInt(nowMs) * 1_000_000n) / 1_000_000_000n);

/** Compares what was entered into the host's firewall for it; the rest of it is CHECK's. */
function compareFirewall(
  owner: Owner,
  objects: readonly NetObject[],
  opened: Seen<ComparedFirewalls>,
): Seen<string | undefined> {
  const state = { objects: objects.filter((o) => o.kind === "firewall") };
  if (state.objects.length === 0) return seen(undefined);
  if (!opened.known) return opened;
  const { firewalls } = opened.value;
  return look(() => {
    using spaces = openSpaces(undefined);
    try {
      verify(state, openContext(markOf(owner), spaces, firewalls));
      return undefined;
    } catch (e) {
      if (isNetError(e, "check/differs")) return e.message;
      throw e;
    }
  });
}

const cachedFact = (entry: CachedAttachment): CachedFact => ({
  ...entry.key,
  ...(entry.netns === undefined ? {} : { netns: entry.netns }),
  live: liveNetns(entry) !== undefined,
  ours: entry.netnsId !== undefined,
});

const reservationsOf = (dirs: readonly string[], nowMs: number): Seen<readonly Reservation[]> =>
  look(() => dirs.flatMap((dir) => reservationsIn(dir, nowMs)));

/** The files of one network's directory, in the format of host-local: the container, and the interface on a second line. */
function reservationsIn(dir: string, nowMs: number): readonly Reservation[] {
  const network = dir.slice(dir.lastIndexOf("/") + 1);
  const names = unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(dir)) ?? [];
  return names
    .filter((e) => e.isFile && parseIp(e.name).ok)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name }): readonly Reservation[] => {
      const file = `${dir}/${name}`;
      const text = unlessErrno(["ENOENT"], () => readText(file));
      if (text === undefined) return []; // It was given back meanwhile.
      const [containerId = "", ifname] = text.trim().split(/\r?\n/);
      const named = ifname ? { ifname } : {};
      return [{ network, address: name, containerId, ...named, file, ageSeconds: ageOf(file, nowMs) }];
    });
}
