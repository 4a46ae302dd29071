import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import { hostAccess } from "../../shared/host-access.ts";
import { deviceNeeds, linkOn, masterNeeds, masterOf, mtuOf, resultWith } from "../../shared/master.ts";
import { masterWarnings } from "../../shared/master-warnings.ts";
import type { MacvlanConfig } from "./config.ts";

/** A container with a MAC address of its own on a link of the host: it is on that link's network like any machine there. */
type Input = PlanInput<MacvlanConfig>;

export const needs = (input: Input): Needs => ({
  ...masterNeeds(input, input.config.hostAccess),
  ...deviceNeeds(input.config),
});

export function plan(input: Input, facts: Facts): Plan {
  const { config, ifname, netns, lease } = input;
  const master = masterOf(input, facts);
  const mtu = mtuOf(config, master);
  // In mode passthru the link has the master's address, and gives the master the one that it is given.
  const own = config.mode === "passthru" ? input.mac : input.fresh.containerMac;
  const mac = own ?? master.mac;
  const { mode, broadcastQueueLength } = config;
  const type = {
    kind: "macvlan",
    mode,
    ...(broadcastQueueLength === undefined ? {} : { broadcastQueueLength }),
  } as const;
  return {
    state: {
      objects: [
        linkOn(config, master, { name: ifname, type, ...(own ? { mac: own } : {}) }),
        ...containerEnd(ifname, config.ipam === undefined ? undefined : lease, config.dad),
        ...(config.hostAccess ? hostAccess(input, { kind: "macvlan", mode }, master, lease.ips, facts) : []),
      ],
    },
    result: resultWith(
      { name: ifname, ...(mac ? { mac } : {}), mtu, sandbox: netns },
      lease,
      dnsOf(config.dns, lease.dns),
    ),
    warnings: masterWarnings(master.name, facts.device),
  };
}
