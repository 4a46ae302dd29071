/**
 * The network configurations of the host, as the doctor needs them: what validation says of each file, and of a network
 * that can be read, which plugins, bridges, and ranges of addresses it names. Reads files, and no kernel.
 */
import { basename, extname } from "node:path";
import { type PluginConf, unpacked } from "../../../cni/list.ts";
import { configFiles, readNetworkFile } from "../../../cni/load.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { Version } from "../../../cni/version.ts";
import { NetError } from "../../../errors.ts";
import { foldKeys, isObject } from "../../../cni/json.ts";
import type { Backend } from "../../../firewall/model.ts";
import type { IpPrefix } from "../../../net/ip.ts";
import { namesIn } from "../../../plugins/ipam/host-local/store.ts";
import { parseConfig as parseHostLocal } from "../../../plugins/ipam/host-local/config.ts";
import { usedIn } from "../../../plugins/ipam/host-local/allocate.ts";
import { capacity, setText } from "../../../plugins/ipam/host-local/ranges.ts";
import { parseConfig as parseBridge } from "../../../plugins/main/bridge/config.ts";
import { parseConfig as parseFirewall } from "../../../plugins/meta/firewall/config.ts";
import { parseConfig as parseFlannel } from "../../../plugins/meta/flannel/config.ts";
import { delegateOf } from "../../../plugins/meta/flannel/delegate.ts";
import { readSubnetEnv } from "../../../plugins/meta/flannel/subnet-env.ts";
import { parseConfig as parsePortmap } from "../../../plugins/meta/portmap/config.ts";
import { listDir, O, openFile, statPath, unlessErrno } from "../../../sys/files.ts";
import { type FindingJson, toJson } from "../../validate/finding.ts";
import { checkPath } from "../../validate/run.ts";
import { look, lookLater, type Seen } from "../seen.ts";

export interface ConfigFacts {
  readonly dir: string;
  /** In the order of their names, which is that of container runtimes. */
  readonly files: Seen<readonly ConfFile[]>;
  /** Names of files that no runtime reads. */
  readonly ignored: Seen<readonly string[]>;
}

export interface ConfFile {
  readonly file: string;
  /** Without what is said of plugins of others: `plugins` of the network tells. */
  readonly findings: Seen<readonly FindingJson[]>;
  /** Absent if the file cannot be read as a network. */
  readonly network?: ConfNetwork;
}

export interface ConfNetwork {
  readonly name: string;
  readonly file: string;
  /** Every plugin that it runs, those of IPAM included, once. */
  readonly plugins: readonly string[];
  /** Those of the list itself, in its order. */
  readonly types: readonly string[];
  readonly bridge?: { readonly name: string; readonly isGateway: boolean };
  /** Packets of its containers are forwarded by this host's routing. */
  readonly routed: boolean;
  /** Where its plugin firewall can allow what others drop: none without it. */
  readonly allowsIn: readonly ("iptables" | "firewalld")[];
  /** It has rules of nftables for the frames of a bridge. */
  readonly looksAtFrames: boolean;
  /** The bit of the packet mark that port mappings by iptables take, 0 to 31. */
  readonly markBit?: number;
  readonly pools: readonly Pool[];
  /** The socket of the DHCP daemon, if the network gets its addresses from it. */
  readonly dhcpSocket?: string;
}

/** One range set of host-local. */
export interface Pool {
  readonly dir: string;
  readonly text: string;
  readonly subnets: readonly IpPrefix[];
  /** How many addresses it can give, and how many are reserved. */
  readonly capacity: bigint;
  readonly used: Seen<bigint>;
}

const READ = [".conflist", ".conf", ".json"];
/** Said of plugins of others. */
const STRANGER = "is not in this executable";

export async function gatherConfig(dir: string): Promise<ConfigFacts> {
  const names = look(() => configFiles(dir, READ).toSorted(byName));
  if (!names.known) return { dir, files: names, ignored: names };
  const files: ConfFile[] = [];
  for (const file of names.value) {
    const findings = await lookLater(async () => {
      // Validation takes a file that it may not read for a wrong one, as one that is not there.
      unlessErrno(["ENOENT", "ELOOP"], () => openFile(file, O.RDONLY | O.NONBLOCK)[Symbol.dispose]());
      return (await checkPath(file, [])).flatMap(toJson).filter((f) => !f.message.includes(STRANGER));
    });
    const network = findings.known ? networkOf(file) : undefined;
    files.push({ file, findings, ...(network ? { network } : {}) });
  }
  const ignored = look(() =>
    statPath(dir) === undefined
      ? []
      : listDir(dir)
          .flatMap((e) => (e.isFile && !READ.includes(extname(e.name)) ? [e.name] : []))
          .toSorted(),
  );
  return { dir, files: { known: true, value: files }, ignored };
}

const byName = (a: string, b: string): number => (basename(a) < basename(b) ? -1 : 1);

/** Absent if it cannot be read: validation has said why. */
function networkOf(file: string): ConfNetwork | undefined {
  try {
    const { name, cniVersion, plugins } = readNetworkFile(file);
    const listed = plugins.flatMap((p, i) => unpacked(p, `plugins[${i}]`));
    const chain = plugins.length === listed.length ? [] : plugins.map((p) => p.type);
    const conf = (e: PluginConf) => ({ cniVersion, name, type: e.type, raw: e.raw });
    const entries = listed.flatMap((e) => [e, ...delegatesOf(conf(e))]);
    const types = entries.map((p) => p.type);
    const ipam = entries.map(ipamOf).filter((type) => type !== undefined);
    const read = <T>(type: string, parse: (entry: PluginConf) => T): readonly T[] =>
      entries.filter((e) => e.type === type).flatMap((e) => attempt(() => parse(e)));
    const [bridge] = read("bridge", (e) => parseBridge(conf(e)));
    const [portmap] = read("portmap", (e) => parsePortmap(conf(e)));
    const [firewall] = read("firewall", (e) => parseFirewall(conf(e)));
    const [dhcp] = entries.filter((e) => ipamOf(e) === "dhcp").map(dhcpSocketOf);
    const iptables = portmap?.backend === "iptables" ? { markBit: portmap.iptables.markMasqBit ?? 13 } : {};
    return {
      name,
      file,
      types,
      plugins: [...new Set([...chain, ...types, ...ipam])],
      ...(bridge ? { bridge: { name: bridge.bridge, isGateway: bridge.isGateway } } : {}),
      allowsIn: firewall ? placesOf(firewall.backend) : [],
      looksAtFrames: bridge?.macspoofchk === true || firewall?.ingressPolicy === "isolated",
      routed: types.includes("ptp") || bridge?.isGateway === true,
      ...iptables,
      ...(dhcp === undefined ? {} : { dhcpSocket: dhcp }),
      pools: entries.filter((e) => ipamOf(e) === "host-local").flatMap((e) => poolsOf(name, cniVersion, e)),
    };
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}

/** Without a backend it is where something drops at the time of the ADD. */
function placesOf(backend: Backend | undefined): ConfNetwork["allowsIn"] {
  if (backend === undefined) return ["iptables", "firewalld"];
  return backend === "nftables" ? [] : [backend];
}

const inIpam = ({ raw }: PluginConf, key: "type" | "daemonSocketPath"): string | undefined => {
  const { ipam } = foldKeys(raw, ["ipam"]);
  const value = isObject(ipam) ? foldKeys(ipam, [key])[key] : undefined;
  return typeof value === "string" && value !== "" ? value : undefined;
};
const ipamOf = (entry: PluginConf): string | undefined => inIpam(entry, "type");
const dhcpSocketOf = (entry: PluginConf): string => inIpam(entry, "daemonSocketPath") ?? "/run/cni/dhcp.sock";

function poolsOf(name: string, cniVersion: Version, { type, raw }: PluginConf): readonly Pool[] {
  return attempt(() => parseHostLocal({ cniVersion, name, type, raw })).flatMap(({ place, pool }) => {
    if (!pool.ok) return [];
    const names = look(() => namesIn(place));
    return pool.value.sets.map((set) => ({
      dir: place.dir,
      text: setText(set),
      subnets: set.map((r) => r.subnet),
      capacity: capacity(set),
      used: names.known ? { known: true, value: BigInt([...usedIn(set, names.value)].length) } : names,
    }));
  });
}

/** What `flannel` would run now; without the daemon's file, as far as it is known. */
const delegatesOf = (conf: NetConf): readonly PluginConf[] =>
  conf.type !== "flannel"
    ? []
    : attempt(() => {
        const config = parseFlannel(conf);
        const [env] = attempt(() => readSubnetEnv(config.subnetFile));
        return delegateOf(conf, config, env);
      });

/** What the plugin reads in its entry; nothing if it refuses it, which validation has said. */
function attempt<T>(read: () => T): readonly T[] {
  try {
    return [read()];
  } catch (e) {
    if (e instanceof NetError) return [];
    throw e;
  }
}
