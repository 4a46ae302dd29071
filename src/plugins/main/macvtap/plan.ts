import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import { dnsOf } from "../../shared/config.ts";
import { deviceNeeds, isFinal, masterNeeds, resultWith } from "../../shared/master.ts";
import { masterWarnings } from "../../shared/master-warnings.ts";
import { ownMac } from "../macvlan/plan.ts";
import type { MacvtapConfig } from "./config.ts";

/**
 * A macvlan whose frames a program takes from a character device, and puts into it: a virtual machine. The kernel calls
 * the device by the link's index, which counts in the link's namespace while the file does not: so the index is chosen
 * here, from a range that the kernel never reaches.
 */
type Input = PlanInput<MacvtapConfig>;

export function needs(input: Input): Needs {
  const master = masterNeeds(input);
  const own = isFinal(input) ? [{ place: "container", name: input.ifname } as const] : [];
  return { ...master, links: [...(master.links ?? []), ...own], ...deviceNeeds(input.config) };
}

export function plan(input: Input, facts: Facts): Plan {
  const { config, ifname, lease, fresh } = input;
  const index = facts.links.get(factKey("container", ifname))?.index ?? fresh.linkIndex;
  const { master, objects, result } = ownMac(input, "macvtap", facts, index);
  const path = `/dev/tap${index}`;
  const node: NetObject = {
    kind: "device-node",
    possession: "exclusive",
    path,
    ...(config.uid === undefined ? {} : { uid: config.uid }),
    ...(config.gid === undefined ? {} : { gid: config.gid }),
  };
  return {
    state: { objects: [...objects, node] },
    result: resultWith({ ...result, socketPath: path }, lease, dnsOf(config.dns, lease.dns)),
    warnings: masterWarnings(master.name, facts.device),
  };
}
