import { type Decode, flag, invalid, oneOf, withDefault } from "../../cni/json.ts";
import type { PlanInput } from "../../cni/kernel-plugin.ts";
import type { StatusCall } from "../../cni/plugin.ts";
import { emptyResult, type Result, type ResultInterface, type ResultIp } from "../../cni/result.ts";
import { NetError } from "../../errors.ts";
import type { IfName } from "../../net/ifname.ts";
import { type Facts, factKey, type Needs } from "../../netstate/facts.ts";
import type { Of, Place } from "../../netstate/model.ts";
import type { Dad } from "../../rtnl/address.ts";
import type { AskedKind } from "../../rtnl/create-link.ts";
import type { LinkType } from "../../rtnl/kinds.ts";
import type { Link } from "../../rtnl/link.ts";
import { ifName, mtu, unlessEmpty } from "./config.ts";
import { requireLinkKind, unlessRefused } from "./status.ts";

/**
 * What plugins have in common whose interface hangs on another link, the master: which that is, how large packets may be,
 * and what the result says.
 */
export interface OnMaster {
  /** Absent: the link of the default route. */
  readonly master?: IfName;
  /** The master is in the container. */
  readonly linkInContainer: boolean;
  /** Absent: that of the master. */
  readonly mtuBytes?: number;
}

/** One of these words, or nothing. */
export const word = <const T extends string>(...words: readonly T[]): Decode<T | undefined> =>
  unlessEmpty(oneOf(...words));

export const masterFields = {
  master: unlessEmpty(ifName),
  linkInContainer: withDefault(flag, false),
  mtu,
} as const;

/** What was read by `masterFields`. */
export const onMaster = (raw: {
  readonly master?: IfName | undefined;
  readonly linkInContainer: boolean;
  readonly mtu?: number;
}): OnMaster => ({
  ...(raw.master === undefined ? {} : { master: raw.master }),
  linkInContainer: raw.linkInContainer,
  ...(raw.mtu ? { mtuBytes: raw.mtu } : {}),
});

/** `enabledad` says yes or no; without it an address can be used while the network is asked about it. */
export const dadOf = (enabledad: boolean | undefined): Dad => enabledad ?? "optimistic";

export const masterPlace = ({ linkInContainer }: OnMaster): Place => (linkInContainer ? "container" : "host");

type Input = Pick<PlanInput<OnMaster>, "config" | "lease" | "ifname">;

/** The interface of this attachment in the final result, which CHECK gives as the lease; undefined in ADD. */
const finalInterface = ({ lease, ifname }: Input): ResultInterface | undefined =>
  lease.interfaces.find((i) => i.name === ifname && i.sandbox !== undefined && i.sandbox !== "");

/** True in CHECK. */
export const isFinal = (input: Input): boolean => finalInterface(input) !== undefined;

/**
 * What has to be known of the master; with `addresses` also what is on it. Where none is named, CHECK asks for the one
 * that the interface has: the default route may have changed since ADD.
 */
export function masterNeeds(input: Input, addresses = false): Needs {
  const { config, ifname } = input;
  const place = masterPlace(config);
  if (config.master !== undefined) return { links: [{ place, name: config.master, addresses }] };
  const uplink = isFinal(input) ? { place, below: ifname } : place;
  return { uplink, ...(addresses ? { uplinkAddresses: true } : {}) };
}

/** What hardware is behind a master of the host, for warnings. */
export const deviceNeeds = (config: OnMaster): Pick<Needs, "device"> =>
  config.linkInContainer ? {} : { device: config.master === undefined ? "uplink" : { link: config.master } };

/** @throws NetError `config/invalid` if there is no such link, or none that can be a master */
export function masterOf(input: Input, facts: Facts): Link {
  const { config, ifname } = input;
  const place = masterPlace(config);
  if (config.master === undefined) {
    if (facts.uplink !== undefined) return facts.uplink;
    if (!isFinal(input))
      return invalid("master", `is missing, and the ${place} has no default route to take the interface of`);
    throw new NetError("check/differs", {
      what: `interface ${ifname}`,
      wanted: "on a master",
      found: "none",
    });
  }
  const link = facts.links.get(factKey(place, config.master));
  if (link === undefined) return invalid("master", `there is no interface ${config.master} in the ${place}`);
  if (link.loopback)
    return invalid("master", `${config.master} is the loopback, which carries no other link`);
  return link;
}

/** The size that the new link will have, in bytes. */
export function mtuOf({ mtuBytes }: OnMaster, master: Link): number {
  if (mtuBytes !== undefined && mtuBytes > master.mtuBytes)
    return invalid(
      "mtu",
      `${mtuBytes} is more than the ${master.mtuBytes} of ${master.name}; 0 takes that of ${master.name}`,
    );
  return mtuBytes ?? master.mtuBytes;
}

/** The container's interface on its master. */
export const linkOn = (
  config: OnMaster,
  master: Pick<Link, "name">,
  link: { readonly name: string; readonly type: LinkType } & Pick<Of<"link">, "mac" | "index">,
): Of<"link"> => ({
  kind: "link",
  possession: "exclusive",
  place: "container",
  lower: { place: masterPlace(config), name: master.name },
  ...(config.mtuBytes ? { mtuBytes: config.mtuBytes } : {}),
  ...link,
});

/** The result of a plugin that makes one interface: every address is on it. */
export const resultWith = (
  own: ResultInterface,
  lease: Pick<Result, "routes"> & { readonly ips: readonly ResultIp[] },
  dns: Result["dns"],
): Result => ({
  interfaces: [own],
  ips: lease.ips.map((ip) => ({ ...ip, interface: 0 })),
  routes: lease.routes,
  dns,
});

/**
 * STATUS of a plugin that makes a link of this kind on a master: whether the kernel has it, and the host the master. `also`
 * throws for a master that serves nobody.
 */
export const masterStatus =
  (kind: AskedKind, { module = kind, also = () => {} }: MasterChecks = {}) =>
  async ({ config }: Pick<StatusCall<OnMaster>, "config">): Promise<void> => {
    await requireLinkKind(kind, module)();
    if (!config.linkInContainer) await requireMaster(config, also);
  };

interface MasterChecks {
  /** The kernel's module, if it has another name than the kind. */
  readonly module?: string;
  readonly also?: (master: Link) => void;
}

async function requireMaster(config: OnMaster, also: (master: Link) => void): Promise<void> {
  const { openSpaces } = await import("../../netstate/spaces.ts");
  const { readFacts } = await import("../../netstate/facts.ts");
  using spaces = openSpaces(undefined);
  const input = { config, lease: emptyResult, ifname: "" };
  const facts = await readFacts(spaces, masterNeeds(input));
  unlessRefused(() => also(masterOf(input, facts)));
}
