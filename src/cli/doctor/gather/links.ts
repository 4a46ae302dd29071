/** The host's links, addresses, routes, rules and the parameters of the kernel that go with them. */
import { openNetlink } from "../../../netlink/socket.ts";
import { allRoutes, allRules, findUplink } from "../../../netstate/routing-facts.ts";
import { type Link, listLinks } from "../../../rtnl/link.ts";
import type { Route } from "../../../rtnl/route.ts";
import type { RoutingRule } from "../../../rtnl/rule.ts";
import { listDir, readText, unlessErrno } from "../../../sys/files.ts";
import { readSysctl } from "../../../sys/sysctl.ts";
import { allSeen, look, type Seen } from "../seen.ts";

export interface LinkFacts {
  readonly links: Seen<readonly Link[]>;
  /** The link of the default route. */
  readonly uplink: Seen<Link | undefined>;
  readonly routes: Seen<readonly Route[]>;
  readonly rules: Seen<readonly RoutingRule[]>;
  /** By the path below /proc/sys; what the kernel does not have is absent. */
  readonly sysctls: Seen<ReadonlyMap<string, string>>;
  /** The settings of sysctl files, the last of each key. */
  readonly sysctlFiles: Seen<ReadonlyMap<string, SysctlSetting>>;
  /** Names of route protocols as the host's files have them (/etc/iproute2/rt_protos). */
  readonly protocolNames: Seen<ReadonlyMap<number, string>>;
}

export interface SysctlSetting {
  readonly value: string;
  readonly file: string;
}

const HOST_KEYS = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/route_localnet"];
const BRIDGE_KEYS = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];
const CONNTRACK_KEYS = [
  "net/netfilter/nf_conntrack_count",
  "net/netfilter/nf_conntrack_max",
  "net/netfilter/nf_conntrack_buckets",
];
const LINK_KEYS = [
  "ipv4/conf/*/forwarding",
  "ipv4/conf/*/route_localnet",
  "ipv6/conf/*/forwarding",
  "ipv6/conf/*/accept_ra",
];

/** `isOfInterest` says for which links the parameters of a link are read; of the others, `route_localnet` alone. */
export function gatherLinks(isOfInterest: (link: Link) => boolean): LinkFacts {
  const links = withSocket(listLinks);
  const uplink = withSocket((s) => findUplink(s));
  return {
    links,
    uplink,
    routes: withSocket(allRoutes),
    rules: withSocket(allRules),
    sysctls: sysctlsOf(allSeen({ links, uplink }), isOfInterest),
    sysctlFiles: look(sysctlFiles),
    protocolNames: look(protocolNames),
  };
}

const withSocket = <T>(read: (socket: ReturnType<typeof openNetlink>) => T): Seen<T> =>
  look(() => {
    using socket = openNetlink("route");
    return read(socket);
  });

function sysctlsOf(
  fact: Seen<{ readonly links: readonly Link[]; readonly uplink: Link | undefined }>,
  isOfInterest: (link: Link) => boolean,
): LinkFacts["sysctls"] {
  if (!fact.known) return fact;
  const { links, uplink } = fact.value;
  return look(() => {
    const found = new Map<string, string>();
    const read = (key: string): void => {
      const value = readSysctl(key);
      if (value !== undefined) found.set(key, value);
    };
    [...HOST_KEYS, ...BRIDGE_KEYS, ...CONNTRACK_KEYS].forEach(read);
    for (const link of links) {
      const keys = isOfInterest(link) || link.index === uplink?.index ? LINK_KEYS : LINK_KEYS.slice(1, 2);
      for (const key of keys) read(`net/${key.replace("*", link.name)}`);
    }
    return found;
  });
}

/** As sysctl.d(5): of two files of one name the first directory's counts, and all are read in the order of their names. */
const SYSCTL_DIRS = [
  "/etc/sysctl.d",
  "/run/sysctl.d",
  "/usr/local/lib/sysctl.d",
  "/usr/lib/sysctl.d",
  "/lib/sysctl.d",
];
const SYSCTL_FILE = "/etc/sysctl.conf";

function sysctlFiles(): ReadonlyMap<string, SysctlSetting> {
  const byName = new Map<string, string>();
  for (const dir of SYSCTL_DIRS)
    for (const name of namesOf(dir))
      if (name.endsWith(".conf") && !byName.has(name)) byName.set(name, `${dir}/${name}`);
  const files = [...byName].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
  const settings = new Map<string, SysctlSetting>();
  for (const file of [...files, SYSCTL_FILE]) {
    const text = unlessErrno(["ENOENT"], () => readText(file)) ?? "";
    for (const line of text.split("\n")) {
      const [, key, value] = /^\s*-?([^#;=\s]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
      if (key !== undefined && value !== undefined) settings.set(keyOf(key), { value, file });
    }
  }
  return settings;
}

/** Either sign may stand between the parts; the first in a key is the one that separates (sysctl(8)). */
const keyOf = (written: string): string =>
  /^[^./]*\//.test(written) ? written : written.replaceAll(/[./]/g, (c) => (c === "." ? "/" : "."));

const namesOf = (dir: string): readonly string[] =>
  (unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(dir)) ?? []).map((e) => e.name);

function protocolNames(): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  const dirs = ["/usr/share/iproute2", "/usr/lib/iproute2", "/etc/iproute2"];
  const files = dirs.flatMap((dir) => [
    `${dir}/rt_protos`,
    ...namesOf(`${dir}/rt_protos.d`).map((name) => `${dir}/rt_protos.d/${name}`),
  ]);
  for (const file of files) {
    const text = unlessErrno(["ENOENT", "ENOTDIR"], () => readText(file)) ?? "";
    for (const [, number, name] of text.matchAll(/^\s*(\d+)\s+(\S+)/gm))
      names.set(Number(number), name ?? "");
  }
  return names;
}
