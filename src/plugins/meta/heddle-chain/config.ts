import {
  anyObject,
  type Decode,
  dictionary,
  flag,
  foldKeys,
  invalid,
  isObject,
  type JsonObject,
  list,
  object,
  required,
  withDefault,
} from "../../../cni/json.ts";
import { capabilitiesOf, CHAIN_TYPE, type PluginConf, readPlugin } from "../../../cni/list.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";

/** The keys of a `heddle-chain` entry: the plugins that it stands for, and what the runtime gave it for them. */
export interface ChainConfig {
  readonly plugins: readonly PluginConf[];
  /** Capability arguments; each plugin gets those that its own `capabilities` name. */
  readonly capabilityArgs: JsonObject;
}

/** One entry; another chain would hide its plugins from the checks of this one. */
const inner: Decode<PluginConf> = (value, at) => {
  const plugin = readPlugin(value, at);
  if (plugin.type === CHAIN_TYPE)
    invalid(`${at}.type`, `a ${CHAIN_TYPE} cannot hold another one; its plugins can stand here themselves`);
  return plugin;
};

export const options = object({
  plugins: required(list(inner)),
  capabilities: withDefault(dictionary(flag), {}),
  args: anyObject,
  runtimeConfig: withDefault(anyObject, {}),
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): ChainConfig {
  const { plugins, capabilities, args, runtimeConfig } = options(conf.raw, "");
  if (plugins.length === 0) invalid("plugins", "is empty; a chain needs at least one plugin");
  refuseMissing(plugins, { ...runtimeConfig, ...wanted(capabilities) });
  return { plugins: plugins.map((p) => withArgs(p, args)), capabilityArgs: runtimeConfig };
}

const wanted = (capabilities: Readonly<Record<string, boolean>>): Readonly<Record<string, true>> =>
  Object.fromEntries(Object.entries(capabilities).flatMap(([name, on]) => (on ? [[name, true]] : [])));

/** The runtime gives an entry what the entry's own `capabilities` name: what is missing there reaches no plugin. */
function refuseMissing(plugins: readonly PluginConf[], given: JsonObject): void {
  const missing = capabilitiesOf(plugins).filter((name) => given[name] === undefined);
  if (missing.length === 0) return;
  const by = plugins.filter((p) => missing.some((name) => p.capabilities[name])).map((p) => p.type);
  invalid(
    "capabilities",
    `must name ${missing.join(", ")}, which ${by.join(", ")} in this ${CHAIN_TYPE} ${by.length === 1 ? "wants" : "want"}`,
  );
}

/** What a runtime puts into the `args` of an entry is meant for every plugin of it. */
function withArgs(plugin: PluginConf, args: JsonObject | undefined): PluginConf {
  if (args === undefined || foldKeys(plugin.raw, ["args"]).args !== undefined) return plugin;
  return { ...plugin, raw: { ...plugin.raw, args } };
}

/** What can be read of a configuration that may have become invalid since ADD: every entry that names a plugin. */
export function parseForRemoval(conf: NetConf): ChainConfig {
  const { plugins, args, runtimeConfig } = foldKeys(conf.raw, ["plugins", "args", "runtimeConfig"]);
  const entries: readonly unknown[] = Array.isArray(plugins) ? plugins : [];
  return {
    plugins: entries.flatMap(readable).map((p) => withArgs(p, isObject(args) ? args : undefined)),
    capabilityArgs: isObject(runtimeConfig) ? runtimeConfig : {},
  };
}

function readable(entry: unknown): readonly PluginConf[] {
  try {
    return [inner(isObject(entry) ? repaired(entry) : entry, "")];
  } catch (e) {
    if (e instanceof NetError) return [];
    throw e;
  }
}

/** Capabilities that cannot be read are as good as none: removal goes by the record. */
function repaired(entry: JsonObject): JsonObject {
  try {
    readPlugin(entry, "");
    return entry;
  } catch {
    return { ...entry, capabilities: {} };
  }
}
