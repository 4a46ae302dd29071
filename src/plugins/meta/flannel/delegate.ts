import { foldKeys, type JsonObject, withoutKeys } from "../../../cni/json.ts";
import type { PluginConf } from "../../../cni/list.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { IpPrefix } from "../../../net/ip.ts";
import type { FlannelConfig } from "./config.ts";
import type { SubnetEnv } from "./subnet-env.ts";

/**
 * The configuration of the plugin that makes the interface: what the entry says of it, and in the gaps what follows from the
 * host's subnet. Without the subnet, for removal, what depends on it is left out. Reads nothing.
 */
export function delegateOf(
  { name, cniVersion }: Pick<NetConf, "name" | "cniVersion">,
  config: FlannelConfig,
  env: SubnetEnv | undefined,
): PluginConf {
  const { type, delegate, runtimeConfig, args } = config;
  const given = foldKeys(delegate, ["ipMasq", "mtu", "isGateway", "args"]);
  const gaps = {
    ...(env !== undefined && given.mtu === undefined ? { mtu: env.mtuBytes } : {}),
    // Whoever is first masquerades, and nobody twice.
    ...(env !== undefined && given.ipMasq === undefined ? { ipMasq: !env.ipMasq } : {}),
    ...(type === "bridge" && given.isGateway === undefined ? { isGateway: true } : {}),
    ...(args !== undefined && given.args === undefined ? { args } : {}),
    ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
  };
  const set = { ...gaps, name, cniVersion, type, ipam: ipamOf(config, env) };
  return { type, capabilities: {}, raw: { ...withoutKeys(delegate, Object.keys(set)), ...set } };
}

function ipamOf({ ipam }: FlannelConfig, env: SubnetEnv | undefined): JsonObject {
  const { type = "host-local", routes } = foldKeys(ipam, ["type", "routes"]);
  const { v4, v6 } = env?.subnets ?? {};
  const ranges = [v4, v6].flatMap((subnet) => (subnet === undefined ? [] : [[{ subnet: subnet.text }]]));
  const toNetwork = ({ text }: IpPrefix): JsonObject => ({ dst: text });
  const set = {
    type,
    ...(env === undefined
      ? {}
      : { ranges, routes: [...(Array.isArray(routes) ? routes : []), ...env.networks.map(toNetwork)] }),
  };
  return { ...withoutKeys(ipam, Object.keys(set)), ...set };
}
