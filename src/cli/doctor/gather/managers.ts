/**
 * Other programs that take care of the network, told from what they leave in /etc and /run. Nothing is asked over D-Bus: a
 * question there would start a service that is installed and does not run.
 */
import { listDir, readText, statPath, unlessErrno } from "../../../sys/files.ts";
import { look, type Seen } from "../seen.ts";

export interface ManagerFacts {
  /** By the index of the link: what systemd-networkd says of it. Empty where it does not run. */
  readonly networkd: Seen<ReadonlyMap<number, ManagedLink>>;
  /** The same of NetworkManager. */
  readonly networkManager: Seen<ReadonlyMap<number, ManagedLink>>;
  /** `all`: dhcpcd runs and leaves no link out. */
  readonly dhcpcd: Seen<"absent" | "restricted" | "all">;
  readonly ufw: Seen<{ readonly enabled: boolean; readonly forwardPolicy?: string }>;
  readonly firewalld: Seen<boolean>;
  readonly docker: Seen<boolean>;
  /** Rule sets that a service which is switched on loads after a flush: the file and the service. */
  readonly flushes: Seen<readonly Flush[]>;
  /** A unit of Heddle's that runs `heddle reload`, and whether it is switched on. */
  readonly reloads: Seen<ReloadUnit | undefined>;
}

export interface ManagedLink {
  readonly managed: boolean;
  /** The manager's own words. */
  readonly state: string;
  /** The file that made it take the link. */
  readonly by?: string;
}

export interface ReloadUnit {
  readonly name: string;
  readonly enabled: boolean;
}

export interface Flush {
  readonly file: string;
  readonly service: string;
}

const textOf = (path: string): string | undefined => unlessErrno(["ENOENT", "ENOTDIR"], () => readText(path));
const isThere = (path: string): boolean => statPath(path) !== undefined;
const namesIn = (dir: string): readonly string[] =>
  (unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(dir)) ?? []).map((e) => e.name);

export function gatherManagers(): ManagerFacts {
  return {
    networkd: look(() => linkFiles("/run/systemd/netif/links", networkdLink)),
    networkManager: look(() => linkFiles("/run/NetworkManager/devices", networkManagerLink)),
    dhcpcd: look(dhcpcd),
    ufw: look(() => {
      const policy = valueIn(textOf("/etc/default/ufw") ?? "", "DEFAULT_FORWARD_POLICY");
      const enabled = valueIn(textOf("/etc/ufw/ufw.conf") ?? "", "ENABLED")?.toLowerCase() === "yes";
      return { enabled, ...(policy === undefined ? {} : { forwardPolicy: policy }) };
    }),
    firewalld: look(() => isThere("/run/firewalld.pid") || isThere("/run/firewalld/firewalld.pid")),
    docker: look(() => ["/run/docker.sock", "/run/docker.pid"].some(isThere)),
    flushes: look(flushes),
    reloads: look(reloads),
  };
}

/** `KEY=value` of a file of shell variables, without quotes. */
const valueIn = (text: string, key: string): string | undefined =>
  new RegExp(`^\\s*${key}\\s*=\\s*["']?(.*?)["']?\\s*$`, "m").exec(text)?.[1];

function linkFiles(dir: string, read: (text: string) => ManagedLink): ReadonlyMap<number, ManagedLink> {
  const found = new Map<number, ManagedLink>();
  for (const name of namesIn(dir)) {
    const text = /^\d+$/.test(name) ? textOf(`${dir}/${name}`) : undefined;
    if (text !== undefined) found.set(Number(name), read(text));
  }
  return found;
}

/** ADMIN_STATE as networkctl prints it (SETUP): `pending` and `unmanaged` links are left alone. */
function networkdLink(text: string): ManagedLink {
  const state = valueIn(text, "ADMIN_STATE") ?? "unknown";
  const by = valueIn(text, "NETWORK_FILE");
  const managed = !["unmanaged", "pending", "initialized", "linger", "unknown"].includes(state);
  return { managed, state, ...(by ? { by } : {}) };
}

function networkManagerLink(text: string): ManagedLink {
  const managed = valueIn(text, "managed");
  return { managed: managed === "true", state: managed === undefined ? "unknown" : `managed=${managed}` };
}

function dhcpcd(): "absent" | "restricted" | "all" {
  if (!["/run/dhcpcd/pid", "/run/dhcpcd.pid"].some(isThere)) return "absent";
  const rules = (textOf("/etc/dhcpcd.conf") ?? "")
    .split("\n")
    .filter((l) => /^\s*(?:deny|allow)interfaces\s/.test(l));
  return rules.some((l) => l.trim().startsWith("allow") || l.includes("veth")) ? "restricted" : "all";
}

/** Where distributions keep the rules of their nftables service. */
const RULE_FILES = ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables/main.nft"];
const NFTABLES = "nftables.service";

function flushes(): readonly Flush[] {
  if (!isEnabled(NFTABLES)) return [];
  return RULE_FILES.filter((file) => /^\s*flush\s+ruleset\b/m.test(textOf(file) ?? "")).map((file) => ({
    file,
    service: NFTABLES,
  }));
}

const UNIT_DIRS = [
  "/etc/systemd/system",
  "/run/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
];

/** Some target or unit wants it when it starts (systemctl enable). */
const isEnabled = (unit: string): boolean =>
  namesIn("/etc/systemd/system").some(
    (dir) => /\.(?:wants|requires)$/.test(dir) && namesIn(`/etc/systemd/system/${dir}`).includes(unit),
  );

const RELOAD = /^\s*Exec\w+=\S*heddle\s+reload\b/m;

function reloads(): ReloadUnit | undefined {
  const units = UNIT_DIRS.flatMap((dir) =>
    namesIn(dir).filter((name) => name.startsWith("heddle") && RELOAD.test(fileText(`${dir}/${name}`))),
  );
  const name = units.find(isEnabled) ?? units[0];
  return name === undefined ? undefined : { name, enabled: isEnabled(name) };
}

/** Directories stand among the units. */
const fileText = (path: string): string => (statPath(path)?.isFile === true ? (textOf(path) ?? "") : "");
