import { markOf, type Owner, vethName } from "../netstate/owner.ts";
import { freshNames, type PlanInput } from "./kernel-plugin.ts";
import type { AddCall, CheckCall } from "./plugin.ts";
import type { Result } from "./result.ts";

/** From a call to what a plan is made of: who owns what it makes, and the plan's input before it is refined. */
export const ownerOf = (
  component: string,
  call: { readonly conf: { readonly name: string }; readonly containerId: string; readonly ifname: string },
): Owner => ({ component, network: call.conf.name, containerId: call.containerId, ifname: call.ifname });

export const inputOf = <Config>(
  call: AddCall<Config> | CheckCall<Config>,
  owner: Owner,
  lease: Result,
): PlanInput<Config> => ({
  config: call.config,
  conf: call.conf,
  network: owner.network,
  containerId: owner.containerId,
  ifname: owner.ifname,
  netns: call.netns,
  args: call.args,
  lease,
  ...(call.prevResult ? { prevResult: call.prevResult } : {}),
  fresh: freshNames(vethName(markOf(owner))),
});
