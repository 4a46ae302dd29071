import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignPair } from "../../shared/foreign.ts";
import { warnOfForwardDrops } from "../../shared/status.ts";
import { type BridgeConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `bridge`: containers as ports of a bridge on the host, which may be their gateway. */
export const bridge: Plugin<BridgeConfig> = kernelPlugin<BridgeConfig>({
  type: "bridge",
  about: "Containers as ports of a bridge on the host",
  makesInterface: true,
  options: [options, macSources],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  mac: macOf,
  needs,
  plan,
  firewalls: () => ["nftables", "iptables"],
  removeForeign: removeForeignPair,
  status: async (call) => (call.config.isGateway ? warnOfForwardDrops(call) : undefined),
});
