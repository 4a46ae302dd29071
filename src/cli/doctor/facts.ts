/**
 * Everything that the checks go by, gathered in one pass: first the configurations, which say what else has to be looked
 * at, then the kernel and the files. The checks read nothing themselves.
 */
import { DEFAULT_CACHE_DIR } from "../../cni/cache.ts";
import { runDir } from "../../netstate/record.ts";
import { listDir, readText, statPath, unlessErrno } from "../../sys/files.ts";
import { type ConfigFacts, type ConfNetwork, gatherConfig } from "./gather/config.ts";
import { type FileFacts, gatherFiles } from "./gather/files.ts";
import { type FeatureAnswer, gatherFeatures } from "./gather/kernel.ts";
import { gatherLinks, type LinkFacts } from "./gather/links.ts";
import { gatherManagers, type ManagerFacts } from "./gather/managers.ts";
import { gatherRuleSet, type RuleSetFacts } from "./gather/rule-set.ts";
import {
  gatherRuntimes,
  lookUpPlugins,
  type PluginLookup,
  type PluginPath,
  type RuntimeFacts,
} from "./gather/runtimes.ts";
import { gatherState, type StateFacts } from "./gather/state.ts";
import { look, type Seen, seen } from "./seen.ts";

export interface HostFacts {
  readonly nowMs: number;
  readonly config: ConfigFacts;
  readonly runtimes: RuntimeFacts;
  /** What each program finds of the plugins that configurations name. */
  readonly plugins: Seen<readonly PluginLookup[]>;
  readonly features: Seen<readonly FeatureAnswer[]>;
  readonly net: LinkFacts;
  readonly ruleSet: RuleSetFacts;
  readonly managers: ManagerFacts;
  readonly state: StateFacts;
  readonly files: FileFacts;
  /** The sockets of the DHCP daemon that networks name. Nobody is called: that could start a service. */
  readonly sockets: Seen<ReadonlyMap<string, SocketState>>;
}

/** `unclear`: there is something at the path, and no listener of that path in this network namespace. */
export type SocketState = "listens" | "absent" | "unclear";

/** Where to look. */
export interface Where {
  readonly confDir: string;
  /** `CNI_PATH`, split; empty if it is not set. */
  readonly pluginPath: readonly string[];
  readonly cacheDir?: string;
  /** As of the DHCP daemon, which keeps its leases below it. */
  readonly stateDir: string;
}

/** The networks of valid files; unseen if there is a file that may hold another one and cannot be looked at. */
export function networksOf({ files }: ConfigFacts): Seen<readonly ConfNetwork[]> {
  if (!files.known) return files;
  for (const { findings } of files.value) if (!findings.known) return findings;
  return seen(files.value.flatMap((f) => (f.network ? [f.network] : [])));
}

const RESERVATIONS = "/var/lib/cni/networks";

/** `tell` is told of each step before it begins. */
export async function gatherFacts(
  where: Where,
  nowMs: number,
  tell: (step: string) => void,
): Promise<HostFacts> {
  const cacheDir = where.cacheDir ?? DEFAULT_CACHE_DIR;
  tell(`configurations in ${where.confDir}`);
  const config = await gatherConfig(where.confDir);
  const runtimes = gatherRuntimes(where.pluginPath);
  const known = networksOf(config);
  const networks = known.known ? known.value : [];
  const paths = runtimes.pluginPaths;
  const types = [...new Set(networks.flatMap((n) => n.plugins))];
  const plugins = paths.known ? seen(lookUpPlugins(types, paths.value)) : paths;
  const bridges = new Set(networks.flatMap((n) => (n.bridge ? [n.bridge.name] : [])));
  const reservationDirs = look(() => reservationDirsOf(networks));
  tell("what the kernel has");
  const features = known.known ? seen(gatherFeatures(known.value)) : known;
  tell(`attachments in ${runDir()}`);
  const state = await gatherState({ cacheDir, reservationDirs }, nowMs, (done, of) =>
    tell(`attachments: ${done} of ${of}`),
  );
  tell("links and routes");
  const net = gatherLinks((link) => link.kind === "bridge" || bridges.has(link.name));
  tell("firewall rules");
  const ruleSet = gatherRuleSet();
  tell("network managers");
  const managers = gatherManagers();
  tell("files");
  const files = gatherFiles({ ...where, pluginDirs: dirsOf(paths), cacheDir, reservationDirs });
  const sockets = look(() => socketStates(networks.flatMap((n) => n.dhcpSocket ?? [])));
  return { nowMs, config, runtimes, plugins, features, net, ruleSet, managers, state, files, sockets };
}

/** Every directory in which somebody looks for plugins, once. */
export const dirsOf = (paths: Seen<readonly PluginPath[]>): Seen<readonly string[]> =>
  paths.known ? seen([...new Set(paths.value.flatMap((p) => p.dirs))]) : paths;

/** Those of the configured networks, and every other one in the usual place. */
function reservationDirsOf(networks: readonly ConfNetwork[]): readonly string[] {
  const usual = unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(RESERVATIONS)) ?? [];
  return [
    ...new Set([
      ...networks.flatMap((n) => n.pools.map((p) => p.dir)),
      ...usual
        .toSorted((a, b) => (a.name < b.name ? -1 : 1))
        .flatMap((e) => (e.isFile || e.name.startsWith(".") ? [] : [`${RESERVATIONS}/${e.name}`])),
    ]),
  ];
}

function socketStates(paths: readonly string[]): ReadonlyMap<string, SocketState> {
  const listeners = paths.length === 0 ? [] : [...listenersIn(readText("/proc/net/unix"))];
  return new Map(
    paths.map((path) => {
      // A daemon in a container has the host's root somewhere below its own.
      if (listeners.some((l) => l.endsWith(path))) return [path, "listens"];
      return [path, statPath(path) === undefined ? "absent" : "unclear"];
    }),
  );
}

/** __SO_ACCEPTCON (linux/net.h) in the column of flags, and the path in the last one (proc_pid_net(5)). */
const listenersIn = (table: string): ReadonlySet<string> =>
  new Set(
    table.split("\n").flatMap((line) => {
      const [, , , flags, , , , path] = line.trim().split(/\s+/);
      return flags === "00010000" && path !== undefined ? [path] : [];
    }),
  );
