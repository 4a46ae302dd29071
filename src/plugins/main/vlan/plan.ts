import { invalid } from "../../../cni/json.ts";
import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import type { Link } from "../../../rtnl/link.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import { isFinal, linkOn, masterNeeds, masterOf, mtuOf, resultWith } from "../../shared/master.ts";
import type { VlanConfig } from "./config.ts";

/** A container in one VLAN of a link: what it sends leaves there with the VLAN's tag. */
type Input = PlanInput<VlanConfig>;

export const needs = (input: Input): Needs => masterNeeds(input);

/** @throws NetError `config/invalid` */
export function requireUp(master: Link): void {
  if (!master.up) invalid("master", `${master.name} is down, and its VLANs with it; set it up`);
}

export function plan(input: Input, facts: Facts): Plan {
  const { config, ifname, netns, lease } = input;
  const master = masterOf(input, facts);
  if (!isFinal(input)) requireUp(master);
  const mtu = mtuOf(config, master);
  const mac = input.mac ?? master.mac;
  const type = { kind: "vlan", id: config.vlanId } as const;
  return {
    state: {
      objects: [
        linkOn(config, master, { name: ifname, type, ...(mac ? { mac } : {}) }),
        ...containerEnd(ifname, config.ipam === undefined ? undefined : lease, config.dad),
      ],
    },
    result: resultWith(
      { name: ifname, ...(mac ? { mac } : {}), mtu, sandbox: netns },
      lease,
      dnsOf(config.dns, lease.dns),
    ),
  };
}
