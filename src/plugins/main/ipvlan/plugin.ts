import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { removeForeignLink } from "../../shared/foreign.ts";
import { masterStatus } from "../../shared/master.ts";
import { requireLinkKind } from "../../shared/status.ts";
import { type IpvlanConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `ipvlan`: containers that share the MAC address of a link of the host. */
export const ipvlan: Plugin<IpvlanConfig> = kernelPlugin<IpvlanConfig>({
  type: "ipvlan",
  about: "Containers that share the MAC address of a link of the host",
  makesInterface: true,
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  needs,
  plan,
  firewalls: () => [],
  removeForeign: removeForeignLink("ipvlan"),
  // Behind another plugin the master is that one's, and STATUS does not tell whether there is one. Without IPAM there is,
  // and it may make the link that is named.
  status: (call) => {
    const isSure = call.config.ipam !== undefined && call.config.master !== undefined;
    return isSure ? masterStatus("ipvlan")(call) : requireLinkKind("ipvlan")();
  },
});
