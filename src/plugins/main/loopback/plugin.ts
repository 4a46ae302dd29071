import { kernelPlugin } from "../../../cni/attach.ts";
import type { Plugin } from "../../../cni/plugin.ts";
import { needs, plan } from "./plan.ts";

/** `loopback`: the container's own loopback, up. DEL puts it down again if it was down before. */
export const loopback: Plugin = kernelPlugin<unknown>({
  type: "loopback",
  about: "The container's loopback interface, up",
  options: [],
  parse: () => undefined,
  parseForRemoval: () => undefined,
  needs,
  plan,
  firewalls: () => [],
});
