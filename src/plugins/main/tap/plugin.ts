import { kernelPlugin } from "../../../cni/attach.ts";
import type { AddCall, Plugin } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import { statPath } from "../../../sys/files.ts";
import { TUN_DEVICE } from "../../../sys/tun.ts";
import { macOf, macSources } from "../../shared/config.ts";
import { removeForeignLink } from "../../shared/foreign.ts";
import { options, parseConfig, parseForRemoval, type TapConfig } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `tap`: an interface whose frames a program in the container gets, such as a virtual machine. */
export const tap: Plugin<TapConfig> = kernelPlugin<TapConfig>({
  type: "tap",
  about: "An interface for a virtual machine in the container",
  makesInterface: true,
  options: [options, macSources],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  mac: (call) => macOf(call) ?? call.config.mac,
  admit: refuseLabel,
  needs,
  plan,
  firewalls: () => [],
  status: requireDriver,
  removeForeign: ({ ifname }, context) => removeForeignLink("tun")({ ifname, config: {} }, context),
});

/**
 * A tap gets the label of the process that makes it. A process with several threads, as this one, may not take another
 * one, and a child that gets it by execve(2) needs a policy for this executable as an entry to that domain.
 */
function refuseLabel({ config }: AddCall<TapConfig>): void {
  if (config.selinuxContext === undefined || statPath("/sys/fs/selinux/enforce") === undefined) return;
  throw new NetError("config/unsupported", {
    field: "selinuxContext",
    value: config.selinuxContext,
    why:
      "a tap gets the label of the process that makes it, and this one cannot take another; leave the key out and allow " +
      "the virtual machine's domain to relabel taps of this plugin's (class tun_socket, relabelfrom)",
  });
}

/** STATUS: a host without the device file makes no tap. */
async function requireDriver(): Promise<void> {
  if (statPath(TUN_DEVICE) === undefined)
    throw new NetError("status/unavailable", { why: `${TUN_DEVICE} is not there: taps need the module tun` });
}
