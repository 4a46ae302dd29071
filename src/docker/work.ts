/** Networks, endpoints and ports in the kernel, each with a record of its own. */
import { ensure, ownLinkStands, removeOwned } from "../cni/host-objects.ts";
import { localMac } from "../net/mac.ts";
import { markOf, type Owner } from "../netstate/owner.ts";
import { findLink } from "../rtnl/link.ts";
import type { Network } from "./model.ts";
import {
  endpointNeeds,
  endpointPlan,
  type Fresh,
  networkNeeds,
  networkPlan,
  portsNeeds,
  portsPlan,
  sourceName,
} from "./plan.ts";
import { type Answer, ownerOf, thingOf, type Work } from "./task.ts";

export async function work(task: Work): Promise<Answer> {
  switch (task.kind) {
    case "network":
      await ensureNetwork(task.network);
      return { kind: "done" };
    case "endpoint": {
      const { network, endpoint, sandbox } = task;
      // After a reboot, or when somebody removed it, the network comes back with its first container.
      await ensureNetwork(network);
      const owner = ownerOf(thingOf("endpoint", network.id, endpoint.id));
      const link = sourceName(markOf(owner));
      await ensure(owner, (spaces) => findLink(spaces.host, { name: link }) !== undefined, {
        needs: endpointNeeds(network),
        plan: (facts) => endpointPlan(network, endpoint, facts, { mark: markOf(owner), fresh: freshMacs() }),
        ...(sandbox === undefined ? {} : { sandbox }),
      });
      return { kind: "done", link };
    }
    case "ports": {
      const { network, endpoint, open } = task;
      if (network.mode !== "bridge") return { kind: "done" };
      const owner = ownerOf(thingOf("ports", network.id, endpoint.id));
      // Made anew each time: what is asked for may differ from what is open.
      await ensure(owner, () => false, {
        needs: portsNeeds,
        plan: (facts) => portsPlan(network, endpoint, open, facts),
      });
      return { kind: "done" };
    }
    case "remove":
      await removeOwned(task.what.map(ownerOf));
      return { kind: "done" };
  }
}

function freshMacs(): Fresh {
  const random = crypto.getRandomValues(new Uint8Array(18));
  const mac = (at: number) => localMac(random.subarray(at, at + 6));
  return { bridgeMac: mac(0), hostMac: mac(6), containerMac: mac(12) };
}

/** Makes what a network has for itself. @param owner Docker's, unless another program's network is like one of Docker */
export const ensureNetwork = (
  network: Network,
  owner: Owner = ownerOf(thingOf("network", network.id)),
): Promise<void> =>
  ensure(owner, (spaces, record) => ownLinkStands(spaces, record), {
    needs: networkNeeds(network),
    plan: (facts) => networkPlan(network, facts, freshMacs()),
  });
