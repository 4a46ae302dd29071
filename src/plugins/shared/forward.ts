/** What a result says to those who let its container through a firewall: its addresses, and the links of the host. */
import type { Result } from "../../cni/result.ts";
import type { FirewallState } from "../../firewall/model.ts";
import type { Ip } from "../../net/ip.ts";

/** The addresses on interfaces inside of containers; those that name no interface count as such. */
export const insideAddresses = ({ ips, interfaces }: Result): readonly Ip[] =>
  ips.flatMap(({ address, interface: at }) =>
    at === undefined || interfaces[at]?.sandbox ? [address.ip] : [],
  );

/**
 * The link of the host that packets for the container leave by, and the container's port if that link is a bridge: main
 * plugins name them in this order, and before the container's interface. What stands behind it is of other plugins.
 */
export function hostLinksOf({ interfaces }: Result): { readonly bridge?: string; readonly port?: string } {
  const inside = interfaces.findIndex((i) => i.sandbox);
  const [bridge, port] = interfaces.slice(0, inside < 0 ? interfaces.length : inside);
  return { ...(bridge ? { bridge: bridge.name } : {}), ...(port ? { port: port.name } : {}) };
}

/** The state by which firewalld lets these addresses through. */
export const acceptance = (
  addresses: readonly Ip[],
  of: Pick<FirewallState, "network" | "containerId">,
  zone: string | undefined,
): FirewallState => ({
  backend: "firewalld",
  rules: addresses.map((address) => ({ kind: "accept-forward", address })),
  ...of,
  ...(zone === undefined ? {} : { firewalldZone: zone }),
});
