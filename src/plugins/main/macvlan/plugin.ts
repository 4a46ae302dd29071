import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignLink } from "../../shared/foreign.ts";
import { masterStatus } from "../../shared/master.ts";
import { type MacvlanConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `macvlan`: containers with MAC addresses of their own on a link of the host. */
export const macvlan: Plugin<MacvlanConfig> = kernelPlugin<MacvlanConfig>({
  type: "macvlan",
  about: "Containers with MAC addresses of their own on a link of the host",
  makesInterface: true,
  options: [options, macSources],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  mac: (call) => macOf(call) ?? call.config.mac,
  needs,
  plan,
  firewalls: () => [],
  removeForeign: removeForeignLink("macvlan"),
  status: masterStatus("macvlan"),
});
