import { type KnownAttachment, lastMac, listAttachments } from "../../cni/attachments.ts";
import { liveNetns } from "../../cni/cache.ts";
import { compareFirewalls } from "../../netstate/compare-firewalls.ts";
import { backendsOf, healthOf } from "../../netstate/health.ts";
import { listUnrecorded } from "../../netstate/unrecorded.ts";
import { addressesOf, type Entry, portsOf } from "./entry.ts";
import { type LostAttachment, lostAttachments, marksWithoutRecord, whyLost } from "./lost.ts";

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
  const lost = lostAttachments(left, everything).map(lostEntry);
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
  const why = found.length > 0 ? whyLost(found) : "made by other plugins, or its record is lost";
  return { state: "no record", why, findings: [] };
}

/** What only the kernel knows. */
const lostEntry = ({ key, component, network, what }: LostAttachment): Entry => ({
  key,
  network: network ?? null,
  containerId: null,
  ifname: null,
  netns: null,
  plugins: [component],
  addresses: [],
  ports: [],
  since: null,
  state: "no record",
  why: whyLost(what),
  findings: [],
});
