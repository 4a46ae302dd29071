/** What `setup` prints: the container's interface, as Podman shows it and keeps it. */
import type { JsonObject } from "../cni/json.ts";
import type { Result } from "../cni/result.ts";
import type { Connection } from "./model.ts";

/** The status block of plugin-API.md. */
export function statusOf({ network, ifname }: Connection, result: Result): JsonObject {
  const index = result.interfaces.findIndex((i) => i.name === ifname && i.sandbox !== undefined);
  const { internal } = network.host;
  return {
    // `--dns` of the container alone is used where these are empty.
    dns_search_domains: result.dns.search ?? [],
    dns_server_ips: result.dns.nameservers ?? [],
    interfaces: {
      [ifname]: {
        mac_address: result.interfaces[index]?.mac ?? "",
        subnets: result.ips
          .filter((ip) => ip.interface === undefined || ip.interface === index)
          .map(({ address, gateway }) => ({
            ipnet: address.text,
            ...(gateway && !internal ? { gateway: gateway.text } : {}),
          })),
      },
    },
  };
}
