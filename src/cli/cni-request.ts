/**
 * What `cnitool` is told, by arguments and environment, as one checked value. Pure: reads no file and no namespace.
 */
import { resolve } from "node:path";
import { splitCniArgs } from "../cni/args.ts";
import { isObject, type JsonObject } from "../cni/json.ts";
import { NetError } from "../errors.ts";

export interface CniRequest {
  readonly network: string;
  /** Absolute. */
  readonly netns: string;
  readonly containerId: string;
  readonly ifname: string;
  /** The directory of network configurations. */
  readonly confDir: string;
  /** `CNI_PATH` as it came: the directories of plugins. */
  readonly path: string;
  /** Absent if not given: CHECK and DEL then take those of ADD. */
  readonly args?: readonly (readonly [key: string, value: string])[];
  /** Absent if not given, as `args`. */
  readonly capabilityArgs?: JsonObject;
}

const DEFAULT_CONF_DIR = "/etc/cni/net.d";
const DEFAULT_IFNAME = "eth0";

/**
 * Reads `CNI_PATH`, `NETCONFPATH`, `CAP_ARGS`, `CNI_ARGS` and `CNI_IFNAME`; `ifname` is the option, which wins over the
 * variable. An empty variable counts as absent.
 * @throws env/invalid
 */
export function cniRequest(
  network: string,
  netns: string,
  ifname: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): CniRequest {
  const given = (name: string): string | undefined => (env[name] === "" ? undefined : env[name]);
  const [args, capabilityArgs] = [given("CNI_ARGS"), given("CAP_ARGS")];
  const absolute = resolve(netns);
  return {
    network,
    netns: absolute,
    containerId: containerIdOf(absolute),
    ifname: ifname !== undefined && ifname !== "" ? ifname : (given("CNI_IFNAME") ?? DEFAULT_IFNAME),
    confDir: confDirOf(env),
    path: given("CNI_PATH") ?? "",
    ...(args === undefined ? {} : { args: readCniArgs(args) }),
    ...(capabilityArgs === undefined ? {} : { capabilityArgs: readCapabilityArgs(capabilityArgs) }),
  };
}

/** The directory of network configurations: `NETCONFPATH`, if it is not empty, or the usual one. */
export const confDirOf = (env: Readonly<Record<string, string | undefined>>): string =>
  env["NETCONFPATH"] || DEFAULT_CONF_DIR;

/** The container's id for a namespace without a container: from the first 10 bytes of the path's SHA-512. */
export const containerIdOf = (absoluteNetns: string): string =>
  `cnitool-${new Bun.CryptoHasher("sha512").update(absoluteNetns).digest("hex").slice(0, 20)}`;

/** Stricter than what plugins accept: neither key nor value may be empty. */
function readCniArgs(text: string): readonly (readonly [string, string])[] {
  const pairs = splitCniArgs(text);
  for (const [key, value] of pairs)
    if (key === "" || value === "")
      throw new NetError("env/invalid", {
        variables: ["CNI_ARGS"],
        why: `"${key}=${value}" is not KEY=VALUE`,
      });
  return pairs;
}

function readCapabilityArgs(text: string): JsonObject {
  const refuse = (why: string, cause?: unknown): NetError =>
    new NetError("env/invalid", { variables: ["CAP_ARGS"], why }, { cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refuse("is not JSON", cause);
  }
  if (value === null) return {};
  if (!isObject(value)) throw refuse("must be a JSON object, a key for each capability");
  return value;
}
