import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Result, ResultIp } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import type { PortMapping } from "../../../firewall/model.ts";
import { type Family, type Ip, isLoopback, network } from "../../../net/ip.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import { addressesOf, firewall } from "../../shared/container.ts";
import type { AskedMapping, PortmapConfig } from "./config.ts";

/** Host ports that lead to the container: pure functions from the mappings and the previous result to rules. */
type Input = PlanInput<PortmapConfig>;

export const needs = (input: Input): Needs => {
  const loopback = loopbackTarget(input);
  return loopback ? { routesTo: [loopback] } : {};
};

export function plan(input: Input, facts: Facts): Plan {
  const rules = mappingsOf(input);
  const loopback = loopbackTarget(input);
  const link = loopback && facts.routesTo.get(loopback.text);
  const reachable: NetObject[] = link
    ? [
        {
          kind: "sysctl",
          possession: "shared",
          place: "host",
          key: `net/ipv4/conf/${link.name}/route_localnet`,
          value: "1",
        },
      ]
    : [];
  return {
    // The guard that comes with the rules has to be there before the sysctl opens the way.
    state: {
      objects: [...firewall(input.config.backend, rules, input, input.config.iptables), ...reachable],
    },
    result: previous(input),
  };
}

function previous({ prevResult }: Input): Result {
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", { why: "portmap needs the result of the plugin before it" });
  return prevResult;
}

/**
 * The first address of each family on the container's interface. Behind `loopback` there is none: its addresses, seen from
 * the host, are the host's own, and would open to everybody what listens there for the host alone.
 */
function targets(input: Input): readonly ResultIp[] {
  const own = addressesOf(previous(input), input.ifname).filter((ip) => !isLoopback(ip.address.ip));
  return ([4, 6] as const).flatMap((family) => own.find((ip) => ip.address.ip.family === family) ?? []);
}

export function mappingsOf(input: Input): PortMapping[] {
  const { config } = input;
  const own = targets(input);
  if (config.mappings.length > 0 && own.length === 0)
    throw new NetError("prev-result/invalid", {
      why: `${input.ifname} has no IP address that a port could lead to`,
    });
  return config.mappings.flatMap((asked, i) => {
    const fitting = own.filter((ip) => fits(asked.host, ip.address.ip.family));
    if (fitting.length === 0)
      throw new NetError("config/invalid", {
        field: `runtimeConfig.portMappings[${i}].hostIP`,
        why: `${input.ifname} has no address of the same family`,
      });
    return fitting.map((ip) => toMapping(asked, ip, config));
  });
}

const fits = (host: AskedMapping["host"], family: Family): boolean =>
  host === "any" || (typeof host === "number" ? host : host.family) === family;

const toMapping = (
  asked: AskedMapping,
  { address }: ResultIp,
  { masquerade, conditions }: PortmapConfig,
): PortMapping => ({
  kind: "port-mapping",
  protocol: asked.protocol,
  ...(typeof asked.host === "object" ? { hostIp: asked.host } : {}),
  hostPort: asked.hostPort,
  target: address.ip,
  targetPort: asked.containerPort,
  subnet: network(address),
  masquerade,
  ...withConditions(conditions[address.ip.family]),
});

const withConditions = (conditions: PortMapping["conditions"]): Pick<PortMapping, "conditions"> =>
  conditions === undefined ? {} : { conditions };

/**
 * The container's IPv4 address, if a process of the host has to reach it by 127.0.0.1: the kernel then routes what
 * comes from the loopback to another link only if that link's `route_localnet` says so.
 */
function loopbackTarget(input: Input): Ip | undefined {
  if (input.config.masquerade === "none") return undefined;
  return mappingsOf(input).find(
    (m) => m.target.family === 4 && (m.hostIp === undefined || isLoopback(m.hostIp)),
  )?.target;
}
