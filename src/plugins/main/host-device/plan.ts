import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { ResultInterface } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import { parseMac } from "../../../net/mac.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import { homeName, MOVED } from "../../../netstate/kinds/moved-link.ts";
import type { NetObject } from "../../../netstate/model.ts";
import { markOf } from "../../../netstate/owner.ts";
import type { Link } from "../../../rtnl/link.ts";
import { dnsOf } from "../../shared/config.ts";
import { containerEnd } from "../../shared/container.ts";
import type { HostDeviceConfig } from "./config.ts";

/** A device of the host that belongs to the container until DEL. */
type Input = PlanInput<HostDeviceConfig>;

export const needs = ({ config, ifname }: Input): Needs => ({
  hostDevice: config.device,
  links: [{ place: "container", name: ifname }],
});

/** The device, wherever it is by now. */
interface Device {
  readonly name: string;
  readonly link: Link;
  readonly pciId?: string;
}

export function plan(input: Input, facts: Facts): Plan {
  const { config, ifname, netns, lease } = input;
  const { ips, routes } = lease;
  const dns = dnsOf(config.dns, lease.dns);
  const known = lease.interfaces.find((i) => i.name === ifname && i.sandbox);
  // A program drives the device, without the kernel: there is no link to move or to set up.
  if (facts.hostDevice?.kind === "user-space")
    return {
      state: { objects: [] },
      result: { interfaces: [], ips: ips.map(withoutInterface), routes, dns },
    };
  const device = deviceOf(input, facts, known);
  const { name, link, pciId } = device;
  const mac = known?.mac ?? link.mac;
  return {
    state: {
      objects: [
        moved(name, ifname, known),
        ...containerEnd(ifname, config.ipam === undefined ? undefined : lease, config.dad),
      ],
    },
    result: {
      interfaces: [
        {
          name: ifname,
          mtu: link.mtuBytes,
          sandbox: netns,
          ...(mac === undefined ? {} : { mac }),
          ...(pciId === undefined ? {} : { pciID: pciId }),
        },
      ],
      ips: ips.map((ip) => ({ ...ip, interface: 0 })),
      routes,
      dns,
    },
  };
}

const withoutInterface = ({ interface: _, ...ip }: Input["lease"]["ips"][number]) => ip;

/** In CHECK the final result says which address the device has by then. */
function moved(name: string, to: string, known: ResultInterface | undefined): NetObject {
  const mac = known?.mac === undefined ? undefined : parseMac(known.mac);
  const base = { kind: "moved-link", possession: "borrowed", place: "container", name, to } as const;
  return mac?.ok ? { ...base, mac: mac.value } : base;
}

function deviceOf(input: Input, facts: Facts, known: ResultInterface | undefined): Device {
  const { ifname, netns, lease, config } = input;
  const inside = facts.links.get(factKey("container", ifname));
  if (known !== undefined) {
    if (inside === undefined)
      throw new NetError("check/differs", {
        what: `interface ${ifname}`,
        wanted: "in the container",
        found: "none",
      });
    return { name: homeName(inside) ?? ifname, link: inside };
  }
  if (lease.interfaces.length > 0)
    throw new NetError("prev-result/invalid", { why: `has no interface ${ifname} in a namespace` });
  // A lease that is asked for over the device comes after it has moved.
  const home = inside && homeName(inside);
  const owner = { ...input, component: "host-device" };
  if (home !== undefined && inside?.altNames.includes(MOVED + markOf(owner)) && lease.ips.length > 0)
    return { name: home, link: inside };
  if (inside !== undefined)
    throw new NetError("resource/exists", { what: `interface ${ifname}`, where: netns });
  const found = facts.hostDevice;
  const refuse = (why: string): never => {
    throw new NetError("config/invalid", { field: fieldOf(config), why });
  };
  if (found?.kind !== "link")
    return refuse(found?.kind === "none" ? found.why : "the device was not looked for");
  const { link, pciId } = found;
  if (link.loopback) refuse(`${link.name} is the host's loopback`);
  return { name: link.name, link, ...(pciId === undefined ? {} : { pciId }) };
}

/** The key that named the device. */
function fieldOf({ device }: HostDeviceConfig): string {
  if (device.name !== undefined) return "device";
  if (device.mac !== undefined) return "hwaddr";
  if (device.kernelPath !== undefined) return "kernelpath";
  return device.pci === undefined || device.auxiliary !== undefined ? "runtimeConfig.deviceID" : "pciBusID";
}
