import type { StatusCall } from "../../../cni/plugin.ts";
import { requireZone } from "../../../firewall/firewalld.ts";
import { findForwardKeeper } from "../../../firewall/forward-keeper.ts";
import type { Backend } from "../../../firewall/model.ts";
import { requireBackend, requireTables, warnOfForwardDrops } from "../../shared/status.ts";
import type { FirewallConfig } from "./config.ts";

/**
 * STATUS of `firewall`: throws `status/unavailable` if what the configuration asks for cannot be done on this host, and
 * names on standard error the chains that go on to drop.
 */
export async function requireFirewall(call: StatusCall<FirewallConfig>): Promise<void> {
  const { config } = call;
  const backend = config.backend ?? (await chosen());
  if (backend === "firewalld") requireZone(config.zone);
  await requireBackend(backend);
  const needsTables = config.ingressPolicy === "isolated" || backend !== "iptables";
  if (config.ingressPolicy !== "open" && needsTables)
    await requireTables(`ingressPolicy ${config.ingressPolicy}`);
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
