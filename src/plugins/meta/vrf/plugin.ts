import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { requireLinkKind } from "../../shared/status.ts";
import { options, parseConfig, parseForRemoval, type VrfConfig } from "./config.ts";
import { removeForeignMember } from "./foreign.ts";
import { needs, plan } from "./plan.ts";

/** `vrf`: the container's interface in a routing domain of its own. */
export const vrf: Plugin<VrfConfig | undefined> = kernelPlugin<VrfConfig | undefined>({
  type: "vrf",
  about: "The container's interface in a routing domain of its own",
  versions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  chained: true,
  alone: true,
  checksRecord: true,
  needs,
  plan,
  firewalls: () => [],
  status: requireLinkKind("vrf"),
  removeForeign: removeForeignMember,
});
