import {
  anyObject,
  type Decode,
  foldKeys,
  invalid,
  isObject,
  type JsonObject,
  list,
  object,
  text,
  withDefault,
} from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";

/** The keys of a `flannel` entry: where the host's subnet is told, and what the plugin that does the work is given. */
export interface FlannelConfig {
  readonly subnetFile: string;
  /** Where the configuration of each delegate is kept until DEL. */
  readonly dataDir: string;
  /** The type of the plugin that makes the interface. */
  readonly type: string;
  /** Its own keys. */
  readonly delegate: JsonObject;
  /** What its `ipam` begins with. */
  readonly ipam: JsonObject;
  /** Capability arguments and `args`, which are meant for it. */
  readonly runtimeConfig?: JsonObject;
  readonly args?: JsonObject;
}

const TYPE = "flannel";
const DELEGATE = "bridge";
const SUBNET_FILE = "/run/flannel/subnet.env";
const DATA_DIR = "/var/lib/cni/flannel";

/** The empty path is the same as none. */
const path =
  (otherwise: string): Decode<string> =>
  (value, at) => {
    const word = text(value, at) || otherwise;
    if (!word.startsWith("/") || word.includes("\0"))
      invalid(at, `"${word}" is not an absolute path: what stands there depends on the working directory`);
    return word;
  };

const delegate: Decode<JsonObject> = (value, at) => {
  const raw = anyObject(value, at);
  const { type, name, ipam } = foldKeys(raw, ["type", "name", "ipam"]);
  if (name !== undefined) invalid(`${at}.name`, "cannot be set: it is the network's");
  if (ipam !== undefined)
    invalid(`${at}.ipam`, "cannot be set: it is made of the host's subnet and of ipam beside delegate");
  if (type !== undefined && text(type, `${at}.type`) === TYPE)
    invalid(
      `${at}.type`,
      `${TYPE} cannot be its own delegate; name the plugin that makes the interface, as "bridge"`,
    );
  if (type === "") invalid(`${at}.type`, 'names no plugin; leave it out for "bridge"');
  return raw;
};

const ipam: Decode<JsonObject> = (value, at) => {
  const raw = anyObject(value, at);
  const { type, routes } = foldKeys(raw, ["type", "routes"]);
  if (type !== undefined) text(type, `${at}.type`);
  if (routes !== undefined) list(anyObject)(routes, `${at}.routes`);
  return raw;
};

export const options = object({
  subnetFile: withDefault(path(SUBNET_FILE), SUBNET_FILE),
  dataDir: withDefault(path(DATA_DIR), DATA_DIR),
  delegate: withDefault(delegate, {}),
  ipam: withDefault(ipam, {}),
  runtimeConfig: anyObject,
  args: anyObject,
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): FlannelConfig {
  const read = options(conf.raw, "");
  const { type } = foldKeys(read.delegate, ["type"]);
  return { ...read, type: typeof type === "string" ? type : DELEGATE };
}

/** What can be read of a configuration that may have become invalid since ADD; the rest is as if it were not there. */
export function parseForRemoval(conf: NetConf): FlannelConfig {
  const raw = foldKeys(conf.raw, ["subnetFile", "dataDir", "delegate", "ipam", "runtimeConfig", "args"]);
  const or = <T>(decode: Decode<T>, value: unknown, otherwise: T): T => {
    try {
      return value === undefined ? otherwise : decode(value, "");
    } catch (e) {
      if (e instanceof NetError) return otherwise;
      throw e;
    }
  };
  const own = or(delegate, raw.delegate, {});
  const { type } = foldKeys(own, ["type"]);
  return {
    subnetFile: or(path(SUBNET_FILE), raw.subnetFile, SUBNET_FILE),
    dataDir: or(path(DATA_DIR), raw.dataDir, DATA_DIR),
    type: typeof type === "string" ? type : DELEGATE,
    delegate: own,
    ipam: or(ipam, raw.ipam, {}),
    ...(isObject(raw.runtimeConfig) ? { runtimeConfig: raw.runtimeConfig } : {}),
    ...(isObject(raw.args) ? { args: raw.args } : {}),
  };
}
