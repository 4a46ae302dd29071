/**
 * What the calls do in the system: a container is attached by the CNI runtime in this process, so that its records, the
 * cache and every command that reads them are those of a CNI network. Podman makes such calls one after another.
 */
import { netnsId } from "../cni/host.ts";
import {
  addNetworkList,
  type Attachment,
  cachedAttachments,
  delNetworkList,
  type Runtime,
} from "../cni/runtime.ts";
import { clearRecord } from "../cni/detach.ts";
import { errorText } from "../cni/errors.ts";
import type { NetworkList } from "../cni/list.ts";
import type { Result } from "../cni/result.ts";
import { attempting, throwAll } from "../cni/sequence.ts";
import { failureOf, NetError } from "../errors.ts";
import { hostView } from "../docker/host.ts";
import { MARK_PREFIX } from "../netstate/owner.ts";
import { listRecords } from "../netstate/record.ts";
import { attachmentOf, listOf, requireAddresses } from "./list.ts";
import type { Connection } from "./model.ts";
import { dropNetwork, lockNetworks, makeNetwork } from "./networks.ts";
import { otherSubnets } from "./networks-dir.ts";
import type { ConnectionKey, Work } from "./protocol.ts";

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
  using _lock = lockNetworks();
  try {
    await makeNetwork(network);
    return await addNetworkList(runtime, list, attachment);
  } catch (e) {
    const left = await failureOf(() => dropNetwork(network.name));
    if (left === undefined) throw e;
    throw new AggregateError([e, left], `${errorText(e)}; taking the network back failed too`, { cause: e });
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
  const list = known?.network ?? (connection && listIfAny(connection));
  const attachment: Attachment = { containerId, ifname, ...(netnsId(netns) ? { netns } : {}) };
  using _lock = lockNetworks();
  const failures: unknown[] = [];
  const attempt = attempting(failures);
  if (list) await attempt(() => delNetworkList(runtime, list, attachment));
  // What a list of another moment does not know.
  for (const { owner } of listRecords(MARK_PREFIX))
    if (owner.network === network && owner.containerId === containerId && owner.ifname === ifname)
      await attempt(() => clearRecord(owner));
  await attempt(() => dropNetwork(network));
  throwAll(failures);
}

/** Undefined for a connection that its network no longer has room for. */
function listIfAny(connection: Connection): NetworkList | undefined {
  try {
    return listOf(connection);
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}
