/**
 * What the containers of a network share in the host, its bridge or the link of its VLAN: made before the first of them and
 * removed after the last, since Podman tells no plugin that a network is removed.
 */
import { removeOwned } from "../cni/host-objects.ts";
import { ensureNetwork } from "../docker/work.ts";
import { openNetlink } from "../netlink/socket.ts";
import { lockHost } from "../netstate/host-lock.ts";
import { MARK_PREFIX, markOf, type Owner } from "../netstate/owner.ts";
import { listRecords } from "../netstate/record.ts";
import type { Lock } from "../sys/flock.ts";
import { type Link, listLinks } from "../rtnl/link.ts";
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

/**
 * Removes it, unless a container is on the network or somebody else uses its bridge. Without its record, the marks tell what
 * it was.
 */
export async function dropNetwork(name: string): Promise<void> {
  if (isUnused(name, linksOfHost(), new Set())) await removeOwned([ownerOf(name)]);
}

function linksOfHost(): readonly Link[] {
  using socket = openNetlink("route");
  return listLinks(socket);
}

/**
 * The networks that no container is on any more, as when all went without a teardown.
 * @param going marks of attachments that count as gone already
 */
export function unusedNetworks(going: ReadonlySet<string> = new Set()): readonly UnusedNetwork[] {
  const names = listRecords(MARK_PREFIX)
    .filter(({ owner }) => owner.component === COMPONENT)
    .map(({ owner }) => owner.network);
  if (names.length === 0) return [];
  const links = linksOfHost();
  return names
    .filter((name) => isUnused(name, links, going))
    .map((name) => ({ name, link: ownLink(name, links)?.name }));
}

export interface UnusedNetwork {
  readonly name: string;
  /** What would be removed; undefined if somebody else made it, or it is gone. */
  readonly link: string | undefined;
}

function isUnused(name: string, links: readonly Link[], going: ReadonlySet<string>): boolean {
  const own = ownLink(name, links);
  const attached = listRecords(MARK_PREFIX).some(
    ({ owner }) => owner.network === name && owner.containerId !== "" && !going.has(markOf(owner)),
  );
  return !attached && !links.some((l) => isPort(l, own) && !l.altNames.some((n) => going.has(n)));
}

const isPort = (link: Link, bridge: Link | undefined): boolean =>
  bridge !== undefined && link.master === bridge.index;

function ownLink(name: string, links: readonly Link[]): Link | undefined {
  const mark = markOf(ownerOf(name));
  return links.find(({ altNames }) => altNames.includes(mark));
}
