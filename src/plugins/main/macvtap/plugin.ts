import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignLink } from "../../shared/foreign.ts";
import { masterStatus } from "../../shared/master.ts";
import { type MacvtapConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `macvtap`: links of the host with MAC addresses of their own, for virtual machines. */
export const macvtap: Plugin<MacvtapConfig> = kernelPlugin<MacvtapConfig>({
  type: "macvtap",
  about: "Links with MAC addresses of their own, for virtual machines to open",
  makesInterface: true,
  options: [options, macSources],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  mac: (call) => macOf(call) ?? call.config.mac,
  needs,
  plan,
  firewalls: () => [],
  removeForeign: removeForeignLink("macvtap"),
  status: masterStatus("macvtap"),
});
