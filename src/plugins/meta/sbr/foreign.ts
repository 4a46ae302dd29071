/**
 * DEL of what the reference made, or of ours whose record is lost: rules for addresses of the interface. Their tables go
 * with the interface.
 */
import type { DelCall } from "../../../cni/plugin.ts";
import { hostPrefix } from "../../../net/ip.ts";
import type { Context } from "../../../netstate/context.ts";
import { listAddresses } from "../../../rtnl/address.ts";
import { findLink } from "../../../rtnl/link.ts";
import { listRules, removeRule } from "../../../rtnl/rule.ts";

export async function removeForeignRules(
  { ifname }: Pick<DelCall<unknown>, "ifname">,
  { spaces }: Context,
): Promise<void> {
  const socket = spaces.container?.socket;
  const link = socket && findLink(socket, { name: ifname });
  if (!socket || !link) return;
  const own = new Set(listAddresses(socket, link.index).map(({ prefix }) => hostPrefix(prefix.ip).text));
  for (const rule of [...listRules(socket, 4), ...listRules(socket, 6)])
    if (rule.action === undefined && rule.src !== undefined && own.has(rule.src.text))
      removeRule(socket, rule);
}
