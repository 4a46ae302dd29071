import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import type { Context } from "../../../netstate/context.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignPair } from "../../shared/foreign.ts";
import { type BridgeConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** The host's interface in a VLAN whose last container is gone, and the record of that with it. */
async function removeGateway(
  { bridge: name, vlans }: BridgeConfig,
  { spaces }: Pick<Context, "spaces">,
): Promise<void> {
  if (vlans?.gateway === undefined) return;
  const { removeIdleGateway } = await import("../../../netstate/kinds/vlan-gateway.ts");
  removeIdleGateway(spaces.host, { ...vlans.gateway, bridge: name });
}

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
  removeForeign: async (call, context) => {
    await removeForeignPair(call, context);
    await removeGateway(call.config, context);
  },
  removeUnused: removeGateway,
  status: async (call) => (await import("./status.ts")).status(call),
});
