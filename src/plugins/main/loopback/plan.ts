import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { ResultIp } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import { isLoopback, parsePrefix } from "../../../net/ip.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";

/**
 * The loopback of the container, up. `CNI_IFNAME` plays no part: the link is always `lo`. The kernel gives it its
 * addresses by itself.
 */
const LOOPBACK = "lo";
const IPV6_OFF = "net/ipv6/conf/lo/disable_ipv6";

export const needs = (): Needs => ({
  links: [{ place: "container", name: LOOPBACK, addresses: true }],
  sysctls: [{ place: "container", key: IPV6_OFF }],
});

export function plan({ netns, prevResult }: PlanInput<unknown>, facts: Facts): Plan {
  const foreign = (facts.addresses.get(factKey("container", LOOPBACK)) ?? []).find(
    (a) => !isLoopback(a.prefix.ip),
  );
  if (foreign)
    throw new NetError("config/invalid", {
      field: "type",
      why: `${LOOPBACK} of ${netns} has the address ${foreign.prefix.text}, which is not a loopback address`,
    });
  const ipv6 = facts.sysctls.get(factKey("container", IPV6_OFF)) === "0";
  const own = {
    interfaces: [{ name: LOOPBACK, mac: "00:00:00:00:00:00", sandbox: netns }],
    ips: [address("127.0.0.1/8"), ...(ipv6 ? [address("::1/128")] : [])],
    routes: [],
    dns: {},
  };
  return {
    state: { objects: [{ kind: "link-up", possession: "borrowed", place: "container", link: LOOPBACK }] },
    result: prevResult ?? own,
  };
}

function address(text: string): ResultIp {
  const parsed = parsePrefix(text);
  if (!parsed.ok) throw new TypeError(parsed.why);
  return { address: parsed.value, interface: 0 };
}
