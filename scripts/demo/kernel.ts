/**
 * What is in the kernel and on disk, as other programs see it: `ip`, `nft` and `iptables-save`. The demo must not take
 * Heddle's own word for what Heddle did.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { markPrefix } from "../../src/netstate/owner.ts";
import { listRecords } from "../../src/netstate/record.ts";
import { command } from "../command.ts";
import type { Picture, Port } from "./drawing.ts";

export const NETWORK = "mynet";
const BRIDGE = "mynet";
const CACHE = "/var/lib/cni/results";
const RESERVATIONS = "/var/lib/cni/networks";

/** What marks of this network begin with. */
const prefixes = (["bridge", "portmap"] as const).map((component) => markPrefix(component, NETWORK));
const isOurs = (text: string): boolean => prefixes.some((prefix) => text.includes(prefix));

interface IpLink {
  readonly ifname: string;
  readonly address?: string;
  readonly master?: string;
  readonly link_netnsid?: number;
  readonly ifindex: number;
  readonly link_index?: number;
  readonly altnames?: readonly string[];
  readonly addr_info?: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
  }[];
}
interface IpRoute {
  readonly dst: string;
  readonly gateway?: string;
}

async function json<T>(argv: readonly string[]): Promise<T> {
  const text = await command(argv);
  return JSON.parse(text.trim() === "" ? "[]" : text) as T;
}

const links = (netns?: string): Promise<readonly IpLink[]> =>
  json(["ip", ...(netns === undefined ? [] : ["-n", netns]), "-j", "addr", "show"]);
const addressesOf = (link: IpLink): readonly string[] =>
  (link.addr_info ?? []).filter((a) => a.scope === "global").map((a) => `${a.local}/${a.prefixlen}`);

async function portOf(container: string, hostLinks: readonly IpLink[]): Promise<Port> {
  const eth0 = (await links(container)).find((l) => l.ifname === "eth0");
  const host = hostLinks.find((l) => l.ifindex === eth0?.link_index && l.master === BRIDGE);
  if (eth0 === undefined || host === undefined)
    throw new Error(`${container} is not on the bridge ${BRIDGE}`);
  const routes = await json<readonly IpRoute[]>(["ip", "-n", container, "-j", "route", "show"]);
  return {
    hostLink: host.ifname,
    container,
    link: "eth0",
    mac: eth0.address ?? "",
    addresses: addressesOf(eth0),
    routes: routes.flatMap((r) => (r.gateway === undefined ? [] : [`${r.dst} via ${r.gateway}`])),
  };
}

interface NftSet {
  readonly name: string;
  readonly elem?: readonly (readonly [
    { readonly elem: { readonly val: { readonly concat: readonly (string | number)[] } } },
    { readonly concat: readonly (string | number)[] },
  ])[];
}

/** The host ports that lead somewhere, from the map that the kernel looks them up in. */
async function mappings(): Promise<readonly string[]> {
  const { nftables } = await json<{ readonly nftables: readonly { readonly map?: NftSet }[] }>([
    ...["nft", "-j", "list", "map", "inet", "heddle", "hostip_ports4"],
  ]);
  return nftables
    .flatMap(({ map }) => map?.elem ?? [])
    .map(([key, { concat: to }]) => {
      const [address, protocol, port] = key.elem.val.concat;
      return `${address}:${port}/${protocol} → ${to.join(":")}`;
    });
}

/** The bridge and what hangs on it, ready to be drawn. */
export async function picture(containers: readonly string[]): Promise<Picture> {
  const hostLinks = await links();
  const bridge = hostLinks.find((l) => l.ifname === BRIDGE);
  if (bridge === undefined) throw new Error(`there is no bridge ${BRIDGE}`);
  return {
    bridge: { name: bridge.ifname, mac: bridge.address ?? "", addresses: addressesOf(bridge) },
    ports: await Promise.all(containers.map((c) => portOf(c, hostLinks))),
    mappings: await mappings(),
  };
}

const filesIn = (dir: string): readonly string[] => (existsSync(dir) ? readdirSync(dir).toSorted() : []);
const linesOf = async (argv: readonly string[]): Promise<readonly string[]> =>
  (await command(argv)).split("\n").map((line) => line.trim());

/** How many values attachments of this network have borrowed, by their records. */
export const borrowedValues = (): number =>
  prefixes.flatMap((p) => listRecords(p)).reduce((sum, record) => sum + record.borrowed.length, 0);

/** What belongs to one attachment of this network and is there: a name for each kind, and the things. */
export async function exclusive(containers: readonly string[]): Promise<Record<string, readonly string[]>> {
  const inside = await Promise.all(
    containers.map(async (c) =>
      (await links(c)).filter((l) => l.ifname !== "lo").map((l) => `${l.ifname} in ${c}`),
    ),
  );
  return {
    "links in the containers": inside.flat(),
    "links of the host": (await links())
      .filter((l) => l.master === BRIDGE || (l.altnames ?? []).some(isOurs))
      .map((l) => l.ifname),
    "nftables elements": (await linesOf(["nft", "list", "ruleset"])).filter(isOurs),
    "iptables rules": (await linesOf(["iptables-save"])).filter(isOurs),
    "attachment records": filesIn("/run/heddle/attachments").filter(isOurs),
    "cached results": filesIn(CACHE).filter((name) => name.startsWith(`${NETWORK}-`)),
    "reserved addresses": filesIn(`${RESERVATIONS}/${NETWORK}`).filter((name) => /^\d+\.\d+/.test(name)),
  };
}

const sysctls = ["net/ipv4/ip_forward", `net/ipv4/conf/${BRIDGE}/route_localnet`] as const;
const sysctlValue = (key: string): string | undefined =>
  existsSync(`/proc/sys/${key}`) ? readFileSync(`/proc/sys/${key}`, "utf8").trim() : undefined;

/** What containers share: by name, with its value. Two of these differ by what an attachment has brought. */
export async function shared(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const bridge = (await links()).find((l) => l.ifname === BRIDGE);
  if (bridge) found.set(`bridge ${BRIDGE}`, addressesOf(bridge).join(" "));
  for (const key of sysctls) {
    const value = sysctlValue(key);
    if (value !== undefined) found.set(`sysctl ${key.replaceAll("/", ".")}`, value);
  }
  const ruleset = await linesOf(["nft", "list", "tables"]);
  if (ruleset.includes("table inet heddle")) {
    const lines = await linesOf(["nft", "list", "table", "inet", "heddle"]);
    const count = (word: string): number => lines.filter((l) => l.startsWith(`${word} `)).length;
    found.set("nftables table inet heddle", `${count("chain")} chains, ${count("map") + count("set")} sets`);
  }
  const chains = (await linesOf(["iptables-save"])).flatMap((l) => /^:(CNI-\S+)/.exec(l)?.[1] ?? []);
  if (chains.length > 0) found.set("iptables chains", chains.join(", "));
  const kept = filesIn(`${RESERVATIONS}/${NETWORK}`).filter((name) => !/^\d+\.\d+/.test(name));
  if (kept.length > 0) found.set(`${RESERVATIONS}/${NETWORK}`, kept.join(", "));
  const locks = filesIn("/run/heddle/lock");
  if (locks.length > 0) found.set("/run/heddle/lock", locks.join(", "));
  return found;
}
