/**
 * One plugin's entry held against what the plugin says of itself: its `options`, those of its IPAM plugin, and what
 * `parse` of both finds when every single value is right. Reads no system but `CNI_PATH`.
 */
import { findPlugin } from "../../cni/invoke.ts";
import {
  anyObject,
  anything,
  type Decode,
  dictionary,
  flag,
  foldKeys,
  isObject,
  object,
  text,
} from "../../cni/json.ts";
import { CHAIN_TYPE } from "../../cni/list.ts";
import type { NetConf, Plugin } from "../../cni/plugin.ts";
import type { Version } from "../../cni/version.ts";
import { isPluginType, pluginTypes, registry } from "../../plugins/registry.ts";
import { optionPaths } from "../../plugins/options.ts";
import { NetError } from "../../errors.ts";
import type { Finding } from "./finding.ts";
import { type Node, valueOf } from "./json-tree.ts";
import { check, fieldOf, isWritten, locate, memberOf, type Place, refused, spanOf } from "./schema.ts";
import { didYouMean } from "./suggest.ts";

/** What the list gives to each of its entries. */
export interface Network {
  readonly name: string;
  readonly cniVersion: Version;
  /** `CNI_PATH`, split. */
  readonly pluginPath: readonly string[];
}

/** One plugin that the list runs. */
export interface Entry {
  readonly type: string;
  readonly place: Place;
  /** Its path in the file, for example `plugins[0]`. */
  readonly path: string;
}

/** The keys of every entry, whatever its plugin. */
const common = object({
  type: text,
  name: text,
  cniVersion: text,
  capabilities: dictionary(flag),
  args: anyObject,
  runtimeConfig: anyObject,
  prevResult: anything,
});
/** An IPAM plugin need not know the key that names it. */
const ipamType = object({ ipam: object({ type: text }) });
/** What runtimes put there is for them to know; only what a plugin reads of it is looked at. */
const OPEN = new Set(["capabilities", "args", "args.cni", "runtimeConfig"]);

/** Everything about one entry, and the plugins that it is: those inside of a chain, or itself. */
export interface EntryReport {
  readonly findings: readonly Finding[];
  readonly entries: readonly Entry[];
}

export async function checkEntry(
  place: Place,
  path: string,
  network: Network,
  inChain = false,
): Promise<EntryReport> {
  const found: Finding[] = [];
  const add = (severity: Finding["severity"], at: string, message: string): void =>
    void found.push({ severity, path: at, message, span: spanOf(locate(place, at)) });
  const done = (entries: readonly Entry[] = []): EntryReport => ({
    findings: found.map((f) => ({ ...f, path: joined(path, f.path) })),
    entries,
  });
  if (place.node.kind !== "object") {
    add("error", "", "a plugin's entry must be an object");
    return done();
  }
  const type = wordAt(place.node, "type");
  if (type === undefined || type === "") {
    add("error", "type", "type: must name the plugin");
    return done();
  }
  if (type === CHAIN_TYPE) {
    if (inChain) {
      add(
        "error",
        "type",
        `type: a ${CHAIN_TYPE} cannot hold another one; its plugins can stand here themselves`,
      );
      return done();
    }
    return chainReport(place, path, network, found, done);
  }
  const entry: Entry = { type, place, path };
  const plugin = isPluginType(type) ? await registry[type].load() : undefined;
  if (plugin === undefined) aboutStranger(type, "type", network, add);
  if (isIpam(type))
    add("warning", "type", `type: ${type} hands out addresses; it belongs into the ipam of another plugin`);
  const ipam = await ipamOf(place.node, plugin, network, add);
  const plugins = [plugin, ipam.plugin].filter((p) => p !== undefined);
  const options = plugins.flatMap((p) => p.options);
  const open = (at: string): boolean =>
    OPEN.has(at) || (at === "ipam" && ipam.foreign) || (at === "" && plugin === undefined);
  const named = plugins.some((p) => isIpam(p.type)) ? [ipamType] : [];
  found.push(...check(place, { decoders: [common, ...named, ...options], open, of: type }));
  found.push(...together(place, plugins, network, found));
  found.push(...versions(place, plugins, network));
  // A delegate may use any capability.
  if (plugin !== undefined && !delegates(type)) found.push(...useless(place, options, type));
  if (delegates(type)) found.push(...(await inDelegate(place.node, network, add)));
  return done([entry]);
}

const delegates = (type: string): boolean => isPluginType(type) && registry[type].delegates === true;
const isIpam = (type: string): boolean => isPluginType(type) && registry[type].kind === "ipam";

const joined = (path: string, key: string): string =>
  key === "" || path === "" ? path + key : key.startsWith("[") ? path + key : `${path}.${key}`;

/** The string behind a key. */
function wordAt(node: Node, key: string): string | undefined {
  const value = memberOf(node, key)?.value;
  return value?.kind === "value" && typeof value.value === "string" ? value.value : undefined;
}

type Add = (severity: Finding["severity"], at: string, message: string) => void;

/** Of a plugin that is not of ours: where it is, or which of ours has nearly that name. */
function aboutStranger(type: string, at: string, { pluginPath }: Network, add: Add): void {
  const start = `${at}: "${type}" is not in this executable`;
  try {
    const { file } = findPlugin(type, pluginPath);
    add("warning", at, `${start}; its options are not checked (found ${file})`);
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    const where = pluginPath.length === 0 ? ", and CNI_PATH is not set" : `, nor in ${pluginPath.join(":")}`;
    // A name that cannot be a file's is wrong wherever one looks.
    if (e.is("config/invalid")) add("error", at, `${at}: ${e.detail.why}`);
    else add("warning", at, `${start}${where}${didYouMean(type, pluginTypes)}`);
  }
}

/** The plugin that hands out the addresses; `foreign` if there is one of which nothing is known. Of others' plugins too. */
async function ipamOf(
  node: Node,
  plugin: Plugin | undefined,
  network: Network,
  add: Add,
): Promise<{ readonly plugin?: Plugin; readonly foreign: boolean }> {
  const ipam = memberOf(node, "ipam")?.value;
  if (ipam?.kind !== "object") return { foreign: false };
  if (plugin !== undefined && !optionPaths(plugin.options).includes("ipam")) return { foreign: false };
  // What stands here is completed before anybody hands out addresses by it.
  if (plugin !== undefined && delegates(plugin.type)) return { foreign: true };
  const type = wordAt(ipam, "type") ?? "";
  if (type === "") {
    // Without a type nobody hands out addresses; with other keys that was not the intention.
    if (plugin !== undefined && ipam.members.length > 0) add("error", "ipam.type", "ipam.type: is missing");
    return { foreign: true };
  }
  if (!isPluginType(type)) {
    aboutStranger(type, "ipam.type", network, add);
    return { foreign: true };
  }
  if (!isIpam(type)) {
    add("error", "ipam.type", `ipam.type: ${type} hands out no addresses`);
    return { foreign: true };
  }
  return { plugin: await registry[type].load(), foreign: false };
}

/** What is wrong with `delegate` by the options of the plugin that it names; its addresses are made of the host's subnet. */
async function inDelegate(node: Node, network: Network, add: Add): Promise<readonly Finding[]> {
  const delegate = memberOf(node, "delegate")?.value;
  if (delegate?.kind !== "object") return [];
  const type = wordAt(delegate, "type") ?? "bridge";
  if (!isPluginType(type)) {
    aboutStranger(type, "delegate.type", network, add);
    return [];
  }
  const { options } = await registry[type].load();
  const open = (at: string): boolean => OPEN.has(at);
  return check({ node: delegate }, { decoders: [common, ...options], open, of: type })
    .filter(({ path }) => path !== "ipam" && !path.startsWith("ipam."))
    .map((finding) => ({ ...finding, path: `delegate.${finding.path}` }));
}

/** Most complaints that are asked from one plugin's `parse`, which tells one at a time. */
const COMPLAINTS = 16;

/**
 * What is wrong with values together: `parse` of each plugin on what is left without the values that are wrong by
 * themselves. After each complaint its key is taken out, so that the next one comes to light. It ends with a complaint
 * about what was taken out, or about what is missing, which may be missing for that reason alone.
 */
function together(
  place: Place,
  plugins: readonly Plugin[],
  network: Network,
  before: readonly Finding[],
): readonly Finding[] {
  const found: Finding[] = [];
  for (const plugin of plugins) {
    const wrong = [...before, ...found].filter((f) => f.severity === "error").map((f) => f.path);
    for (let i = 0; i < COMPLAINTS; i++) {
      const complaint = complaintOf(plugin, confOf(without(valueOf(place.node), wrong), network));
      if (complaint === undefined) break;
      const path = fieldOf(complaint) ?? "";
      const isConsequence = path === "" || !isWritten(place, path) || wrong.some((w) => related(w, path));
      if (wrong.length > 0 && isConsequence) break;
      found.push(...refused(place, () => raise(complaint)));
      wrong.push(path);
    }
  }
  return found;
}

function raise(e: NetError): never {
  throw e;
}

function complaintOf(plugin: Plugin, conf: NetConf): NetError | undefined {
  try {
    plugin.parse(conf);
    return undefined;
  } catch (e) {
    if (e instanceof NetError) return e;
    throw e;
  }
}

function confOf(raw: unknown, { name, cniVersion }: Network): NetConf {
  const own = isObject(raw) ? raw : {};
  const type = foldKeys(own, ["type"]).type;
  return { name, cniVersion, type: typeof type === "string" ? type : "", raw: { ...own, name, cniVersion } };
}

const related = (a: string, b: string): boolean =>
  a === b || [".", "["].some((mark) => a.startsWith(b + mark) || b.startsWith(a + mark));

/** The value without the keys that the paths lead through, as far as the first list: positions in it stay. */
function without(value: unknown, paths: readonly string[]): unknown {
  if (!isObject(value) || paths.length === 0) return value;
  const kept = Object.entries(value).flatMap(([key, inner]) => {
    const inside = paths.filter((path) => related(path.toLowerCase(), key.toLowerCase()));
    if (inside.length === 0) return [[key, inner] as const];
    const deeper = inside.map((path) => path.slice(key.length + 1));
    const isWhole = !isObject(inner) || inside.some((path) => path.length <= key.length);
    return isWhole ? [] : [[key, without(inner, deeper)] as const];
  });
  return Object.fromEntries(kept);
}

/** A plugin may not speak the version of the list. */
function versions(place: Place, plugins: readonly Plugin[], { cniVersion }: Network): readonly Finding[] {
  return plugins.flatMap(({ type, versions: spoken }) =>
    spoken === undefined || spoken.includes(cniVersion)
      ? []
      : [
          {
            severity: "error" as const,
            path: "type",
            message: `${type} does not speak CNI ${cniVersion}; it speaks ${spoken.join(", ")}`,
            span: spanOf(locate(place, "type")),
          },
        ],
  );
}

/** Capabilities that the entry asks for and its plugins do not use: mostly a name that is misspelt. */
function useless(place: Place, options: readonly Decode<unknown>[], type: string): readonly Finding[] {
  const used = optionPaths(options).flatMap((path) => /^runtimeConfig\.([^.[]+)$/.exec(path)?.slice(1) ?? []);
  const asked = memberOf(place.node, "capabilities")?.value;
  if (asked?.kind !== "object") return [];
  return asked.members
    .filter(({ key, value }) => value.kind === "value" && value.value === true && !used.includes(key))
    .map(({ key, keySpan }) => ({
      severity: "warning",
      path: `capabilities.${key}`,
      message: `${type} does not use the capability "${key}"${didYouMean(key, used)}`,
      span: keySpan,
    }));
}

/** A chain: its own keys, each of its entries, and the capabilities that it must pass on. */
async function chainReport(
  place: Place,
  path: string,
  network: Network,
  found: Finding[],
  done: (entries: readonly Entry[]) => EntryReport,
): Promise<EntryReport> {
  const plugin = await registry[CHAIN_TYPE].load();
  const own = object({ plugins: anything, capabilities: anything });
  found.push(...check(place, { decoders: [common, own], open: (at) => OPEN.has(at), of: CHAIN_TYPE }));
  const list = memberOf(place.node, "plugins");
  const items = list?.value.kind === "list" ? list.value.items : [];
  const reports = await Promise.all(
    items.map((node, i) => checkEntry({ node }, joined(path, `plugins[${i}]`), network, true)),
  );
  const { findings, entries } = done(reports.flatMap((r) => r.entries));
  const inside = reports.flatMap((r) => r.findings);
  // Each entry has been looked at by itself; what is left is said about the chain as a whole.
  const isOwn = (f: Finding): boolean => !f.path.startsWith("plugins[");
  const whole =
    found.length === 0 &&
    !inside.some(
      (f) => f.severity === "error" && /(?:^|\.)plugins\[\d+\](?:\.(?:type|capabilities)|$)/.test(f.path),
    );
  const rest = whole ? together(place, [plugin], network, []).filter(isOwn) : [];
  return {
    findings: [...findings, ...inside, ...rest.map((f) => ({ ...f, path: joined(path, f.path) }))],
    entries,
  };
}
