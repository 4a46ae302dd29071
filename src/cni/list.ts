/**
 * Network configuration lists: their text, what the runtime reads in them, and the configuration that each plugin
 * of the list gets on its standard input. Knows nothing of files (`load.ts`) and runs nothing (`runtime.ts`).
 */
import { NetError } from "../errors.ts";
import { VALID_ATTACHMENTS, VALID_ATTACHMENTS_ALIAS } from "./conf.ts";
import {
  anyObject,
  decodeAs,
  type Decode,
  dictionary,
  flag,
  foldKeys,
  isObject,
  type JsonObject,
  list,
  looseFlag,
  object,
  parseJson,
  required,
  text,
  withDefault,
  withoutKeys,
} from "./json.ts";
import type { AttachmentKey } from "./plugin.ts";
import { encodeResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import { checkNetworkName } from "./validate.ts";
import { highestCommon, type Version } from "./version.ts";

/**
 * The type of an entry that holds other entries and runs them in one process. To them it is what the list is, so it
 * alone is told of `capabilities`.
 */
export const CHAIN_TYPE = "heddle-chain";

/** One entry of a list. */
export interface PluginConf {
  readonly type: string;
  /** Which capability arguments the plugin wants. */
  readonly capabilities: Readonly<Record<string, boolean>>;
  /** Every key as it was read. */
  readonly raw: JsonObject;
}

export interface NetworkList {
  readonly name: string;
  /** The highest version of `cniVersion` and `cniVersions` that we speak. */
  readonly cniVersion: Version;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly loadOnlyInlinedPlugins: boolean;
  readonly plugins: readonly PluginConf[];
  /** The whole list as JSON text; it goes into the cache, so it must need no other file. */
  readonly text: string;
}

const nonEmpty: Decode<string> = (value, at) => {
  const word = text(value, at);
  if (word === "") throw new NetError("config/invalid", { field: at, why: "is missing" });
  return word;
};
const pluginShape = object({
  type: required(nonEmpty),
  capabilities: withDefault(dictionary(flag), {}),
});
/** Reads one entry. */
export const readPlugin: Decode<PluginConf> = (value, at) => {
  const { type, capabilities } = pluginShape(value, at);
  return { type, capabilities, raw: anyObject(value, at) };
};

const listShape = object({
  cniVersion: text,
  cniVersions: withDefault(list(text), []),
  name: withDefault(text, ""),
  disableCheck: withDefault(looseFlag, false),
  disableGC: withDefault(looseFlag, false),
  loadOnlyInlinedPlugins: withDefault(looseFlag, false),
  plugins: list(readPlugin),
});

/**
 * Reads a list. `source` names it in errors.
 *
 * `more` are the plugins that stand beside the list in a directory of the network's name; it is asked unless the
 * list says `loadOnlyInlinedPlugins`.
 * @throws decode/malformed, config/invalid, version/incompatible
 */
export function parseNetworkList(
  json: string,
  source: string,
  more: (name: string) => readonly PluginConf[] = () => [],
): NetworkList {
  const raw = parseJson(json, source);
  if (!isObject(raw)) throw new NetError("decode/malformed", { what: source, why: "must be an object" });
  const { cniVersion, cniVersions, plugins: inlined, ...rest } = decodeAs(source, listShape, raw);
  const name = checkNetworkName(rest.name);
  if (inlined === undefined && rest.loadOnlyInlinedPlugins)
    throw new NetError("config/invalid", {
      field: "plugins",
      why: "is missing, and loadOnlyInlinedPlugins is set",
    });
  const loaded = rest.loadOnlyInlinedPlugins ? [] : more(name);
  const plugins = [...(inlined ?? []), ...loaded];
  if (plugins.length === 0)
    throw new NetError("config/invalid", { field: "plugins", why: `network "${name}" has no plugin` });
  const whole = { ...withoutKeys(raw, ["plugins", "loadOnlyInlinedPlugins"]), loadOnlyInlinedPlugins: true };
  return {
    ...rest,
    name,
    cniVersion: highestCommon(cniVersion, cniVersions),
    plugins,
    text: loaded.length === 0 ? json : JSON.stringify({ ...whole, plugins: plugins.map((p) => p.raw) }),
  };
}

/**
 * Reads the configuration of a single plugin.
 * @throws decode/malformed
 */
export function parsePluginConf(json: string, source: string): PluginConf {
  const raw = parseJson(json, source);
  if (
    isObject(raw) &&
    foldKeys(raw, ["type"]).type === undefined &&
    Array.isArray(foldKeys(raw, ["plugins"]).plugins)
  )
    throw new NetError("decode/malformed", {
      what: source,
      why: "type is missing; this is a list, whose file name must end in .conflist",
    });
  return decodeAs(source, readPlugin, raw);
}

/** The list of one plugin: its configuration's own name and version. */
export function listOfPlugin(plugin: PluginConf, source: string): NetworkList {
  const { name, cniVersion } = foldKeys(plugin.raw, ["name", "cniVersion"]);
  return parseNetworkList(
    JSON.stringify({ name, cniVersion, loadOnlyInlinedPlugins: true, plugins: [plugin.raw] }),
    source,
  );
}

export interface RequestExtras {
  readonly prevResult?: Result;
  readonly capabilityArgs?: JsonObject;
  /** The attachments that GC keeps. */
  readonly valid?: readonly AttachmentKey[];
}

/**
 * The text on a plugin's standard input: its entry with the list's name and version, without `capabilities`, and
 * with what the runtime adds. Keys that the runtime sets replace the same keys of any case.
 */
export function requestText(
  network: Pick<NetworkList, "name" | "cniVersion">,
  plugin: PluginConf,
  extras: RequestExtras = {},
): string {
  const set: Record<string, unknown> = { cniVersion: network.cniVersion, name: network.name };
  const wanted = Object.entries(extras.capabilityArgs ?? {}).filter(
    ([key]) => plugin.capabilities[key] === true,
  );
  if (wanted.length > 0) set["runtimeConfig"] = Object.fromEntries(wanted);
  if (extras.prevResult !== undefined)
    set["prevResult"] = encodeResult(extras.prevResult, network.cniVersion);
  if (extras.valid !== undefined) {
    const keys = extras.valid.map((a) => ({ containerID: a.containerId, ifname: a.ifname }));
    set[VALID_ATTACHMENTS] = keys;
    set[VALID_ATTACHMENTS_ALIAS] = keys;
  }
  const replaced = [...Object.keys(set), ...(plugin.type === CHAIN_TYPE ? [] : ["capabilities"])];
  return JSON.stringify({ ...withoutKeys(plugin.raw, replaced), ...set });
}

/** The capabilities that some of the plugins want, sorted. */
export function capabilitiesOf(plugins: readonly PluginConf[]): readonly string[] {
  const names = plugins.flatMap((p) => Object.keys(p.capabilities).filter((c) => p.capabilities[c] === true));
  return [...new Set(names)].toSorted();
}

const chainShape = object({ plugins: list(readPlugin) });

/** The entry itself, or those that it holds. */
export const unpacked = (plugin: PluginConf, at: string): readonly PluginConf[] =>
  plugin.type === CHAIN_TYPE ? (chainShape(plugin.raw, at).plugins ?? []) : [plugin];
