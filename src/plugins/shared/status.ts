import type { StatusCall } from "../../cni/plugin.ts";
import { NetError } from "../../errors.ts";
import type { ForwardDrop } from "../../firewall/foreign.ts";
import type { AskedKind } from "../../rtnl/create-link.ts";

/**
 * STATUS of plugins whose containers are routed by the host: names chains of others that drop what they forward. It is
 * a warning and no failure: rules of that chain, or the firewall plugin, may let the containers pass, and a node must
 * not be taken out of service for a firewall that works.
 */
export async function warnOfForwardDrops(
  call: Pick<StatusCall<unknown>, "log">,
  concerns: (drop: ForwardDrop) => boolean = () => true,
): Promise<void> {
  const { findForwardDrops } = await import("../../firewall/foreign.ts");
  const { openRuleSet } = await import("../../nft/available.ts");
  using socket = openRuleSet();
  if (socket === undefined) return;
  for (const { family, table, chain, by } of findForwardDrops(socket).filter(concerns))
    call.log(
      `chain ${chain} of table ${family} ${table} drops forwarded packets that its rules do not accept (${by}): ` +
        "containers reach only what that chain lets pass; see docs/debugging.md#forwarding",
    );
}

/**
 * STATUS of a plugin whose links the kernel may not have: it is asked, and nothing is changed by the question.
 * @throws NetError `status/unavailable`
 */
export const requireLinkKind =
  (kind: AskedKind, module: string = kind) =>
  async (): Promise<void> => {
    const { openNetlink } = await import("../../netlink/socket.ts");
    const { knowsLinkKind } = await import("../../rtnl/create-link.ts");
    using socket = openNetlink("route");
    if (knowsLinkKind(socket, kind)) return;
    throw new NetError("status/unavailable", {
      why: `the kernel lacks links of kind ${kind} (module ${module})`,
    });
  };
