import { isNetError, NetError } from "../errors.ts";
import type { Backend } from "../firewall/model.ts";
import type { Mac } from "../net/mac.ts";
import { statPath } from "../sys/files.ts";
import { identifyNetns, isAlive, OWN_NETNS } from "./alive.ts";
import { type Context, openContext } from "./context.ts";
import { differences, loadKinds } from "./interpret.ts";
import type { NetObject, NetState } from "./model.ts";
import { markOf } from "./owner.ts";
import { type AttachmentRecord, isBusy, peekRecord } from "./record.ts";
import { asItIs } from "./reload.ts";
import { openSpaces, type Spaces } from "./spaces.ts";

/**
 * How an attachment is: whether it lives, and what the kernel has otherwise than its records say. The records are those of
 * the plugins of one list, in their order: what a later plugin changed of an earlier one's is no difference.
 */
export type Health =
  | { readonly state: "ok" }
  | { readonly state: "broken"; readonly findings: readonly Finding[] }
  | { readonly state: "dead"; readonly why: string }
  /** A call for it is at work, or has just taken it away. */
  | { readonly state: "busy" };

/** One difference between the kernel and the record of a plugin. */
export interface Finding {
  /** The plugin's type. */
  readonly component: string;
  readonly what: string;
  readonly wanted: string;
  readonly found: string;
}

export interface HealthOptions {
  /** Firewalls of every backend that the records name. */
  readonly firewalls: Context["firewalls"];
  /** No more findings than this are looked for. */
  readonly most: number;
  /** The address that the container's interface had after the last plugin, if that is known. */
  readonly mac?: Mac;
}

/** The firewalls that these records have rules in. */
export const backendsOf = (records: readonly AttachmentRecord[]): ReadonlySet<Backend> =>
  new Set(
    records.flatMap((r) =>
      (r.state?.objects ?? []).flatMap((o) => (o.kind === "firewall" ? [o.state.backend] : [])),
    ),
  );

/** Why there is no living container behind the record; undefined if there is one. */
export function whyDead(record: AttachmentRecord): string | undefined {
  if (isAlive(record)) return undefined;
  const { path } = record.netns;
  if (!record.committed) return "its ADD was ended before it was done";
  if (statPath(path) === undefined) return `its namespace ${path} is gone`;
  return identifyNetns(path) === undefined
    ? `${path} is no network namespace any more`
    : `${path} is another namespace by now`;
}

/** The health of the attachment of these records, at least one. Enters the container's namespace. */
export async function healthOf(
  records: readonly AttachmentRecord[],
  options: HealthOptions,
): Promise<Health> {
  const busy = (): boolean => records.some((r) => isBusy(r.owner));
  if (busy()) return { state: "busy" };
  const why = records.map(whyDead).find((w) => w !== undefined);
  if (why !== undefined) return { state: "dead", why };
  const findings = await examine(records, options);
  if (findings.length === 0) return { state: "ok" };
  // It may have begun to go, and what is found be half of it.
  if (busy() || records.some((r) => peekRecord(markOf(r.owner)) === undefined)) return { state: "busy" };
  const gone = records.map(whyDead).find((w) => w !== undefined);
  return gone === undefined ? { state: "broken", findings } : { state: "dead", why: gone };
}

async function examine(
  records: readonly AttachmentRecord[],
  { firewalls, most, mac }: HealthOptions,
): Promise<readonly Finding[]> {
  const netns = records[0]?.netns.path;
  if (netns === undefined) throw new TypeError("an attachment without records has no health");
  for (const { state } of records) if (state) await loadKinds(state);
  using spaces = open(netns);
  if (spaces === undefined) return [];
  const findings: Finding[] = [];
  for (const [at, record] of records.entries()) {
    if (record.state === undefined) continue;
    const context = openContext(markOf(record.owner), spaces, firewalls);
    const last = mac === undefined ? undefined : { name: record.owner.ifname, mac };
    const stays = netns === OWN_NETNS ? withoutLent(record.state) : record.state;
    const state = asLeft(stays, records.slice(at + 1), last, spaces);
    for (const e of differences(state, context, most - findings.length))
      findings.push({ component: record.owner.component, ...findingOf(e) });
    if (findings.length >= most) break;
  }
  return findings;
}

/** A runtime that moves interfaces by itself has moved the link that was made for the container. */
const withoutLent = ({ objects }: NetState): NetState => ({
  objects: objects.filter((o) => o.kind !== "link" || o.place !== "host" || o.possession !== "exclusive"),
});

function open(netns: string): Spaces | undefined {
  try {
    return openSpaces(netns);
  } catch (e) {
    // It died since it was looked at.
    if (isNetError(e, "netns/invalid")) return undefined;
    throw e;
  }
}

/** The address that an interface of the container has in the final result. */
interface LastMac {
  readonly name: string;
  readonly mac: Mac;
}

/** The state of one plugin with what the later ones of its list, and the host, have changed in it since. */
function asLeft(
  { objects }: NetState,
  later: readonly AttachmentRecord[],
  last: LastMac | undefined,
  spaces: Spaces,
): NetState {
  const over = later.flatMap((r) => r.state?.objects ?? []);
  return {
    objects: objects
      .filter((o) => !over.some((other) => setsAgain(other, o)))
      .map((o) => withMac(asItIs(o, spaces), over, last)),
  };
}

const setsAgain = (later: NetObject, earlier: NetObject): boolean =>
  later.kind === "sysctl" &&
  earlier.kind === "sysctl" &&
  later.key === earlier.key &&
  later.place === earlier.place;

/** The address of an interface of the container may be another plugin's by now. */
function withMac(o: NetObject, over: readonly NetObject[], last: LastMac | undefined): NetObject {
  const macOf = (name: string): Mac | undefined =>
    over
      .flatMap((c) => (c.kind === "link-attributes" && c.place === "container" && c.link === name ? [c] : []))
      .at(-1)?.attributes.mac ?? (last?.name === name ? last.mac : undefined);
  if (o.kind === "veth") {
    const mac = macOf(o.container.name);
    return mac === undefined ? o : { ...o, container: { ...o.container, mac } };
  }
  if ((o.kind !== "link" && o.kind !== "tap") || o.place !== "container" || o.mac === undefined) return o;
  const mac = macOf(o.name);
  return mac === undefined ? o : { ...o, mac };
}

/** What a failed comparison says to people. */
function findingOf(e: Error): Omit<Finding, "component"> {
  if (!(e instanceof NetError)) throw e;
  if (e.is("check/differs")) return e.detail;
  if (e.is("netlink/refused") && e.detail.errno === "ENODEV") {
    const name = e.detail.request.split(" ").at(-1) ?? "";
    return { what: `interface ${name}`, wanted: "present", found: "none" };
  }
  return { what: "comparison", wanted: "possible", found: e.message };
}
