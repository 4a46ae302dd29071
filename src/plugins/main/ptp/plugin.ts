import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignPair } from "../../shared/foreign.ts";
import { requireBackend, warnOfForwardDrops } from "../../shared/status.ts";
import { options, parseConfig, parseForRemoval, type PtpConfig } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `ptp`: each container on a link of its own to the host, which routes for it. */
export const ptp: Plugin<PtpConfig> = kernelPlugin<PtpConfig>({
  type: "ptp",
  about: "Each container on a link of its own to the host",
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
  status: async (call) => {
    if (call.config.ipMasq) await requireBackend(call.config.ipMasqBackend);
    await warnOfForwardDrops(call);
  },
});
