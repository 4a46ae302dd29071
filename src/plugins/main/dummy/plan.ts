import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import { resultWith } from "../../shared/master.ts";
import type { DummyConfig } from "./config.ts";

/** A container with addresses that lead nowhere: what it sends by them is gone. */
const DEFAULT_MTU = 1500;

export function plan({ config, ifname, netns, fresh, lease }: PlanInput<DummyConfig>): Plan {
  const mac = fresh.containerMac;
  return {
    state: {
      objects: [
        {
          kind: "link",
          possession: "exclusive",
          place: "container",
          name: ifname,
          type: { kind: "dummy" },
          mac,
        },
        // Nobody else is there who could have the address.
        ...containerEnd(ifname, lease, false),
      ],
    },
    result: resultWith(
      { name: ifname, mac, mtu: DEFAULT_MTU, sandbox: netns },
      lease,
      dnsOf(config.dns, lease.dns),
    ),
  };
}
