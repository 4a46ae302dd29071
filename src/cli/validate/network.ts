/**
 * A whole configuration file held against the specification and against every plugin that it names: a list, or the
 * configuration of a single plugin.
 */
import { extname } from "node:path";
import { anything, JSON_TEXT_LIMIT, list, looseFlag, object, text } from "../../cni/json.ts";
import { checkNetworkName } from "../../cni/validate.ts";
import { highestCommon, newestVersion, type Version } from "../../cni/version.ts";
import { NetError } from "../../errors.ts";
import { type IfName, parseIfName } from "../../net/ifname.ts";
import type { Device } from "../../netstate/device.ts";
import { isPluginType, registry } from "../../plugins/registry.ts";
import { masterWarnings } from "../../plugins/shared/master-warnings.ts";
import { checkEntry, type Entry, type EntryReport, type Network } from "./entry.ts";
import { type Checked, type Finding, inOrder } from "./finding.ts";
import { parseTree, valueOf } from "./json-tree.ts";
import { check, locate, memberOf, type Place, spanOf } from "./schema.ts";

/** The endings of files with a single plugin's configuration; every other file is a list. */
const SINGLE = [".conf", ".json"];

const listKeys = object({
  cniVersion: text,
  cniVersions: list(text),
  name: text,
  disableCheck: looseFlag,
  disableGC: looseFlag,
  loadOnlyInlinedPlugins: looseFlag,
  plugins: list(anything),
});

export interface Source {
  /** Its name decides what it is to hold. */
  readonly file: string;
  readonly text: string;
}
export interface Surroundings {
  /** `CNI_PATH`, split: where plugins of others are looked for. */
  readonly pluginPath: readonly string[];
  /** The files in the directory of the network's name, each with one more plugin of the list. */
  readonly beside: (source: Source, network: string) => readonly Source[];
  /** What is behind a link of this machine; undefined if it has none of that name. */
  readonly device: (link: IfName) => Device | undefined;
  /** The link of this machine's default route, which is the master where none is named. */
  readonly uplink: () => string | undefined;
}

/** Everything that is wrong with a file, in its order; then, of a list, with each file beside it. */
export async function checkFile(source: Source, around: Surroundings): Promise<readonly Checked[]> {
  const { file, text } = source;
  const root = readRoot(source);
  if ("findings" in root) return [root];
  const { pluginPath } = around;
  const found: Finding[] = [];
  const network: Network = { ...common(root, found), pluginPath };
  const report = isSingle(file) ? await checkEntry(root, "", network) : await checkList(root, network);
  found.push(...report.findings);
  const entries: Looked[] = report.entries.map((entry) => ({ entry, found }));
  const others: Checked[] = [];
  if (!isSingle(file) && valueAt(root, "name") === network.name && !inlined(root))
    for (const more of around.beside(source, network.name)) {
      const there = readRoot(more);
      if ("findings" in there) {
        others.push(there);
        continue;
      }
      const { findings, entries: own } = await checkEntry(there, "", network);
      const here = [...findings];
      others.push({ ...more, findings: here });
      entries.push(...own.map((entry) => ({ entry, found: here })));
    }
  if (!isSingle(file)) {
    if (entries.length === 0 && others.length === 0 && isEmpty(root))
      found.push(error(root, "plugins", `plugins: network "${network.name}" has no plugin`));
    checkOrder(entries);
  }
  checkMasters(entries, around);
  return [
    { file, text, findings: inOrder(found) },
    ...others.map((o) => ({ ...o, findings: inOrder(o.findings) })),
  ];
}

const isSingle = (file: string): boolean => SINGLE.includes(extname(file));

const valueAt = ({ node }: Place, key: string): unknown => {
  const member = memberOf(node, key);
  return member && valueOf(member.value);
};

const inlined = (root: Place): boolean =>
  String(valueAt(root, "loadOnlyInlinedPlugins")).toLowerCase() === "true";

/** True unless there are plugins, or something else in their place, which is complained about by itself. */
function isEmpty(root: Place): boolean {
  const plugins = valueAt(root, "plugins");
  return plugins === undefined || (Array.isArray(plugins) && plugins.length === 0);
}

/** The object in a file, or why it holds none that its name promises. */
function readRoot({ file, text }: Source): Place | Checked {
  const whole = (message: string, at = 0): Checked => {
    const finding: Finding = { severity: "error", path: "", message, span: { start: at, end: at + 1 } };
    return { file, text, findings: [finding] };
  };
  if (text.length > JSON_TEXT_LIMIT) return whole(`longer than ${JSON_TEXT_LIMIT} characters`);
  const tree = parseTree(text);
  if (!tree.ok) return whole(tree.why, tree.at);
  const { root } = tree;
  if (root.kind !== "object") return whole("must be an object", root.start);
  const [plugins, type] = [memberOf(root, "plugins"), memberOf(root, "type")];
  if (isSingle(file) && plugins && !type)
    return whole(
      "this is a list, and runtimes read it only if its file's name ends in .conflist",
      root.start,
    );
  if (!isSingle(file) && type && !plugins)
    return whole(
      "this is the configuration of a single plugin, and its file's name must end in .conf or .json",
      root.start,
    );
  return { node: root };
}

/** The keys of a list and each of its entries. */
async function checkList(root: Place, network: Network): Promise<EntryReport> {
  const found = [...check(root, { decoders: [listKeys], open: () => false, of: "a network list" })];
  const entries: Entry[] = [];
  const plugins = memberOf(root.node, "plugins")?.value;
  const items = plugins?.kind === "list" ? plugins.items : [];
  for (const [i, node] of items.entries()) {
    const report = await checkEntry({ node }, `plugins[${i}]`, network);
    found.push(...report.findings, ...named({ node }, `plugins[${i}]`, network));
    entries.push(...report.entries);
  }
  return { findings: found, entries };
}

const error = (root: Place, path: string, message: string): Finding => ({
  severity: "error",
  path,
  message,
  span: spanOf(locate(root, path)),
});
const warning = (root: Place, path: string, message: string): Finding => ({
  ...error(root, path, message),
  severity: "warning",
});

/** Name and version, checked; what is wrong stands in for by what is right. */
function common(root: Place, found: Finding[]): { readonly name: string; readonly cniVersion: Version } {
  const [name, cniVersion, cniVersions] = ["name", "cniVersion", "cniVersions"].map((key) =>
    valueAt(root, key),
  );
  const attempt = <T>(path: string, read: () => T, otherwise: T): T => {
    try {
      return read();
    } catch (e) {
      if (!(e instanceof NetError)) throw e;
      found.push(error(root, path, e.is("config/invalid") ? e.message : `${path}: ${e.message}`));
      return otherwise;
    }
  };
  const words = Array.isArray(cniVersions) ? cniVersions.filter((v) => typeof v === "string") : [];
  const asked = typeof cniVersion === "string" ? cniVersion : undefined;
  if (cniVersion === undefined && cniVersions === undefined)
    found.push(warning(root, "cniVersion", "cniVersion: is missing, which means 0.1.0"));
  return {
    name:
      name === undefined || typeof name === "string"
        ? attempt("name", () => checkNetworkName(name ?? ""), "network")
        : "network",
    cniVersion:
      cniVersion === undefined || asked !== undefined
        ? attempt(
            asked === undefined && words.length > 0 ? "cniVersions" : "cniVersion",
            () => highestCommon(asked, words),
            newestVersion,
          )
        : newestVersion,
  };
}

/** Plugins whose links have MAC addresses of their own beside the master's. */
const OWN_MAC: readonly string[] = ["macvlan", "macvtap"];

/** Masters of this machine that may carry no further MAC address, as ADD would warn. */
function checkMasters(entries: readonly Looked[], { device, uplink }: Surroundings): void {
  for (const { entry, found } of entries) {
    const { type, place, path } = entry;
    if (!OWN_MAC.includes(type) || valueAt(place, "linkInContainer") === true) continue;
    const named = valueAt(place, "master") || undefined;
    const master = named ?? uplink();
    const name = parseIfName(typeof master === "string" ? master : "");
    if (!name.ok) continue;
    const key = named === undefined ? "type" : "master";
    for (const why of masterWarnings(name.value, device(name.value)))
      found.push({ ...warning(place, key, why), path: path === "" ? key : `${path}.${key}` });
  }
}

/** An entry, and where what is found about it goes. */
interface Looked {
  readonly entry: Entry;
  readonly found: Finding[];
}

/** What is wrong with plugins of one list together, each complaint put among the findings of its file. */
function checkOrder(entries: readonly Looked[]): void {
  for (const [i, { entry, found }] of entries.entries()) {
    const { type, place, path } = entry;
    if (!isPluginType(type)) continue;
    const at = path === "" ? "type" : `${path}.type`;
    // What a plugin makes belongs to its type: a second one would find the attachment of the first alive.
    if (entries.slice(0, i).some(({ entry: e }) => e.type === type))
      found.push({
        ...error(
          place,
          "type",
          `type: ${type} stands in the list before, and a plugin runs once for an interface; join the two entries`,
        ),
        path: at,
      });
    if (i === 0 && registry[type].kind === "meta" && !registry[type].delegates)
      found.push({
        ...warning(place, "type", `type: ${type} comes first, but works on what a plugin before it made`),
        path: at,
      });
  }
}

/** The list's own name and version take the place of those in an entry. */
function named(place: Place, path: string, network: Network): readonly Finding[] {
  return (["name", "cniVersion"] as const).flatMap((key) => {
    const value = valueAt(place, key);
    if (value === undefined || value === network[key]) return [];
    const message = `${key}: has no effect here; the list's, "${network[key]}", takes its place`;
    return [{ ...warning(place, key, message), path: `${path}.${key}` }];
  });
}
