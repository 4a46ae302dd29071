/**
 * What the containers of a network share in the host, its bridge or the link of its VLAN: made before the first of them and
 * removed after the last, since Podman tells no plugin that a network is removed.
 */
import { removeOwned } from "../cni/host-objects.ts";
import { ensureNetwork } from "../docker/work.ts";
import { openNetlink } from "../netlink/socket.ts";
import { loadFirewalls } from "../netstate/firewalls.ts";
import { lockHost } from "../netstate/host-lock.ts";
import { MARK_PREFIX, markOf, type Owner } from "../netstate/owner.ts";
import { listRecords, removeEmptyRecords } from "../netstate/record.ts";
import type { Lock } from "../sys/flock.ts";
import { findLink, type Link, listLinks, removeLink } from "../rtnl/link.ts";
import type { Network } from "./model.ts";

const COMPONENT = "netavark-network";
const ownerOf = (network: string): Owner => ({
  component: COMPONENT,
  network,
  containerId: "",
  ifname: "",
});

/** Held from before a network is made until its container is on it, and while the last one goes. */
export const lockNetworks = (): Lock => lockHost("netavark");

/** Makes what the network shares, or puts back what is missing of it. @throws as kinds of objects do */
export async function makeNetwork({ name, host }: Network): Promise<void> {
  if (host.mode === "bridge" || host.mode === "vlan") await ensureNetwork(host, ownerOf(name));
}

/** Removes it, unless a container is on the network or somebody else uses its bridge. */
export async function dropNetwork(name: string): Promise<void> {
  if (isUnused(name, linksOfHost(), new Set())) await removeOwned([ownerOf(name)]);
}

/** What a network has in the host although no container is on it any more. */
export interface UnusedNetwork {
  /** Absent if its record is lost, and with it the name. */
  readonly name?: string;
  /** What would be removed; absent if somebody else made it, or it is gone. */
  readonly link?: string;
}

/**
 * The networks whose containers went without a teardown.
 * @param going marks of attachments that count as gone already
 */
export function unusedNetworks(going: ReadonlySet<string> = new Set()): readonly UnusedNetwork[] {
  const links = linksOfHost();
  const known = listRecords(MARK_PREFIX).filter(({ owner }) => owner.component === COMPONENT);
  const unused = known
    .map(({ owner }) => owner.network)
    .filter((name) => isUnused(name, links, going))
    .map((name) => {
      const link = ownLink(name, links)?.name;
      return { name, ...(link === undefined ? {} : { link }) };
    });
  const marks = new Set(known.map(({ owner }) => markOf(owner)));
  const lost = links.filter(
    (l) =>
      l.kind === "bridge" &&
      l.altNames.some((n) => n.startsWith(PREFIX) && !marks.has(n)) &&
      !hasPorts(l, links, going),
  );
  return [...unused, ...lost.map(({ name: link }) => ({ link }))];
}

/** Removes records that say nothing, since their maker was killed before it had done anything. */
export const removeEmpty = (): void => removeEmptyRecords(PREFIX);

/** Removes one of these. @throws as kinds of objects do */
export async function dropUnused({ name, link }: UnusedNetwork): Promise<void> {
  if (name !== undefined) return dropNetwork(name);
  if (link === undefined) return;
  using socket = openNetlink("route");
  const mark = findLink(socket, { name: link })?.altNames.find((n) => n.startsWith(PREFIX));
  removeLink(socket, { name: link });
  if (mark === undefined) return;
  // A bridge of that name that comes later would be closed as this one was.
  using firewalls = await loadFirewalls(["nftables"]);
  firewalls.open("nftables").remove(mark);
}

/** What the marks of all of them begin with. */
const PREFIX = `${MARK_PREFIX}${COMPONENT}-`;

function linksOfHost(): readonly Link[] {
  using socket = openNetlink("route");
  return listLinks(socket);
}

function isUnused(name: string, links: readonly Link[], going: ReadonlySet<string>): boolean {
  const records = listRecords(MARK_PREFIX).filter(({ owner }) => owner.network === name);
  if (records.some(({ owner }) => owner.containerId !== "" && !going.has(markOf(owner)))) return false;
  const own = ownLink(name, links);
  if (own === undefined) return true;
  // What hangs on the link of a VLAN is in containers: where records are lost, nobody can tell.
  if (own.kind !== "bridge" && !records.some(({ owner }) => owner.component === COMPONENT)) return false;
  return !hasPorts(own, links, going);
}

const hasPorts = (bridge: Link, links: readonly Link[], going: ReadonlySet<string>): boolean =>
  links.some((l) => l.master === bridge.index && !l.altNames.some((n) => going.has(n)));

function ownLink(name: string, links: readonly Link[]): Link | undefined {
  const mark = markOf(ownerOf(name));
  return links.find(({ altNames }) => altNames.includes(mark));
}
