import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { removeForeignMappings } from "../../shared/foreign.ts";
import { requireBackend } from "../../shared/status.ts";
import { options, parseConfig, parseForRemoval, type PortmapConfig } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `portmap`: ports of the host that lead to ports of the container. */
export const portmap: Plugin<PortmapConfig> = kernelPlugin<PortmapConfig>({
  type: "portmap",
  about: "Ports of the host that lead to ports of the container",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  chained: true,
  idle: (config) => config.mappings.length === 0,
  needs,
  plan,
  firewalls: () => ["nftables", "iptables"],
  status: ({ config }) => requireBackend(config.backend),
  removeForeign: removeForeignMappings,
});
