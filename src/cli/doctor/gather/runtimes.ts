/**
 * Where container runtimes of this host look for plugins and configurations, told from their own settings: containerd's
 * (`config.toml`, of every version), CRI-O's, and Podman's if it uses CNI.
 */
import { join } from "node:path";
import { isObject } from "../../../cni/json.ts";
import { NetError } from "../../../errors.ts";
import { listDir, readLink, readText, statPath, unlessErrno } from "../../../sys/files.ts";
import { look, type Seen } from "../seen.ts";

/** The directories that one program looks in, the first first. */
export interface PluginPath {
  /** `CNI_PATH`, the runtime's name, or `runtimes` for all of which nothing is known. */
  readonly of: string;
  readonly dirs: readonly string[];
}

export interface RuntimeFacts {
  readonly pluginPaths: Seen<readonly PluginPath[]>;
  /** Directories of configurations that are set in a runtime's settings. */
  readonly confDirs: Seen<readonly { readonly of: string; readonly dir: string }[]>;
}

/** What one program finds in its directories. */
export interface PluginLookup extends PluginPath {
  /** By the plugin's type. */
  readonly found: ReadonlyMap<string, PluginFile>;
}

export interface PluginFile {
  readonly state: "executable" | "not executable" | "missing";
  readonly file?: string;
  /** What is at `file` is a symbolic link, and leads there; of a missing plugin the first link of its name, which leads nowhere. */
  readonly link?: string;
}

const USUAL: PluginPath = { of: "runtimes", dirs: ["/opt/cni/bin"] };

/** `asked` is `CNI_PATH`, split; with it nobody else is asked. */
export function gatherRuntimes(asked: readonly string[]): RuntimeFacts {
  const found = look(() => [containerd(), crio(), podman()].filter((s) => s !== undefined));
  if (!found.known) {
    const own =
      asked.length > 0 ? ({ known: true, value: [{ of: "CNI_PATH", dirs: asked }] } as const) : found;
    return { pluginPaths: own, confDirs: found };
  }
  const told = found.value.map(({ of, dirs }) => ({ of, dirs }));
  const paths = asked.length > 0 ? [{ of: "CNI_PATH", dirs: asked }] : told.length > 0 ? told : [USUAL];
  return {
    pluginPaths: { known: true, value: paths },
    confDirs: {
      known: true,
      value: found.value.flatMap(({ of, confDir }) => (confDir === undefined ? [] : [{ of, dir: confDir }])),
    },
  };
}

interface Settings extends PluginPath {
  readonly confDir?: string;
}

function containerd(): Settings | undefined {
  const settings = tomlOf("/etc/containerd/config.toml");
  return settings === undefined
    ? undefined
    : settingsOf("containerd", [settings], ["bin_dirs", "bin_dir"], "conf_dir");
}

function crio(): Settings | undefined {
  const dir = "/etc/crio/crio.conf.d";
  const names = (unlessErrno(["ENOENT"], () => listDir(dir)) ?? []).map((e) => e.name).toSorted();
  const files = ["/etc/crio/crio.conf", ...names.map((name) => `${dir}/${name}`)].map(tomlOf);
  const settings = files.filter((s) => s !== undefined);
  return settings.length === 0 ? undefined : settingsOf("CRI-O", settings, ["plugin_dirs"], "network_dir");
}

/** Podman up to 4 takes CNI only if it is told to. */
function podman(): Settings | undefined {
  const settings = tomlOf("/etc/containers/containers.conf");
  if (settings === undefined || valuesOf(settings, "network_backend")[0] !== "cni") return undefined;
  const { dirs, ...rest } = settingsOf("Podman", [settings], ["cni_plugin_dirs"], "network_config_dir");
  const usual = [
    "/usr/local/libexec/cni",
    "/usr/libexec/cni",
    "/usr/local/lib/cni",
    "/usr/lib/cni",
    "/opt/cni/bin",
  ];
  return { ...rest, dirs: valuesOf(settings, "cni_plugin_dirs").length > 0 ? dirs : usual };
}

/** The last file that names a key counts. */
function settingsOf(
  of: string,
  files: readonly unknown[],
  dirKeys: readonly string[],
  confKey: string,
): Settings {
  const last = (key: string): readonly string[] =>
    files.map((f) => valuesOf(f, key)).findLast((v) => v.length > 0) ?? [];
  const dirs = dirKeys.map(last).find((v) => v.length > 0) ?? USUAL.dirs;
  const [confDir] = last(confKey);
  return { of, dirs: dirs.map((d) => d.replace(/(.)\/+$/, "$1")), ...(confDir ? { confDir } : {}) };
}

/** What a key has wherever it stands in the tables, since that differs from version to version. */
function valuesOf(value: unknown, key: string): readonly string[] {
  if (!isObject(value)) return [];
  return Object.keys(value).flatMap((name) => {
    const inner = value[name];
    if (name !== key) return valuesOf(inner, key);
    const all: readonly unknown[] = Array.isArray(inner) ? inner : [inner];
    return all.filter((v) => typeof v === "string").filter((v) => v !== "");
  });
}

/** Undefined if there is no such file. Throws decode/malformed. */
function tomlOf(path: string): unknown {
  const text = unlessErrno(["ENOENT", "ENOTDIR"], () => readText(path));
  if (text === undefined) return undefined;
  try {
    return Bun.TOML.parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new NetError("decode/malformed", { what: path, why }, { cause });
  }
}

/** Looks for these plugins as each program does that looks in such directories. */
export const lookUpPlugins = (
  types: readonly string[],
  paths: readonly PluginPath[],
): readonly PluginLookup[] =>
  paths.map((path) => ({
    ...path,
    found: new Map(types.map((type) => [type, pluginFile(type, path.dirs)])),
  }));

const EXECUTE = 0o111;

/** The first regular file of that name, as a runtime looks for it. */
function pluginFile(type: string, path: readonly string[]): PluginFile {
  if (type.includes("/")) return { state: "missing" };
  let nowhere: { readonly file: string; readonly link: string } | undefined;
  for (const dir of path) {
    const file = join(dir, type);
    const found = look(() => statPath(file));
    const target = look(() => readLink(file));
    const link = target.known && target.value !== undefined ? { link: target.value } : undefined;
    if (found.known && found.value === undefined && link !== undefined) nowhere ??= { file, ...link };
    if (!found.known || found.value?.isFile !== true) continue;
    return { file, ...link, state: (found.value.mode & EXECUTE) === 0 ? "not executable" : "executable" };
  }
  return { state: "missing", ...nowhere };
}
