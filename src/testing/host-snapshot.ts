/**
 * What attachments can leave behind on a host and in namespaces of containers, as lines of text that two moments can be
 * compared by. Everything that the kernel counts, numbers or learns by itself is left out.
 */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Outcome, run, type RunOptions } from "./run.ts";

export interface SnapshotHost {
  /** The path of its network namespace. */
  readonly net: string;
  exec(argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Directories whose files count. */
  readonly directories: readonly string[];
}

export async function snapshot(on: SnapshotHost, containers: readonly string[]): Promise<readonly string[]> {
  const inside = containers.map((path, i) => network(`container ${i + 1}`, `--net=${path}`));
  const parts = await Promise.all([
    network("host", `--net=${on.net}`),
    ...inside,
    on.exec(["nft", "--stateless", "list", "ruleset"]).then(({ stdout }) => rulesetLines(stdout)),
    sysctls(on),
  ]);
  return [...parts.flat(), ...on.directories.flatMap((dir) => files(dir, dir))].toSorted();
}

interface Link {
  readonly ifname: string;
  readonly address?: string;
  readonly mtu: number;
  readonly master?: string;
  readonly flags: readonly string[];
  readonly altnames?: readonly string[];
  readonly txqlen?: number;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: Settings;
    readonly info_slave_data?: Settings;
  };
}
type Settings = Readonly<Record<string, unknown>>;
interface Addresses {
  readonly ifname: string;
  readonly addr_info: readonly {
    readonly local?: string;
    readonly prefixlen?: number;
    readonly scope?: string;
  }[];
}
type Route = Readonly<Record<string, unknown>>;

async function network(where: string, net: string): Promise<readonly string[]> {
  const batch = async (
    family: readonly string[],
    commands: readonly string[],
  ): Promise<readonly unknown[]> => {
    const { stdout } = await run(
      ["nsenter", net, "--", "ip", "-json", "-details", ...family, "-batch", "-"],
      {
        stdin: `${commands.join("\n")}\n`,
      },
    );
    // One JSON document a command, each on lines of its own; a command with nothing to say prints an empty list.
    return stdout.split("\n").flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line) as unknown]));
  };
  const [four, six, queues] = await Promise.all([
    batch(
      [],
      [...["link show", "address show", "route show table all", "rule show"], "neighbour show nud permanent"],
    ),
    batch(["-6"], ["route show table all", "rule show"]),
    trafficControl(net),
  ]);
  const [links, addresses, routes4, rules4, neighbours] = four;
  const [routes6, rules6] = six;
  const lines = [
    ...(links as Link[]).map(linkLine),
    ...(addresses as Addresses[]).flatMap(addressLines),
    ...[...(routes4 as Route[]), ...(routes6 as Route[])]
      .filter(isConfigured)
      .map((r) => `route ${fieldsOf(r)}`),
    ...[...(rules4 as Route[]), ...(rules6 as Route[])].map((r) => `rule ${fieldsOf(r)}`),
    ...(neighbours as Route[]).map((n) => `neighbour ${fieldsOf(n)}`),
    ...queues,
  ];
  return lines.map((line) => `${where}: ${line}`);
}

interface Queue {
  readonly kind: string;
  readonly handle: string;
  readonly dev: string;
}

/** What the kernel has put there by itself has the handle zero. */
async function trafficControl(net: string): Promise<readonly string[]> {
  const tc = (...words: readonly string[]): Promise<Outcome> => run(["nsenter", net, "--", "tc", ...words]);
  const { stdout } = await tc("-json", "qdisc", "show");
  const made = (JSON.parse(stdout) as Queue[]).filter((q) => q.handle !== "0:");
  const hooks = made.filter((q) => q.kind === "clsact" || q.kind === "ingress");
  const points = hooks.flatMap((q) => ["ingress", "egress"].map((point) => [q.dev, point] as const));
  const filters = points.map(async ([dev, point]) => {
    const shown = await tc("filter", "show", "dev", dev, point);
    return shown.stdout
      .split("\n")
      .filter((line) => line.startsWith("filter"))
      .map((line) => `${line.trim()} of ${dev}, ${point}`);
  });
  const queues = made.map((q) => `qdisc ${q.kind} ${q.handle} of ${q.dev}`);
  return [...queues, ...(await Promise.all(filters)).flat()];
}

/** A bridge gets another address each time that it is made. */
const addressOf = (l: Link): string => (l.linkinfo?.info_kind === "bridge" ? "" : (l.address ?? ""));

/** Of each kind what is set when it is made; not what it counts, times and finds out. */
const OF_KIND = [
  // macvlan, ipvlan, VLAN, VRF
  ...["mode", "flags", "protocol", "id", "table"],
  // tap
  ...["type", "pi", "vnet_hdr", "multi_queue", "persist", "user", "group"],
  // bridge
  ...["vlan_filtering", "vlan_default_pvid", "vlan_protocol", "stp_state", "mcast_snooping", "ageing_time"],
];
const OF_PORT = ["hairpin", "isolated", "learning", "flood", "mcast_flood", "guard", "root_block"];

const settings = (keys: readonly string[], of: Settings = {}): readonly string[] =>
  keys.filter((key) => key in of).map((key) => `${key} ${JSON.stringify(of[key])}`);

const FLAGS = new Set(["UP", "PROMISC", "ALLMULTI", "NOARP"]);

const linkLine = (l: Link): string =>
  [
    `link ${l.ifname} ${l.linkinfo?.info_kind ?? ""} ${addressOf(l)} mtu ${l.mtu} master ${l.master ?? "none"}`,
    `txqlen ${l.txqlen ?? 0}`,
    ...settings(OF_KIND, l.linkinfo?.info_data),
    ...settings(OF_PORT, l.linkinfo?.info_slave_data),
    ...l.flags.filter((f) => FLAGS.has(f)),
    ...(l.altnames ?? []),
  ].join(" ");

const addressLines = ({ ifname, addr_info: found }: Addresses): string[] =>
  found
    .filter((a) => a.local !== undefined && a.scope !== "link")
    .map((a) => `address ${a.local}/${a.prefixlen} on ${ifname}`);

/**
 * Routes of link-local and multicast networks come and go with a link's carrier, and those of the kernel's local table
 * with the end of duplicate address detection; the addresses that the latter are made for are looked at themselves.
 */
const isConfigured = ({ dst, table, protocol }: Route): boolean =>
  !/^(fe80:|ff00:|multicast)/.test(String(dst)) && !(table === "local" && protocol === "kernel");

const VOLATILE = new Set(["flags", "expires", "pref"]);
const fieldsOf = (fields: Route): string =>
  Object.entries(fields)
    .filter(([key]) => !VOLATILE.has(key))
    .map(([key, value]) => `${key} ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");

function rulesetLines(text: string): string[] {
  const path: string[] = [];
  return text.split("\n").flatMap((raw) => {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) return [];
    if (line === "}") {
      path.pop();
      return [];
    }
    // Elements stand many to a line, and a line of them begins anywhere in the list.
    const parts = line.split(/,\s*(?=[^"]*(?:"[^"]*"[^"]*)*$)/).filter((part) => part !== "");
    // Addresses that ever had a mapping of their own stay until GC.
    const counts = !path.some((p) => p.startsWith("set host_addresses"));
    const lines = counts ? parts.map((part) => `nft: ${[...path, part].join(" / ")}`) : [];
    if (line.endsWith("{")) path.push(line.slice(0, -1).trim());
    return lines;
  });
}

async function sysctls(on: SnapshotHost): Promise<readonly string[]> {
  const argv = ["grep", "-rH", "--include=route_localnet", "--include=ip_forward", ".", "/proc/sys/net/ipv4"];
  const { stdout } = await on.exec([...argv, "/proc/sys/net/ipv6/conf/all/forwarding"], {
    mustSucceed: false,
  });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => `sysctl ${line.slice("/proc/sys/".length)}`);
}

/** Files that stay by design: locks, the last address that was given, and the index over reservations. */
const STAYS = /^(lock|last_reserved_ip\.\d+|.*\.index)$/;

function files(root: string, dir: string): string[] {
  let names: readonly string[];
  try {
    names = readdirSync(dir);
  } catch {
    return []; // Nothing was ever written.
  }
  return names.flatMap((name) => {
    const path = join(dir, name);
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory())
      return name === "lock" ? [] : files(root, path);
    if (STAYS.test(name)) return [];
    return [`file ${path.slice(root.lastIndexOf("/") + 1)}: ${JSON.stringify(readFileSync(path, "utf8"))}`];
  });
}
