/**
 * `create`: fills in what a new network does not say, and refuses what it cannot be. Podman keeps what comes out, and sends
 * it with every container.
 */
import {
  anyObject,
  flag,
  invalid,
  isObject,
  type JsonObject,
  list,
  object,
  withDefault,
} from "../cni/json.ts";
import { makePool } from "../docker/pools.ts";
import { type IpPrefix, overlaps } from "../net/ip.ts";
import { bridgeName } from "../plugins/shared/option-words.ts";
import { networkFields, readNetwork, readSubnet } from "./decode.ts";
import type { Ipam } from "./model.ts";
import { type Options, readOptions } from "./options.ts";

/** What is looked up for a new network. */
export interface HostView {
  /** The name of the link with the default route. */
  uplink(): string | undefined;
  /** Subnets of other networks, and what the host reaches. */
  inUse(): readonly IpPrefix[];
  /** Eight bytes. */
  random(): Uint8Array;
}

/** The network with everything that it needs. @throws config/invalid, ipam/exhausted */
export function createNetwork(raw: JsonObject, host: HostView): JsonObject {
  const given = networkFields(raw, "");
  const options = readOptions(given.options, "");
  const link = linkOf(given.network_interface, options, given.id, host);
  const ipam = given.ipam_options.driver ?? usualIpam(options, given.subnets.length > 0);
  if (given.network_dns_servers.length > 0)
    invalid("network_dns_servers", "nobody answers for names in this network; say --dns to containers");
  const wanted = object({ subnets: withDefault(list(anyObject), []) })(raw, "").subnets;
  const network = {
    ...raw,
    network_interface: link,
    ipam_options: { ...(isObject(raw["ipam_options"]) ? raw["ipam_options"] : {}), driver: ipam },
    subnets: [...wanted, ...missingSubnets(raw, options, ipam, host)],
    dns_enabled: false,
  };
  readNetwork(network, "");
  if (options.mode === "bridge") refuseOverlaps(wanted, host);
  return network;
}

function linkOf(given: string | undefined, options: Options, id: string, host: HostView): string {
  const named = options.link;
  if (given !== undefined && named !== undefined && given !== named)
    invalid("network_interface", `is ${given}, and the options name ${named}; say one of them`);
  const link = given ?? named;
  if (link !== undefined) return link;
  if (options.mode === "bridge") return bridgeName(id, "id");
  return (
    host.uplink() ??
    invalid(`${options.at}.parent`, "is missing, and the host has no default route whose link could be it")
  );
}

/** As with netavark's own drivers: links on the network of a parent ask its DHCP server. */
const usualIpam = ({ mode }: Options, hasSubnets: boolean): Ipam =>
  !hasSubnets && (mode === "macvlan" || mode === "vlan") ? "dhcp" : "host-local";

/** A bridge has a subnet of each family that was asked for: with --ipv6 both, else IPv4. */
function missingSubnets(
  raw: JsonObject,
  { mode }: Options,
  ipam: Ipam,
  host: HostView,
): readonly JsonObject[] {
  if (mode !== "bridge" || ipam !== "host-local") return [];
  const given = object({
    subnets: withDefault(list(readSubnet), []),
    ipv6_enabled: withDefault(flag, false),
  })(raw, "");
  const families = given.ipv6_enabled ? ([4, 6] as const) : given.subnets.length > 0 ? [] : ([4] as const);
  return families
    .filter((family) => !given.subnets.some(({ pool }) => pool.ip.family === family))
    .map((family) => ({
      subnet: makePool({ space: "podman", family }, [], host.inUse(), host.random()).pool.text,
    }));
}

function refuseOverlaps(wanted: readonly JsonObject[], host: HostView): void {
  // A default route is everywhere and in nobody's way.
  const others = wanted.length === 0 ? [] : host.inUse().filter(({ bits }) => bits > 0);
  for (const [i, raw] of wanted.entries()) {
    const at = `subnets[${i}]`;
    const { pool } = readSubnet(raw, at);
    const other = others.find((o) => overlaps(o, pool));
    if (other !== undefined)
      invalid(
        `${at}.subnet`,
        `${pool.text} overlaps ${other.text}, which another network has or the host reaches; choose another --subnet`,
      );
  }
}
