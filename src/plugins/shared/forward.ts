/** What a result says to those who let its container through a firewall: its addresses, and the links of the host. */
import type { Result } from "../../cni/result.ts";
import type { FirewallState } from "../../firewall/model.ts";
import type { Ip } from "../../net/ip.ts";
import { VLAN_MAX, VLAN_MIN } from "../../net/vlan.ts";

/** The addresses on interfaces inside of containers; those that name no interface count as such. */
export const insideAddresses = ({ ips, interfaces }: Result): readonly Ip[] =>
  ips.flatMap(({ address, interface: at }) =>
    at === undefined || interfaces[at]?.sandbox ? [address.ip] : [],
  );

/**
 * The link of the host that the container hangs on, and the container's port if that link is a bridge: main plugins name
 * them in this order, and before the container's interface. `routed` is the link that the host routes by: the first one,
 * or the host's interface in a VLAN of the bridge, which `bridge` names behind the container's. What else stands there
 * is of other plugins.
 */
export function hostLinksOf({ interfaces }: Result): {
  readonly bridge?: string;
  readonly port?: string;
  readonly routed?: string;
} {
  const inside = interfaces.findIndex((i) => i.sandbox);
  const end = inside < 0 ? interfaces.length : inside;
  const [bridge, port] = interfaces.slice(0, end);
  if (bridge === undefined) return {};
  const inVlan = interfaces.slice(end).find((i) => !i.sandbox && isVlanOf(bridge.name, i.name));
  return {
    bridge: bridge.name,
    routed: (inVlan ?? bridge).name,
    ...(port ? { port: port.name } : {}),
  };
}

/** `BRIDGE.VLAN` is what `bridge` calls the host's interface in a VLAN. */
function isVlanOf(bridge: string, name: string): boolean {
  const vlan = Number(name.slice(bridge.length + 1));
  return name === `${bridge}.${vlan}` && Number.isInteger(vlan) && vlan >= VLAN_MIN && vlan <= VLAN_MAX;
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
