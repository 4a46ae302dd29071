import { compareFirewalls, type ComparedFirewalls } from "../netstate/compare-firewalls.ts";
import { backendsOf, whyDead } from "../netstate/health.ts";
import { findMarked, MOVED } from "../netstate/kinds/moved-link.ts";
import type { NetObject } from "../netstate/model.ts";
import { markOf } from "../netstate/owner.ts";
import type { AttachmentRecord } from "../netstate/record.ts";
import { seeRules } from "../netstate/seen-rules.ts";
import { openSpaces, type Spaces } from "../netstate/spaces.ts";
import { findLink } from "../rtnl/link.ts";
import { readCache } from "./cache.ts";
import { type Dead, findDead, listFor } from "./collect.ts";
import { unpacked } from "./list.ts";
import { type Runtime, runtimeCacheDir } from "./runtime.ts";

/**
 * What cleaning up a host would do, without doing it: which attachments are dead and why, what of them the kernel still has,
 * and what their records lend or reserve.
 */
export interface Preview {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly why: string;
  /** Where the list is from that it would be detached with; `record`: there is none. */
  readonly by: "cache" | "configuration" | "record";
  readonly plugins: readonly string[];
  /** A line for each thing that would be removed or given back. */
  readonly removes: readonly string[];
}

export async function previewCollection(runtime: Runtime, confDir: string): Promise<readonly Preview[]> {
  const dead = await findDead(runtime);
  using comparing = await compareFirewalls(backendsOf(dead.flatMap((d) => d.records)));
  using spaces = openSpaces(undefined);
  return dead.map((d) => previewOf(d, runtime, confDir, comparing, spaces));
}

function previewOf(
  { owner, records }: Dead,
  runtime: Runtime,
  confDir: string,
  comparing: ComparedFirewalls,
  spaces: Spaces,
): Preview {
  const { network, containerId, ifname } = owner;
  const found = listFor(runtime, confDir, owner);
  const types = found?.list.plugins.flatMap((p, i) => unpacked(p, `plugins[${i}]`)).map(({ type }) => type);
  const plugins = types ?? records.map((r) => r.owner.component);
  const marks = new Set(
    [...plugins, ...records.map((r) => r.owner.component)].map((component) =>
      markOf({ component, network, containerId, ifname }),
    ),
  );
  const cached = readCache(runtimeCacheDir(runtime), { network, containerId, ifname });
  return {
    network,
    containerId,
    ifname,
    why: records.map(whyDead).find((why) => why !== undefined) ?? "its namespace is gone",
    by: found?.from ?? "record",
    plugins,
    removes: [
      ...[...marks].flatMap((mark) => linksOf(mark, spaces)),
      ...seeRules(records, marks, comparing).map((r) => `${r.backend}, ${r.where}: ${r.text}`),
      ...records.flatMap(givenBack),
      ...records.flatMap(leased),
      ...records.map((r) => `record of ${r.owner.component}`).toSorted(),
      ...(cached.kind === "none" ? [] : [`cache ${cached.file}`]),
    ],
  };
}

function linksOf(mark: string, { host }: Spaces): readonly string[] {
  const own = findLink(host, { altName: mark });
  const lent = findMarked(host, MOVED + mark);
  return [
    ...(own === undefined ? [] : [`link ${own.name}`]),
    ...(lent === undefined ? [] : [`device ${lent.name}: back to its name and state`]),
  ];
}

/** What of the host was changed, where the value from before is known. */
const givenBack = ({ borrowed, state }: AttachmentRecord): readonly string[] =>
  borrowed.flatMap(({ object, value }) => {
    const o = state?.objects[object];
    return o === undefined ? [] : describe(o, value);
  });

function describe(o: NetObject, value: string): readonly string[] {
  // What was in the container is gone with it.
  if (!("place" in o) || o.place !== "host") return [];
  if (o.kind === "sysctl") return [`sysctl ${o.key}: back to ${value}, unless somebody changed it since`];
  if (o.kind === "link-attributes") return [`attributes of ${o.link}: back to ${value}`];
  return "link" in o ? [`${o.kind} of ${o.link}: as it was`] : [];
}

function leased({ lease, state }: AttachmentRecord): readonly string[] {
  if (lease === undefined) return [];
  const addresses = (state?.objects ?? []).flatMap((o) =>
    o.kind === "address" && o.possession === "exclusive" && o.place === "container"
      ? [o.address.ip.text]
      : [],
  );
  return [`reservation of ${addresses.join(", ") || "its addresses"} by ${lease.plugin}`];
}
