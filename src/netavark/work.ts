/**
 * What the calls do in the system: a container is attached by the CNI runtime in this process, so that its records, the
 * cache and every command that reads them are those of a CNI network. Beside that, a network has a record for what its
 * containers share: made before the first of them, removed after the last.
 *
 * Podman makes such calls one after another, under a lock of its own.
 */
import { netnsId } from "../cni/host.ts";
import { removeOwned } from "../cni/host-objects.ts";
import {
  addNetworkList,
  type Attachment,
  cachedAttachments,
  delNetworkList,
  type Runtime,
} from "../cni/runtime.ts";
import { clearRecord } from "../cni/detach.ts";
import type { Result } from "../cni/result.ts";
import { hostView } from "../docker/host.ts";
import { ensureNetwork } from "../docker/work.ts";
import { openNetlink } from "../netlink/socket.ts";
import { MARK_PREFIX, markOf, type Owner } from "../netstate/owner.ts";
import { listRecords } from "../netstate/record.ts";
import { findLink, listLinks } from "../rtnl/link.ts";
import { attachmentOf, hasHostPart, listOf, requireAddresses } from "./list.ts";
import type { Connection } from "./model.ts";
import { otherSubnets } from "./networks-dir.ts";
import type { ConnectionKey, Work } from "./protocol.ts";

/** Who owns what the containers of a network share. */
const ownerOf = (network: string): Owner => ({
  component: "netavark-network",
  network,
  containerId: "",
  ifname: "",
});

export const workWith = (runtime: Runtime): Work => ({
  uplink: hostView.uplink,
  inUse: () => [...hostView.routed(), ...otherSubnets()],
  random: () => crypto.getRandomValues(new Uint8Array(8)),
  setup: (connection, netns) => setup(runtime, connection, netns),
  teardown: (key, netns, connection) => teardown(runtime, key, netns, connection),
});

async function setup(runtime: Runtime, connection: Connection, netns: string): Promise<Result> {
  const { network } = connection;
  requireAddresses(connection);
  const list = listOf(connection);
  const attachment = attachmentOf(connection, netns);
  if (hasHostPart(network)) await ensureNetwork(network.host, ownerOf(network.name));
  try {
    return await addNetworkList(runtime, list, attachment);
  } catch (e) {
    await removeUnused(network.name);
    throw e;
  }
}

async function teardown(
  runtime: Runtime,
  key: ConnectionKey,
  netns: string,
  connection: Connection | undefined,
): Promise<void> {
  const { network, containerId, ifname } = key;
  const known = cachedAttachments(runtime, containerId).find(
    ({ key: k }) => k.network === network && k.ifname === ifname,
  );
  const list = known?.network ?? (connection && listOf(connection));
  const attachment: Attachment = { containerId, ifname, ...(netnsId(netns) ? { netns } : {}) };
  if (list) await delNetworkList(runtime, list, attachment);
  // Without a list, the records alone say what there is.
  else
    for (const { owner } of listRecords(MARK_PREFIX))
      if (owner.network === network && owner.containerId === containerId && owner.ifname === ifname)
        await clearRecord(owner);
  await removeUnused(network);
}

/** Removes what the network has for itself, unless a container is on it or somebody else uses its bridge. */
async function removeUnused(network: string): Promise<void> {
  const owner = ownerOf(network);
  const used = listRecords(MARK_PREFIX).some(
    (r) => r.owner.network === network && r.owner.containerId !== "",
  );
  if (!used && !hasPorts(markOf(owner))) await removeOwned([owner]);
}

function hasPorts(mark: string): boolean {
  using socket = openNetlink("route");
  const own = findLink(socket, { altName: mark });
  return own !== undefined && listLinks(socket).some(({ master }) => master === own.index);
}
