/**
 * DEL of what the reference made, or of ours whose record is lost: the interface leaves the VRF with what is on it now, and
 * the VRF goes if nobody is left in it.
 */
import type { DelCall } from "../../../cni/plugin.ts";
import type { Context } from "../../../netstate/context.ts";
import { vrfMember } from "../../../netstate/kinds/vrf-member.ts";
import { lockNetns } from "../../../netstate/netns-lock.ts";
import { allRoutes } from "../../../netstate/routing-facts.ts";
import { listAddresses } from "../../../rtnl/address.ts";
import { findLink } from "../../../rtnl/link.ts";
import { vrfTable } from "../../shared/tables.ts";
import type { VrfConfig } from "./config.ts";
import { memberOf } from "./plan.ts";

export async function removeForeignMember(
  { config, ifname }: Pick<DelCall<VrfConfig | undefined>, "config" | "ifname">,
  context: Context,
): Promise<void> {
  const { container } = context.spaces;
  if (container === undefined || config === undefined) return;
  using _alone = lockNetns(container.netns);
  const { socket } = container;
  const vrf = findLink(socket, { name: config.name });
  const table = vrf && vrfTable(vrf);
  if (vrf === undefined || table === undefined) return;
  const link = findLink(socket, { name: ifname });
  // A runtime calls DEL also for an ADD that was refused because the interface had another master.
  if (link?.master !== vrf.index) return;
  const on = { addresses: listAddresses(socket, link.index), routes: allRoutes(socket) };
  const member = memberOf(link, { name: vrf.name, table }, on);
  vrfMember.remove(member, { ...context, borrowed: () => "made" });
}
