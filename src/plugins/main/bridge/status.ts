import type { StatusCall } from "../../../cni/plugin.ts";
import { openNetlink } from "../../../netlink/socket.ts";
import { requireBridge } from "../../../netstate/kinds/bridge.ts";
import { findLink } from "../../../rtnl/link.ts";
import { requireBackend, requireTables, unlessRefused, warnOfForwardDrops } from "../../shared/status.ts";
import type { BridgeConfig } from "./config.ts";
import { requireFiltering } from "./plan.ts";

/**
 * Whether the host has what ADD needs for this configuration.
 * @throws NetError `status/unavailable`
 */
export async function status(call: Pick<StatusCall<BridgeConfig>, "config" | "log">): Promise<void> {
  const { ipMasq, ipMasqBackend, macspoofchk, isGateway } = call.config;
  if (ipMasq) await requireBackend(ipMasqBackend);
  if (macspoofchk) await requireTables("macspoofchk");
  unlessRefused(() => requireUsable(call.config));
  if (isGateway) await warnOfForwardDrops(call);
}

/** A bridge that is not there yet is made by ADD. */
function requireUsable({ bridge: name, vlans }: BridgeConfig): void {
  using socket = openNetlink("route");
  const link = findLink(socket, { name });
  if (link === undefined) return;
  requireBridge(link);
  if (vlans) requireFiltering(link);
}
