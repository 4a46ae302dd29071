/** Lists as hosts have them, for crowds of containers, and how a container is attached and detached by one. */
import type { CniHost, PluginReply } from "../../src/testing/cni-host.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import type { Json } from "../plugins/list-site.ts";
import { ipamOf } from "./host.ts";
import { entryOf, MASTER, type Result } from "./plugins.ts";

export interface Chain {
  readonly types: readonly string[];
  /** One process for each plugin, or `heddle-chain` for all of them. */
  readonly processes: "one each" | "one";
  /** Options of the plugins of a type beside those of its row. */
  readonly options?: Readonly<Record<string, Json>>;
  /** What the options are for. */
  readonly how?: string;
  /** What the host has beside its links, as lines for `ip -batch`. */
  readonly host?: readonly string[];
}

const each = (...types: readonly string[]): Chain => ({ types, processes: "one each" });
const BY_IPTABLES = {
  bridge: { ipMasqBackend: "iptables" },
  portmap: { backend: "iptables" },
  firewall: { backend: "iptables" },
};
const WITH_HOST = {
  options: { macvlan: { hostAccess: true }, ipvlan: { hostAccess: true } },
  how: "with access to the host",
  host: [`address add 10.98.0.1/16 dev ${MASTER}`, `address add fd98::1/64 dev ${MASTER} nodad`],
};

export const chains: readonly Chain[] = [
  each("bridge", "portmap", "firewall", "tuning", "bandwidth"),
  { types: ["bridge", "portmap", "firewall", "tuning", "bandwidth"], processes: "one" },
  { ...each("bridge", "portmap", "firewall", "tuning"), options: BY_IPTABLES, how: "by iptables" },
  each("ptp", "portmap", "firewall", "tuning", "bandwidth", "sbr"),
  each("flannel", "portmap", "firewall", "tuning"),
  each("macvlan", "tuning", "sbr"),
  { ...each("macvlan", "tuning"), ...WITH_HOST },
  each("macvtap", "tuning", "bandwidth"),
  each("tap", "tuning", "sbr"),
  each("host-device", "portmap", "tuning", "sbr"),
  each("ipvlan", "bandwidth", "sbr"),
  { ...each("ipvlan", "sbr"), ...WITH_HOST },
  each("vlan", "tuning", "sbr"),
  each("dummy", "tuning", "portmap"),
  each("bridge", "vrf", "portmap", "tuning"),
];

export const titleOf = ({ types, processes, how }: Chain): string =>
  types.join(", ") + (processes === "one" ? " in one process" : "") + (how ? ` ${how}` : "");

/** One container of a crowd. */
export interface Container {
  readonly nth: number;
  readonly netns: TestNetns;
}

/** A network that a crowd of this size is on. */
export interface Network {
  readonly host: CniHost;
  readonly chain: Chain;
  readonly size: number;
}

/** By iptables a call waits for the rules of all others, and each takes as long as there are rules. */
const CALL_MS = 5 * 60_000;

const NAME = { cniVersion: "1.1.0", name: "crowd" };

/** The entries of the list. */
export function pluginsOf({ host, chain, size }: Network, { nth }: Pick<Container, "nth">): readonly Json[] {
  const of = { nth, ipam: ipamOf(host, size) };
  const entries = chain.types.map((type) => ({ ...entryOf(type, of), ...chain.options?.[type] }));
  if (chain.processes === "one each") return entries;
  const capabilities = { portMappings: true };
  const runtimeConfig = entries.map((e) => (e as Json)["runtimeConfig"]).find((c) => c !== undefined);
  const plugins = entries.map((e) => ({ ...e, runtimeConfig: undefined, capabilities }));
  return [{ type: "heddle-chain", capabilities, runtimeConfig, plugins }];
}

interface Call {
  readonly verb: "ADD" | "CHECK" | "DEL";
  readonly of: Container;
  readonly result?: Result | undefined;
  /** DEL is told nothing but the configuration and the key. */
  readonly bare?: boolean;
  readonly under?: readonly string[];
}

export function call(
  { host }: Network,
  conf: Json,
  { verb, of, result, bare, under }: Call,
): Promise<PluginReply> {
  const { name, path } = of.netns;
  const key = { containerId: name, ifname: "eth0", timeoutMs: CALL_MS, ...(bare ? {} : { netns: path }) };
  const known = bare || result === undefined ? {} : { prevResult: result };
  return host.call(String(conf["type"]), { command: verb, ...key }, { ...NAME, ...conf, ...known }, under);
}

/** ADD of each plugin. Throws what the first that fails says. */
export async function add(on: Network, of: Container): Promise<Result> {
  let result: Result | undefined;
  for (const conf of pluginsOf(on, of)) {
    const reply = await call(on, conf, { verb: "ADD", of, result });
    result = demand(`ADD of ${of.netns.name} by ${String(conf["type"])}`, reply).result;
  }
  return result ?? {};
}

/** CHECK of each plugin. Throws what the first that fails says. */
export async function check(on: Network, of: Container, result: Result): Promise<void> {
  for (const conf of pluginsOf(on, of))
    demand(
      `CHECK of ${of.netns.name} by ${String(conf["type"])}`,
      await call(on, conf, { verb: "CHECK", of, result }),
    );
}

/** DEL of each plugin, the last first; of the key alone if there is no result. */
export async function del(on: Network, of: Container, result?: Result): Promise<void> {
  for (const conf of pluginsOf(on, of).toReversed())
    demand(
      `DEL of ${of.netns.name} by ${String(conf["type"])}`,
      await call(on, conf, { verb: "DEL", of, result, bare: result === undefined }),
    );
}

/** GC of each plugin with these attachments. Throws what the first that fails says. */
export async function gc(on: Network, valid: readonly Container[]): Promise<void> {
  const attachments = valid.map(({ netns }) => ({ containerID: netns.name, ifname: "eth0" }));
  for (const conf of pluginsOf(on, { nth: 0 })) {
    const all = { ...NAME, ...conf, "cni.dev/valid-attachments": attachments };
    demand(`GC by ${String(conf["type"])}`, await on.host.call(String(conf["type"]), { command: "GC" }, all));
  }
}

export function demand(what: string, reply: PluginReply): PluginReply {
  if (reply.code !== 0) throw new Error(`${what} failed with ${reply.error ?? reply.code}: ${reply.message}`);
  return reply;
}
