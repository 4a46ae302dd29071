/**
 * Everything that the checks go by, gathered in one pass: first the configurations, which say what else has to be looked
 * at, then the kernel and the files. The checks read nothing themselves.
 */
import { DEFAULT_CACHE_DIR } from "../../cni/cache.ts";
import { runDir } from "../../netstate/record.ts";
import { listDir, readText, unlessErrno } from "../../sys/files.ts";
import { type ConfigFacts, type ConfNetwork, gatherConfig } from "./gather/config.ts";
import { type FileFacts, gatherFiles } from "./gather/files.ts";
import { type FeatureAnswer, gatherFeatures } from "./gather/kernel.ts";
import { gatherLinks, type LinkFacts } from "./gather/links.ts";
import { gatherManagers, type ManagerFacts } from "./gather/managers.ts";
import { gatherRuleSet, type RuleSetFacts } from "./gather/rule-set.ts";
import { gatherState, type StateFacts } from "./gather/state.ts";
import { look, type Seen, seen } from "./seen.ts";

export interface HostFacts {
  readonly nowMs: number;
  readonly config: ConfigFacts;
  readonly features: Seen<readonly FeatureAnswer[]>;
  readonly net: LinkFacts;
  readonly ruleSet: RuleSetFacts;
  readonly managers: ManagerFacts;
  readonly state: StateFacts;
  readonly files: FileFacts;
  /** Paths of the sockets on which somebody listens. Nobody is called: that could start a service. */
  readonly listeners: Seen<ReadonlySet<string>>;
}

/** Where to look. */
export interface Where {
  readonly confDir: string;
  /** Directories of plugins. */
  readonly pluginPath: readonly string[];
  readonly cacheDir?: string;
  /** As of the DHCP daemon, which keeps its leases below it. */
  readonly stateDir: string;
}

/** The networks that could be read; of a file that cannot, validation tells. */
export const networksOf = ({ files }: ConfigFacts): Seen<readonly ConfNetwork[]> =>
  files.known ? seen(files.value.flatMap((f) => (f.network ? [f.network] : []))) : files;

const RESERVATIONS = "/var/lib/cni/networks";

/** `tell` is told of each step before it begins. */
export async function gatherFacts(
  where: Where,
  nowMs: number,
  tell: (step: string) => void,
): Promise<HostFacts> {
  const cacheDir = where.cacheDir ?? DEFAULT_CACHE_DIR;
  tell(`configurations in ${where.confDir}`);
  const config = await gatherConfig(where.confDir, where.pluginPath);
  const known = networksOf(config);
  const networks = known.known ? known.value : [];
  const bridges = new Set(networks.flatMap((n) => (n.bridge ? [n.bridge.name] : [])));
  const reservationDirs = look(() => reservationDirsOf(networks));
  tell("what the kernel has");
  const features = known.known ? seen(gatherFeatures(known.value)) : known;
  tell(`attachments in ${runDir()}`);
  const state = await gatherState({ cacheDir, reservationDirs }, nowMs);
  tell("links and routes");
  const net = gatherLinks((link) => link.kind === "bridge" || bridges.has(link.name));
  tell("firewall rules");
  const ruleSet = gatherRuleSet();
  tell("network managers");
  const managers = gatherManagers();
  tell("files");
  const files = gatherFiles({ ...where, cacheDir, reservationDirs });
  const listeners = look(() => listenersIn(readText("/proc/net/unix")));
  return { nowMs, config, features, net, ruleSet, managers, state, files, listeners };
}

/** Those of the configured networks, and every other one in the usual place. */
function reservationDirsOf(networks: readonly ConfNetwork[]): readonly string[] {
  const usual = unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(RESERVATIONS)) ?? [];
  return [
    ...new Set([
      ...networks.flatMap((n) => n.pools.map((p) => p.dir)),
      ...usual.flatMap((e) => (e.isFile || e.name.startsWith(".") ? [] : [`${RESERVATIONS}/${e.name}`])),
    ]),
  ];
}

/** __SO_ACCEPTCON (linux/net.h) in the column of flags, and the path in the last one (proc_pid_net(5)). */
const listenersIn = (table: string): ReadonlySet<string> =>
  new Set(
    table.split("\n").flatMap((line) => {
      const [, , , flags, , , , path] = line.trim().split(/\s+/);
      return flags === "00010000" && path !== undefined ? [path] : [];
    }),
  );
