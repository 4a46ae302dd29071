import type { StatusCall } from "../../cni/plugin.ts";
import { NetError } from "../../errors.ts";
import type { ForwardDrop } from "../../firewall/foreign.ts";
import type { Backend } from "../../firewall/model.ts";
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
    if (!knowsLinkKind(socket, kind))
      unavailable(`the kernel lacks links of kind ${kind} (module ${module})`);
  };

/**
 * STATUS of a plugin whose rules this backend holds.
 * @throws NetError `status/unavailable` without the programs of iptables, or a kernel with nf_tables
 */
export async function requireBackend(backend: Backend): Promise<void> {
  if (backend === "iptables") {
    const { hasPrograms } = await import("../../firewall/iptables-run.ts");
    if (!hasPrograms(4) && !hasPrograms(6))
      unavailable("the backend iptables needs iptables-save and iptables-restore (package iptables)");
  }
  if (backend === "nftables") await requireTables("the backend nftables");
}

/** @throws NetError `status/unavailable` if the kernel has no nf_tables, which `what` needs */
export async function requireTables(what: string): Promise<void> {
  const { openRuleSet } = await import("../../nft/available.ts");
  using socket = openRuleSet();
  if (socket === undefined) unavailable(`${what} needs a kernel with nf_tables`);
}

const REFUSALS = ["config/invalid", "decode/malformed", "feature/missing", "resource/exists"] as const;

/** Says of what is wrong with the configuration or the host that ADD would fail by it. */
export function unlessRefused(look: () => void): void {
  try {
    look();
  } catch (e) {
    if (!(e instanceof NetError) || !REFUSALS.some((code) => e.is(code))) throw e;
    throw new NetError("status/unavailable", { why: e.message }, { cause: e });
  }
}

function unavailable(why: string): never {
  throw new NetError("status/unavailable", { why });
}
