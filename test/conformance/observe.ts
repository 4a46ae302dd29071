/**
 * One life of an attachment under one implementation, and everything that can be seen of it: answers, and the state
 * of host and container after ADD and after DEL, with what differs by chance made the same.
 */
import { join } from "node:path";
import type { Version } from "../../src/cni/version.ts";
import type { CniHost, PluginReply } from "../../src/testing/cni-host.ts";
import { difference } from "../faults/loop.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { outsideOf, trafficOf } from "./traffic.ts";
import { type Families, ipamOf, type Json, type Network, type Site } from "./networks.ts";

/** One of the implementations, on a host of its own. */
export interface Player {
  readonly host: CniHost;
  readonly file: (type: string) => string;
  /** CNI_PATH. */
  readonly path: string;
}

export interface Observation {
  /** Of every plugin of the list: exit code, and the result as far as it is comparable. */
  readonly add: readonly { readonly code: number; readonly result?: unknown }[];
  readonly check: readonly number[];
  readonly del: readonly number[];
  readonly delAgain: readonly number[];
  /** Who sees whom through the network; empty without addresses. */
  readonly traffic: readonly string[];
  /** Lines of state that ADD brought or took away. */
  readonly made: readonly string[];
  /** What of it is still there after DEL. */
  readonly left: readonly string[];
}

type Verb = "ADD" | "CHECK" | "DEL";

/** The configurations of the plugins as a runtime gives them. */
export function confsOf(
  player: Player,
  network: Network,
  kind: Families,
  cniVersion: Version,
): readonly Json[] {
  const ipam = ipamOf(network, kind, join(player.host.dir, "ipam"));
  return network.plugins.map((plugin, i) => {
    const { capabilities, ...rest } = plugin;
    const wanted = Object.entries(network.runtimeConfig ?? {}).filter(
      ([key]) => (capabilities as Json | undefined)?.[key] === true,
    );
    return {
      cniVersion,
      name: "conf",
      ...rest,
      ...(i === 0 ? ipam : {}),
      ...(wanted.length > 0 ? { runtimeConfig: Object.fromEntries(wanted) } : {}),
    };
  });
}

/**
 * Attaches, looks, checks if the version has CHECK, detaches twice, and looks again. `silenceMs` says after how long nothing
 * passes, other than usually.
 */
export async function observe(
  player: Player,
  network: Network,
  kind: Families,
  version: Version,
  silenceMs?: number,
): Promise<Observation> {
  await using container = await testNetns();
  await using outside = await outsideOf(player.host);
  const site: Site = { host: player.host, container };
  await network.prepare?.(site);
  const confs = confsOf(player, network, kind, version);
  const key = { containerId: "c", netns: container.path, ifname: "eth0", env: { CNI_PATH: player.path } };
  const call = (command: Verb, conf: Json, prevResult: Json | undefined): Promise<PluginReply> =>
    player.host.call(
      player.file(String(conf["type"])),
      { command, ...key, ...(network.args ? { args: network.args } : {}) },
      prevResult ? { ...conf, prevResult } : conf,
    );
  const before = await stateOf(site);
  const add: PluginReply[] = [];
  for (const conf of confs) add.push(await call("ADD", conf, add.at(-1)?.result));
  const after = await stateOf(site);
  const { result } = add.at(-1) ?? {};
  const place = {
    host: `/proc/${player.host.pid}/ns/net`,
    container: container.path,
    outside: outside.path,
  };
  const traffic =
    kind === "no addresses" || network.silent
      ? []
      : await trafficOf(place, result ?? {}, mappingsOf(network), silenceMs);
  const every = async (command: Verb, list: readonly Json[], prev: Json | undefined): Promise<number[]> => {
    const codes: number[] = [];
    for (const conf of list) codes.push((await call(command, conf, prev)).code);
    return codes;
  };
  const checks = version >= "0.4.0" && add.every((a) => a.code === 0);
  const check = checks ? await every("CHECK", confs, result) : [];
  // Before 0.4.0 a runtime has no previous result for DEL.
  const last = checks ? result : undefined;
  const del = await every("DEL", confs.toReversed(), last);
  const delAgain = await every("DEL", confs.toReversed(), last);
  const left = await stateOf(site);
  const normal = (value: unknown): unknown => normalResult(value, container.path);
  return {
    add: add.map((a) => ({ code: a.code, ...(a.result ? { result: normal(a.result) } : {}) })),
    check,
    del,
    delAgain,
    traffic: traffic.map((l) => l.replaceAll(/\bfe80:[0-9a-f:]+/g, "LINK-LOCAL")),
    made: difference(before, after),
    left: difference(before, left),
  };
}

type Mappings = Parameters<typeof trafficOf>[2];
const mappingsOf = (network: Network): Mappings =>
  (network.runtimeConfig?.["portMappings"] ?? []) as Mappings;

/** MAC addresses that the networks ask for begin with this; all others are drawn. */
const ASKED = "c2:b0:57";

function normalResult(value: unknown, netns: string): unknown {
  const text = JSON.stringify(value)
    .replaceAll(netns, "NETNS")
    .replaceAll(new RegExp(`"(mac)":"(?!00:00:00:00:00:00|${ASKED})[0-9a-f:]{17}"`, "g"), '"$1":"MAC"')
    .replaceAll(/"veth[0-9a-f]{8}"/g, '"VETH"')
    .replaceAll(/"bwp[0-9a-f]{12}"/g, '"BWP"');
  return JSON.parse(text) as unknown;
}

/** What a comparison looks at; rules of firewalls are compared by traffic, and files of ours have no peer. */
async function stateOf({ host, container }: Site): Promise<readonly string[]> {
  const lines = [...(await host.snapshot([container.path])), ...(await detailsOf(host, container.path))];
  return lines.filter((l) => !/^(nft: |file (run|lib)\/)/.test(l)).map(normalLine);
}

/** Queues, VLANs of bridge ports and kernel parameters of single interfaces, which a snapshot leaves out. */
async function detailsOf(host: CniHost, netns: string): Promise<readonly string[]> {
  const places = [
    ["host", []],
    ["container 1", ["nsenter", `--net=${netns}`, "--"]],
  ] as const;
  const parts = await Promise.all(
    places.map(async ([where, under]) => {
      const [queues, vlans, parameters] = await Promise.all([
        host.exec([...under, "tc", "qdisc", "show"]),
        host.exec([...under, "bridge", "-json", "vlan", "show"]),
        host.exec([...under, "grep", "-rH", ".", ...CONF], { mustSucceed: false }),
      ]);
      return [
        // The others are in the snapshot; here are their rates and sizes.
        ...linesOf(queues.stdout).filter((l) => l.startsWith("qdisc tbf ")),
        ...vlanLines(vlans.stdout),
        ...linesOf(parameters.stdout)
          .filter((l) => !PARAMETERS_ASIDE.test(l))
          .map((l) => `sysctl ${l.replace("/proc/sys/", "")}`),
      ].map((l) => `${where}: ${l}`);
    }),
  );
  return parts.flat();
}

const CONF = ["/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"];
/** Of all interfaces together, which a snapshot has as far as they count; and what the kernel finds out or draws. */
const PARAMETERS_ASIDE = /\/(all|default|lo)\/|\/(mtu|stable_secret):/;

interface PortVlans {
  readonly ifname: string;
  readonly vlans: readonly {
    readonly vlan: number;
    readonly vlanEnd?: number;
    readonly flags?: readonly string[];
  }[];
}

const vlanLines = (json: string): readonly string[] =>
  (JSON.parse(json === "" ? "[]" : json) as PortVlans[]).flatMap(({ ifname, vlans }) =>
    vlans.map((v) => `VLAN ${v.vlan} to ${v.vlanEnd ?? v.vlan} ${v.flags?.join(" ") ?? ""} on ${ifname}`),
  );

const linesOf = (text: string): readonly string[] => text.split("\n").filter((l) => l !== "");

const normalLine = (line: string): string =>
  line
    .replaceAll(/veth[0-9a-f]{8}/g, "VETH")
    .replaceAll(/ bwp[0-9a-f]{12}$/g, "")
    .replaceAll(/bwp[0-9a-f]{12}/g, "BWP")
    // Marks of what several attachments share.
    .replaceAll(/ heddle-(?:vrf|vlan-gateway)-\S+$/g, "")
    .replaceAll(/ ?(?:moved-)?heddle-[a-z-]+-[0-9a-f]{12}-[0-9a-f]{16}/g, "")
    .replaceAll(new RegExp(`\\b(?!00:00:00:00:00:00|${ASKED})(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\\b`, "g"), "MAC");
