import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import { invalid } from "../../../cni/json.ts";
import { NetError } from "../../../errors.ts";
import { parseIfName } from "../../../net/ifname.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import { hostAccess, hostAccessSysctls } from "../../shared/host-access.ts";
import { isFinal, linkOn, masterNeeds, masterOf, mtuOf, resultWith } from "../../shared/master.ts";
import type { IpvlanConfig } from "./config.ts";

/** A container on a link of the host that shares its MAC address and is told apart by its IP addresses. */
type Input = PlanInput<IpvlanConfig>;

export function needs(given: Input): Needs {
  const input = chained(given);
  const { config } = input;
  return {
    ...masterNeeds(input, config.hostAccess),
    ...(config.hostAccess ? { sysctls: hostAccessSysctls(config.master) } : {}),
  };
}

export function plan(given: Input, facts: Facts): Plan {
  const input = chained(given);
  const { config, ifname, netns, lease } = input;
  if (config.ipam === undefined && lease.ips.length === 0)
    invalid("ipam", "is missing, and no plugin before this one has given an address");
  const master = masterOf(input, facts);
  const mtu = mtuOf(config, master);
  const type = { kind: "ipvlan", mode: config.mode } as const;
  const { mac } = master;
  return {
    state: {
      objects: [
        linkOn(config, master, { name: ifname, type }),
        ...containerEnd(ifname, lease, config.dad),
        ...(config.hostAccess ? hostAccess(input, type, master, lease.ips, facts) : []),
      ],
    },
    result: resultWith(
      { name: ifname, ...(mac ? { mac } : {}), mtu, sandbox: netns },
      lease,
      dnsOf(config.dns, lease.dns),
    ),
  };
}

/**
 * Behind another plugin that made one interface, that is the master unless one is named, and without IPAM the addresses
 * are those of the result. In CHECK that is the final result, which has the addresses and not the master.
 */
function chained(input: Input): Input {
  const { config, prevResult } = input;
  if (prevResult === undefined || isFinal(input)) return input;
  const lease = config.ipam === undefined ? { ...prevResult, interfaces: [] } : input.lease;
  if (config.master !== undefined) return { ...input, lease };
  const [only, ...more] = prevResult.interfaces;
  if (only === undefined || more.length > 0)
    throw new NetError("prev-result/invalid", {
      why: `has ${prevResult.interfaces.length} interfaces; name the master, or let there be one before ipvlan`,
    });
  const master = parseIfName(only.name);
  if (!master.ok) throw new NetError("prev-result/invalid", { why: master.why });
  return { ...input, lease, config: { ...config, master: master.value } };
}
