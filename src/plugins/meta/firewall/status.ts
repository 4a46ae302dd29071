import type { StatusCall } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import { requireZone } from "../../../firewall/firewalld.ts";
import { findForwardKeeper } from "../../../firewall/forward-keeper.ts";
import { hasPrograms } from "../../../firewall/iptables-run.ts";
import type { Backend } from "../../../firewall/model.ts";
import { openRuleSet } from "../../../nft/available.ts";
import { warnOfForwardDrops } from "../../shared/status.ts";
import type { FirewallConfig } from "./config.ts";

/**
 * STATUS of `firewall`: throws `status/unavailable` if what the configuration asks for cannot be done on this host, and
 * names on standard error the chains that go on to drop.
 */
export async function requireBackend(call: StatusCall<FirewallConfig>): Promise<void> {
  const { config } = call;
  const backend = config.backend ?? (await chosen());
  if (backend === "firewalld") requireZone(config.zone);
  if (backend === "iptables" && !hasPrograms(4) && !hasPrograms(6))
    unavailable("the backend iptables needs iptables-save and iptables-restore (package iptables)");
  const needsTables = config.ingressPolicy === "isolated" || backend !== "iptables";
  if (config.ingressPolicy !== "open" && needsTables) requireTables(config.ingressPolicy);
  await warnOfForwardDrops(call, (chain) => !allowsIn[backend](chain));
}

const chosen = async (): Promise<Backend> => {
  const keeper = await findForwardKeeper();
  return keeper === "nobody" ? "nftables" : keeper;
};

/** The chains that each backend puts its rules into. */
const allowsIn: Readonly<
  Record<Backend, (chain: { readonly table: string; readonly chain: string }) => boolean>
> = {
  nftables: () => false,
  iptables: ({ table, chain }) => table === "filter" && chain === "FORWARD",
  firewalld: ({ table }) => table === "firewalld",
};

function requireTables(policy: string): void {
  using socket = openRuleSet();
  if (socket === undefined) unavailable(`ingressPolicy ${policy} needs a kernel with nf_tables`);
}

function unavailable(why: string): never {
  throw new NetError("status/unavailable", { why });
}
