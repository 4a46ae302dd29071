import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { ResultInterface } from "../../../cni/result.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import type { Macvlan } from "../../../rtnl/kinds/macvlan.ts";
import type { Link } from "../../../rtnl/link.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import { hostAccess } from "../../shared/host-access.ts";
import { deviceNeeds, linkOn, masterNeeds, masterOf, mtuOf, resultWith } from "../../shared/master.ts";
import { masterWarnings } from "../../shared/master-warnings.ts";
import type { MacvlanConfig, OwnMacConfig } from "./config.ts";

/** A container with a MAC address of its own on a link of the host: it is on that link's network like any machine there. */
interface OwnMac {
  readonly master: Link;
  readonly objects: readonly NetObject[];
  readonly result: ResultInterface;
}

/** The container's end, which a macvlan and a macvtap have in common. */
export function ownMac(
  input: PlanInput<OwnMacConfig>,
  kind: Macvlan["kind"],
  facts: Facts,
  index?: number,
): OwnMac {
  const { config, ifname, netns, lease } = input;
  const master = masterOf(input, facts);
  const mtu = mtuOf(config, master);
  // In mode passthru the link has the master's address, and gives the master the one that it is given.
  const own = config.mode === "passthru" ? input.mac : input.fresh.containerMac;
  const mac = own ?? master.mac;
  const { mode, broadcastQueueLength } = config;
  const type = { kind, mode, ...(broadcastQueueLength === undefined ? {} : { broadcastQueueLength }) };
  const link = {
    name: ifname,
    type,
    ...(own ? { mac: own } : {}),
    ...(index === undefined ? {} : { index }),
  };
  return {
    master,
    objects: [
      linkOn(config, master, link),
      ...containerEnd(ifname, config.ipam === undefined ? undefined : lease, config.dad),
    ],
    result: { name: ifname, ...(mac ? { mac } : {}), mtu, sandbox: netns },
  };
}

type Input = PlanInput<MacvlanConfig>;

export const needs = (input: Input): Needs => ({
  ...masterNeeds(input, input.config.hostAccess),
  ...deviceNeeds(input.config),
});

export function plan(input: Input, facts: Facts): Plan {
  const { config, lease } = input;
  const { master, objects, result } = ownMac(input, "macvlan", facts);
  const shim = { kind: "macvlan", mode: config.mode } as const;
  const access = config.hostAccess ? hostAccess(input, shim, master, lease.ips, facts) : [];
  return {
    state: { objects: [...objects, ...access] },
    result: resultWith(result, lease, dnsOf(config.dns, lease.dns)),
    warnings: masterWarnings(master.name, facts.device),
  };
}
