import { attachmentKey, type KnownAttachment, lastMac, listAttachments } from "../../cni/attachments.ts";
import { liveNetns } from "../../cni/cache.ts";
import { compareFirewalls } from "../../netstate/compare-firewalls.ts";
import { backendsOf, healthOf } from "../../netstate/health.ts";
import { markOf, markPrefix } from "../../netstate/owner.ts";
import { listUnrecorded } from "../../netstate/unrecorded.ts";
import { addressesOf, type Entry, portsOf } from "./entry.ts";

/** Reads what is attached, and how each of it is: the records and the cache, then the kernel. */
export interface Asked {
  readonly cacheDir?: string;
  readonly network?: string;
  /** The beginning of a container's id. */
  readonly container?: string;
}

/** No more findings of one attachment than this are listed. */
const MOST_FINDINGS = 1;

export async function gatherEntries(
  asked: Asked,
  tell: (done: number, of: number) => void,
): Promise<readonly Entry[]> {
  const everything = listAttachments(asked.cacheDir);
  const list = everything.filter(
    (a) =>
      (asked.network === undefined || a.network === asked.network) &&
      (asked.container === undefined || a.containerId.startsWith(asked.container)),
  );
  using comparing = await compareFirewalls(backendsOf(list.flatMap((a) => a.records)));
  const left = listUnrecorded();
  const entries: Entry[] = [];
  for (const a of list) {
    tell(entries.length, list.length);
    entries.push(await entryOf(a, comparing.firewalls, left));
  }
  const cachedMarks = new Set(everything.flatMap(marksWithoutRecord));
  const lost = [...left]
    .filter(([mark]) => !cachedMarks.has(mark))
    .map(([mark, what]) => lostEntry(mark, what, everything));
  return [
    ...entries,
    ...lost.filter(
      (e) => asked.container === undefined && (asked.network === undefined || e.network === asked.network),
    ),
  ];
}

type Firewalls = Parameters<typeof healthOf>[1]["firewalls"];
type Left = ReturnType<typeof listUnrecorded>;

async function entryOf(a: KnownAttachment, firewalls: Firewalls, left: Left): Promise<Entry> {
  const { key, network, containerId, ifname, plugins } = a;
  const health = await healthEntry(a, firewalls, left);
  return {
    key,
    network,
    containerId,
    ifname,
    netns: a.netns ?? null,
    plugins,
    addresses: addressesOf(a),
    ports: portsOf(a),
    since: a.since === undefined ? null : new Date(a.since).toISOString(),
    ...health,
  };
}

async function healthEntry(
  a: KnownAttachment,
  firewalls: Firewalls,
  left: Left,
): Promise<Pick<Entry, "state" | "why" | "findings">> {
  if (a.records.length === 0) return withoutRecord(a, left);
  const mac = lastMac(a);
  const health = await healthOf(a.records, { firewalls, most: MOST_FINDINGS, ...(mac ? { mac } : {}) });
  return {
    state: health.state,
    why: health.state === "dead" ? health.why : null,
    findings: health.state === "broken" ? health.findings : [],
  };
}

/** Of the cache alone: made by other plugins, or its record is lost. */
function withoutRecord(a: KnownAttachment, left: Left): Pick<Entry, "state" | "why" | "findings"> {
  if (a.cached !== undefined && a.netns !== undefined && liveNetns(a.cached) === undefined)
    return { state: "dead", why: `its namespace ${a.netns} is gone`, findings: [] };
  const found = marksWithoutRecord(a).flatMap((mark) => left.get(mark) ?? []);
  const why =
    found.length > 0
      ? `its record is lost; its own in the kernel: ${found.join(", ")}`
      : "made by other plugins, or its record is lost";
  return { state: "no record", why, findings: [] };
}

/** The marks that an attachment of the cache would have. */
const marksWithoutRecord = (a: KnownAttachment): readonly string[] =>
  a.records.length > 0
    ? []
    : a.plugins.map((component) =>
        markOf({ component, network: a.network, containerId: a.containerId, ifname: a.ifname }),
      );

/** `heddle-COMPONENT-NETWORK-ATTACHMENT`, the last two hashes. */
const MARK = /^heddle-(.+)-[0-9a-f]{12}-([0-9a-f]{12})[0-9a-f]{4}$/;

/** What only the kernel knows. Its network is one that other attachments are on, if it is known at all. */
function lostEntry(mark: string, what: readonly string[], known: readonly KnownAttachment[]): Entry {
  const [, component = mark, digits] = MARK.exec(mark) ?? [];
  const networks = new Set(known.map((a) => a.network));
  return {
    key: digits ?? attachmentKey({ network: "", containerId: mark, ifname: "" }),
    network: [...networks].find((n) => mark.startsWith(markPrefix(component, n))) ?? null,
    containerId: null,
    ifname: null,
    netns: null,
    plugins: [component],
    addresses: [],
    ports: [],
    since: null,
    state: "no record",
    why: `its record is lost; its own in the kernel: ${what.join(", ")}`,
    findings: [],
  };
}
