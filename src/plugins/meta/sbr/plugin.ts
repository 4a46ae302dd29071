import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { options, parseConfig, parseForRemoval, type SbrConfig } from "./config.ts";
import { removeForeignRules } from "./foreign.ts";
import { needs, plan } from "./plan.ts";

/** `sbr`: what is sent from the interface's addresses leaves by the interface. */
export const sbr: Plugin<SbrConfig> = kernelPlugin<SbrConfig>({
  type: "sbr",
  about: "Source-based routing: what is sent from an address leaves by its interface",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  chained: true,
  alone: true,
  checksRecord: true,
  needs,
  plan,
  firewalls: () => [],
  removeForeign: removeForeignRules,
});
