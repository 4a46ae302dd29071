import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { ResultIp } from "../../../cni/result.ts";
import { hostPrefix, network } from "../../../net/ip.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import { routeScope } from "../../../rtnl/route.ts";
import { dnsOf } from "../../shared/config.ts";
import {
  containerRoutes,
  containerSysctls,
  firewall,
  forwarding,
  hasFamily,
  masqueradeRules,
  requireGateway,
} from "../../shared/container.ts";
import type { PtpConfig } from "./config.ts";

/**
 * A container at the end of a link of its own. There is no network between: the container reaches its gateway, the
 * host's end, by a route to that one address, and everything else through it.
 */
type Input = PlanInput<PtpConfig>;
/** The kernel's default for virtual Ethernet. */
const DEFAULT_MTU = 1500;

export const needs = ({ lease }: Input): Needs => ({ routerAdvertised: hasFamily(lease.ips, 6) });

export function plan(input: Input, facts: Facts): Plan {
  const { config, ifname, netns, fresh, lease } = input;
  const mtu = config.mtuBytes ?? DEFAULT_MTU;
  return {
    state: {
      objects: [
        {
          kind: "veth",
          possession: "exclusive",
          host: { name: fresh.hostLink, mac: fresh.hostMac },
          container: { name: ifname, mac: fresh.containerMac },
          ...(config.mtuBytes ? { mtuBytes: config.mtuBytes } : {}),
        },
        ...containerSysctls(ifname, lease.ips, false),
        { kind: "link-up", possession: "exclusive", place: "container", link: ifname },
        ...lease.ips.flatMap((ip) => containerEnd(ifname, ip)),
        ...routesOf(ifname, lease),
        ...hostEnd(fresh.hostLink, lease.ips),
        ...forwarding(lease.ips, facts),
        ...(config.ipMasq ? firewall(config.ipMasqBackend, masqueradeRules(lease.ips), input) : []),
      ],
    },
    result: {
      interfaces: [
        { name: fresh.hostLink, mac: fresh.hostMac, mtu },
        { name: ifname, mac: fresh.containerMac, mtu, sandbox: netns },
      ],
      ips: lease.ips.map((ip) => ({ ...ip, interface: 1 })),
      routes: lease.routes,
      dns: dnsOf(config.dns, lease.dns),
    },
  };
}

function containerEnd(link: string, ip: ResultIp): NetObject[] {
  const gateway = requireGateway(ip);
  const own = { possession: "exclusive", place: "container", link } as const;
  const src = ip.address.ip;
  return [
    { kind: "address", ...own, address: ip.address, dad: false, connectedRoute: false },
    { kind: "route", ...own, dst: hostPrefix(gateway), src, scope: routeScope.link },
    { kind: "route", ...own, dst: network(ip.address), gateway, src, scope: routeScope.global },
  ];
}

/**
 * A route by another address than the container's gateway: no route leads there directly, but the host may have that
 * address, and answers for it on every link.
 */
function routesOf(link: string, lease: Input["lease"]): NetObject[] {
  const gateways = new Set(lease.ips.map((ip) => requireGateway(ip).text));
  return containerRoutes(link, lease).map((o) =>
    o.kind === "route" && o.gateway && !gateways.has(o.gateway.text) ? { ...o, onLink: true } : o,
  );
}

function hostEnd(link: string, ips: readonly ResultIp[]): NetObject[] {
  const own = { possession: "exclusive", place: "host", link } as const;
  // Two addresses of one network have one gateway.
  const gateways = new Map(ips.map((ip) => [requireGateway(ip).text, requireGateway(ip)]));
  return [
    ...[...gateways.values()].map((gateway): NetObject => ({
      kind: "address",
      ...own,
      address: hostPrefix(gateway),
      dad: false,
      connectedRoute: false,
    })),
    ...ips.map(({ address }): NetObject => ({
      kind: "route",
      ...own,
      dst: hostPrefix(address.ip),
      scope: routeScope.link,
    })),
  ];
}
