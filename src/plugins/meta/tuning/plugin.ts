import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { unlessRefused } from "../../shared/status.ts";
import { requireAllowed } from "./allowlist.ts";
import { options, parseConfig, parseForRemoval, type TuningConfig } from "./config.ts";
import { removeForeignTuning } from "./foreign.ts";
import { needs, plan } from "./plan.ts";

/** `tuning`: attributes of the container's interface and network parameters of its kernel. */
export const tuning: Plugin<TuningConfig> = kernelPlugin<TuningConfig>({
  type: "tuning",
  about: "Attributes of the container's interface and network parameters of its kernel",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  chained: true,
  admit: ({ config }) => requireSysctls(config),
  status: async ({ config }) => unlessRefused(() => requireSysctls(config)),
  needs,
  plan,
  firewalls: () => [],
  removeForeign: removeForeignTuning,
});

/** @throws NetError `config/invalid`, `decode/malformed` */
function requireSysctls({ sysctls }: TuningConfig): void {
  requireAllowed(sysctls.map((s) => s.written));
}
