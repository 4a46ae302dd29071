import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { compareVersions, versions } from "../../../cni/version.ts";
import { type BandwidthConfig, options, parseConfig, parseForRemoval, warnOfSmallBursts } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `bandwidth`: limits of what a container receives and sends. */
export const bandwidth: Plugin<BandwidthConfig> = kernelPlugin<BandwidthConfig>({
  type: "bandwidth",
  about: "Limits of what a container receives and sends",
  // Older results name no interfaces, and the shaper is one.
  versions: versions.filter((v) => compareVersions(v, "0.3.0") >= 0),
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  chained: true,
  admit: warnOfSmallBursts,
  idle: ({ ingress, egress }) => ingress === undefined && egress === undefined,
  needs,
  plan,
  firewalls: () => [],
  removeForeign: async (call, context) => (await import("./foreign.ts")).removeUnrecorded(call, context),
  status: async () => (await import("./status.ts")).checkKernel(),
});
