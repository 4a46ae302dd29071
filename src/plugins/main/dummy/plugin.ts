import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignLink } from "../../shared/foreign.ts";
import { requireLinkKind } from "../../shared/status.ts";
import { type DummyConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { plan } from "./plan.ts";

/** `dummy`: a link in the container that swallows what is sent to it. */
export const dummy: Plugin<DummyConfig> = kernelPlugin<DummyConfig>({
  type: "dummy",
  about: "A link in the container that swallows what is sent to it",
  makesInterface: true,
  options: [options, macSources],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  mac: macOf,
  needs: () => ({}),
  plan,
  firewalls: () => [],
  status: requireLinkKind("dummy"),
  removeForeign: removeForeignLink("dummy"),
});
