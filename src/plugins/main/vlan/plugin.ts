import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignLink } from "../../shared/foreign.ts";
import { masterStatus } from "../../shared/master.ts";
import { options, parseConfig, parseForRemoval, type VlanConfig } from "./config.ts";
import { needs, plan, requireUp } from "./plan.ts";

/** `vlan`: a container in one VLAN of a link of the host. */
export const vlan: Plugin<VlanConfig> = kernelPlugin<VlanConfig>({
  type: "vlan",
  about: "A container in one VLAN of a link of the host",
  makesInterface: true,
  options: [options, macSources],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  mac: macOf,
  needs,
  plan,
  firewalls: () => [],
  removeForeign: removeForeignLink("vlan"),
  status: masterStatus("vlan", { module: "8021q", also: requireUp }),
});
