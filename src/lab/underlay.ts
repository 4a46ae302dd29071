/**
 * The plan of an underlay: which subnets there are, and what every host is called, and where it stands. Pure. All of it lies
 * behind one more host, the router, which has the bridges and is nobody's business but the lab's.
 *
 *     flat      one subnet, 192.168.1.0/24 and fd00:0:0:1::/64
 *     routed    several, 192.168.1.0/24, 192.168.2.0/24, …, and the hosts in groups of the same size, in order
 *
 * Host N ends with N + 10 in each family; the router has 1 in every subnet and is everyone's default gateway.
 */
import { type Family, type Ip, type IpPrefix, parseIp, prefix } from "../net/ip.ts";
import { type Mac, parseMac } from "../net/mac.ts";
import { hostNames, type LabSpec, type LabState } from "./model.ts";

export const ROUTER = "router";
/** The host's link to the underlay. */
export const UPLINK = "eth0";
/** Addresses beyond the router that belong to no host and to no container, to be reached from all of them. */
export const OUTSIDE = { 4: "198.51.100.1", 6: "2001:db8:ffff::1" } as const;

export interface Subnet {
  /** The bridge of the router. */
  readonly bridge: string;
  readonly mac: Mac;
  /** The router's addresses in it. */
  readonly router: readonly IpPrefix[];
}
export interface HostPlan {
  readonly name: string;
  readonly subnet: Subnet;
  /** The router's end of the cable. */
  readonly port: string;
  readonly portMac: Mac;
  readonly mac: Mac;
  readonly addresses: readonly IpPrefix[];
  readonly gateways: readonly Ip[];
}
export interface Underlay {
  readonly families: readonly Family[];
  readonly subnets: readonly Subnet[];
  readonly hosts: readonly HostPlan[];
  readonly outside: readonly Ip[];
}

const BITS = { 4: 24, 6: 64 } as const;
const FIRST_HOST = 10;
/** Numbers for addresses that were moved: above those of all hosts. */
const FIRST_MOVED = 211;
const LAST_NUMBER = 254;

const must = <T>(
  found: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string },
): T => {
  if (!found.ok) throw new TypeError(found.why);
  return found.value;
};

/** The digits are those of the number in both families, so that a person finds the host again. */
const addressOf = (family: Family, subnet: number, number: number): Ip =>
  must(parseIp(family === 4 ? `192.168.${subnet}.${number}` : `fd00:0:0:${subnet}::${number}`));

const hex = (n: number): string => n.toString(16).padStart(2, "0");
/** `end`: of a cable, that of the switch or that of the host. */
const macOf = (end: "switch" | "host", subnet: number, number: number): Mac =>
  must(parseMac(`02:1a:b0:${end === "switch" ? "01" : "00"}:${hex(subnet)}:${hex(number)}`));

export const familiesOf = ({ ip }: Pick<LabSpec, "ip">): readonly Family[] =>
  ip === "dual" ? [4, 6] : ip === "4" ? [4] : [6];

/** The plan of a lab as it is now, with the addresses that were moved. */
export function planUnderlay({ spec, moved }: Pick<LabState, "spec" | "moved">): Underlay {
  const families = familiesOf(spec);
  const count = spec.underlay === "flat" ? 1 : spec.subnets;
  const subnets = Array.from({ length: count }, (_, i) => ({
    bridge: `lan${i + 1}`,
    mac: macOf("host", i + 1, 1),
    router: families.map((f) => prefix(addressOf(f, i + 1, 1), BITS[f])),
  }));
  const hosts = hostNames(spec).map((name, i): HostPlan => {
    const at = Math.floor((i * count) / spec.hosts);
    const subnet = subnets[at] as Subnet;
    const number = moved[name] ?? FIRST_HOST + i + 1;
    return {
      name,
      subnet,
      port: name,
      portMac: macOf("switch", at + 1, FIRST_HOST + i + 1),
      mac: macOf("host", at + 1, FIRST_HOST + i + 1),
      addresses: families.map((f) => prefix(addressOf(f, at + 1, number), BITS[f])),
      gateways: subnet.router.map((p) => p.ip),
    };
  });
  return { families, subnets, hosts, outside: families.map((f) => must(parseIp(OUTSIDE[f]))) };
}

/** The number that a host's addresses get when they are moved: one that no host has, and not its last one. Undefined: none is left. */
export function nextNumber(moved: LabState["moved"]): number | undefined {
  const taken = new Set(Object.values(moved));
  for (let number = FIRST_MOVED; number <= LAST_NUMBER; number++) if (!taken.has(number)) return number;
  return undefined;
}
