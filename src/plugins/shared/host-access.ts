import type { PlanInput } from "../../cni/kernel-plugin.ts";
import type { ResultIp } from "../../cni/result.ts";
import { NetError } from "../../errors.ts";
import { contains, hostPrefix, type Ip } from "../../net/ip.ts";
import { localMac, type Mac } from "../../net/mac.ts";
import { type Facts, factKey, type Needs } from "../../netstate/facts.ts";
import type { NetObject } from "../../netstate/model.ts";
import type { Address } from "../../rtnl/address.ts";
import type { Ipvlan } from "../../rtnl/kinds/ipvlan.ts";
import type { Macvlan } from "../../rtnl/kinds/macvlan.ts";
import type { Link } from "../../rtnl/link.ts";

/**
 * `hostAccess`: what goes out by a master never reaches the links on it, so that the host and containers cannot talk. A
 * further link of the same kind in the host, the shim, is one of those that reach each other. It is made once for a
 * master and has no address: the host sends from an address of its master, by a route for each container.
 *
 * The shim must not speak for the host on the network, where the master does: it answers nobody who asks for an address
 * and asks for none itself. So both ends are told the other's hardware address.
 */
type ShimType = Macvlan | Ipvlan;

const digest = (parts: readonly string[]): Uint8Array =>
  new Bun.CryptoHasher("sha256").update(parts.join("\0")).digest();

/** The same for every container on this master, and another one for each kind and mode. */
export const shimName = (master: string, { kind, mode }: ShimType): string =>
  `shim${digest([kind, mode, master]).toHex().slice(0, 8)}`;

/** The same whenever the shim is made, since containers remember it, and no other host's. */
const shimMac = (master: Link, name: string): Mac => localMac(digest([master.mac ?? "", name]));

/** Set before it comes up: no address of its own, none from a router, no word about those of the host. */
const quiet = (name: string): Readonly<Record<string, string>> => ({
  [`net/ipv4/conf/${name}/arp_ignore`]: "8",
  [`net/ipv4/conf/${name}/arp_announce`]: "2",
  [`net/ipv6/conf/${name}/accept_ra`]: "0",
  [`net/ipv6/conf/${name}/accept_dad`]: "0",
  // IN6_ADDR_GEN_MODE_NONE
  [`net/ipv6/conf/${name}/addr_gen_mode`]: "1",
});

/** The addresses of the host on its master that containers of these families can be told of. */
function hostAddresses(master: Link, ips: readonly ResultIp[], facts: Facts): readonly Ip[] {
  const usable = (a: Address): boolean => !a.linkLocal && !a.dadFailed;
  const found = (facts.addresses.get(factKey("host", master.name)) ?? []).filter(usable);
  return ([4, 6] as const).flatMap((family) => {
    if (!ips.some((ip) => ip.address.ip.family === family)) return [];
    const own = found.filter((a) => a.prefix.ip.family === family);
    // Addresses that go by themselves (privacy, a lease) only if there is no other.
    const lasting = own.filter((a) => a.permanent);
    return (lasting.length > 0 ? lasting : own.slice(0, 1)).map((a) => a.prefix.ip);
  });
}

/** What decides whether the host takes packets by another link than it would answer by. */
const reverseFilter = (link: string): string => `net/ipv4/conf/${link}/rp_filter`;

/** Kernel parameters that `hostAccess` of an ipvlan has to know; the uplink if no master is named. */
export const hostAccessSysctls = (master: string | undefined): NonNullable<Needs["sysctls"]> =>
  ["all", master ?? "*"].map((link) => ({ place: "host", key: reverseFilter(link) }));

/**
 * What an ipvlan in mode l2 sends to the host comes in by the master, and the host answers by the shim: under a strict
 * filter (1; the greater of the two values counts) the host would drop it.
 */
function requireLooseFilter(type: ShimType, master: Link, facts: Facts): void {
  if (type.mode !== "l2") return;
  const values = ["all", master.name].map((link) =>
    Number(facts.sysctls.get(factKey("host", reverseFilter(link))) ?? 0),
  );
  if (Math.max(...values) === 1)
    throw new NetError("config/invalid", {
      field: "hostAccess",
      why: `the host filters by the reverse path strictly: set net.ipv4.conf.${master.name}.rp_filter to 2, or use mode l3 or macvlan`,
    });
}

/** What is needed in the host and in the container, beside the container's interface with its addresses. */
export function hostAccess(
  { ifname, fresh }: Pick<PlanInput<unknown>, "ifname" | "fresh">,
  type: ShimType,
  master: Link,
  ips: readonly ResultIp[],
  facts: Facts,
): NetObject[] {
  requireLooseFilter(type, master, facts);
  const name = shimName(master.name, type);
  const macs = hardwareAddresses(type, master, name, fresh.containerMac);
  const shim: NetObject = {
    kind: "link",
    possession: "shared",
    place: "host",
    name,
    type,
    lower: { place: "host", name: master.name },
    ...(type.kind === "ipvlan" ? {} : { mac: macs.shim }),
    prepare: quiet(name),
  };
  const addresses = hostAddresses(master, ips, facts);
  if (ips.length > 0 && addresses.length === 0)
    throw new NetError("config/invalid", {
      field: "hostAccess",
      why: `${master.name} has no address of a family of the container's, by which it could reach the host; give it one`,
    });
  const outward = { possession: "exclusive", place: "host", link: name } as const;
  const inward = { possession: "exclusive", place: "container", link: ifname } as const;
  const toContainer = ips.flatMap(({ address: { ip } }): NetObject[] => {
    const src = addresses.find((a) => a.family === ip.family);
    if (src === undefined) return [];
    return [
      { kind: "route", ...outward, dst: hostPrefix(ip), src, marked: true },
      ...(macs.asked ? [{ kind: "neighbour", ...outward, ip, mac: macs.container } as const] : []),
    ];
  });
  const toHost = addresses.flatMap((ip): NetObject[] => [
    ...(ips.some(({ address }) => contains(address, ip))
      ? []
      : [{ kind: "route", ...inward, dst: hostPrefix(ip) } as const]),
    ...(macs.asked ? [{ kind: "neighbour", ...inward, ip, mac: macs.shim } as const] : []),
  ]);
  return [shim, ...toContainer, ...toHost];
}

/** Whom each end has to address; an ipvlan has the address of its master, and routes in modes l3 and l3s. */
function hardwareAddresses(
  type: ShimType,
  master: Link,
  shim: string,
  container: Mac,
): { readonly asked: boolean; readonly shim: Mac; readonly container: Mac } {
  if (type.kind !== "ipvlan") return { asked: true, shim: shimMac(master, shim), container };
  const own = master.mac ?? container;
  return { asked: type.mode === "l2", shim: own, container: own };
}
