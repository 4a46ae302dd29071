import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { removeForeignAcceptance } from "../../shared/foreign.ts";
import { type FirewallConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `firewall`: lets containers through the host's firewall, and keeps them apart if asked. */
export const firewall: Plugin<FirewallConfig> = kernelPlugin<FirewallConfig>({
  type: "firewall",
  about: "Lets a container through the host's firewall, and keeps containers apart",
  versions: ["0.4.0", "1.0.0", "1.1.0"],
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  chained: true,
  needs,
  plan,
  firewalls: () => ["nftables", "iptables", "firewalld"],
  removeForeign: (call, context) => removeForeignAcceptance(call, context, call.config.zone),
  status: async (call) => {
    const { requireFirewall } = await import("./status.ts");
    await requireFirewall(call);
  },
});
