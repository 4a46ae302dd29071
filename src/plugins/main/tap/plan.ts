import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import { NetError } from "../../../errors.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import type { TapConfig } from "./config.ts";

/** A tap in the container, for a virtual machine that runs there. */
type Input = PlanInput<TapConfig>;
/** The kernel's default. */
const DEFAULT_MTU = 1500;

export const needs = ({ config }: Input): Needs =>
  config.bridge === undefined ? {} : { links: [{ place: "container", name: config.bridge }] };

export function plan({ config, ifname, netns, lease, fresh }: Input, facts: Facts): Plan {
  const { multiQueue, mtuBytes, owner, group, bridge, selinuxContext } = config;
  const mac = fresh.containerMac;
  if (bridge !== undefined) requireBridge(bridge, netns, facts);
  return {
    state: {
      objects: [
        {
          kind: "tap",
          possession: "exclusive",
          place: "container",
          name: ifname,
          multiQueue,
          mac,
          ...(mtuBytes === undefined ? {} : { mtuBytes }),
          ...(owner === undefined ? {} : { owner }),
          ...(group === undefined ? {} : { group }),
          ...(bridge === undefined ? {} : { bridge }),
        },
        // Nobody else is on the wire, and as long as no program holds the other end nobody could be asked.
        ...containerEnd(ifname, config.ipam === undefined ? undefined : lease, false),
      ],
    },
    result: {
      interfaces: [{ name: ifname, mac, mtu: mtuBytes ?? DEFAULT_MTU, sandbox: netns }],
      ips: lease.ips.map((ip) => ({ ...ip, interface: 0 })),
      routes: lease.routes,
      dns: dnsOf(config.dns, lease.dns),
    },
    // With SELinux it was refused before.
    warnings: selinuxContext === undefined ? [] : ["selinuxContext is ignored: this host has no SELinux"],
  };
}

function requireBridge(name: string, netns: string, facts: Facts): void {
  const link = facts.links.get(factKey("container", name));
  if (link?.kind === "bridge") return;
  const why =
    link === undefined ? `there is no link ${name} in ${netns}` : `${name} in ${netns} is no bridge`;
  throw new NetError("config/invalid", { field: "bridge", why });
}
