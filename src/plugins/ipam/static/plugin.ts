/**
 * `static`: hands out the addresses that the configuration names and remembers nothing. Whether somebody else uses
 * an address is not looked at.
 */
import type { CheckCall, Plugin } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import { demand } from "../decode.ts";
import { addressesOf, options, parseConfig, parseForRemoval, type StaticConfig } from "./config.ts";

export const staticIpam: Plugin<StaticConfig> = {
  type: "static",
  about: "IPAM: the addresses that the configuration names",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  async add({ config, args }) {
    const sources = demand(config.sources);
    const ips = addressesOf(sources, args, config.cniVersion);
    return { interfaces: [], ips, routes: sources.routes, dns: sources.dns };
  },
  async del() {},
  async check(call) {
    verify(call);
  },
  async gc() {},
  async status({ config }) {
    demand(config.sources);
  },
};

/** Every address must be in prevResult, with the gateway that was asked for; one that was not asked for may be anything. */
function verify({ config, args, prevResult }: CheckCall<StaticConfig>): void {
  const found = prevResult?.ips ?? [];
  for (const wanted of addressesOf(demand(config.sources), args, config.cniVersion)) {
    const own = found.filter((f) => f.address.text === wanted.address.text);
    if (own.length === 0) {
      const others = found.map((f) => f.address.text).join(", ") || "none";
      throw new NetError("check/differs", {
        what: "addresses of prevResult",
        wanted: wanted.address.text,
        found: others,
      });
    }
    const { gateway } = wanted;
    if (gateway && !own.some((f) => f.gateway?.text === gateway.text))
      throw new NetError("check/differs", {
        what: `gateway of ${wanted.address.text}`,
        wanted: gateway.text,
        found: own.map((f) => f.gateway?.text ?? "none").join(", "),
      });
  }
}
