import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Result } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import type { ForwardKeeper } from "../../../firewall/forward-keeper.ts";
import type { Backend, FirewallRule, FirewallState } from "../../../firewall/model.ts";
import type { Facts, Needs } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import { acceptance, hostLinksOf, insideAddresses } from "../../shared/forward.ts";
import type { FirewallConfig } from "./config.ts";

/** Letting a container through the host's firewall, and keeping it apart: pure functions from its addresses to rules. */
type Input = PlanInput<FirewallConfig>;

export const needs = ({ config }: Input): Needs =>
  config.backend === undefined ? { forwardKeeper: true } : {};

/** Where somebody drops, the packets are allowed there; where nobody does, there is nothing to allow. */
const backendFor: Readonly<Record<ForwardKeeper, Backend>> = {
  firewalld: "firewalld",
  iptables: "iptables",
  nobody: "nftables",
};

export function plan(input: Input, facts: Facts): Plan {
  const { config, network, containerId } = input;
  const result = previous(input);
  const backend = config.backend ?? backendFor[facts.forwardKeeper ?? "nobody"];
  const addresses = insideAddresses(result);
  const accepted: FirewallRule[] = addresses.map((address) => ({ kind: "accept-forward", address }));
  const { policies, ports } = refusals(config, result);
  const of = { network, containerId };
  const adminChain = config.adminChain === undefined ? {} : { iptables: { adminChain: config.adminChain } };
  const states: Readonly<Record<Backend, readonly FirewallState[]>> = {
    // Our own tables cannot allow what others drop; they drop what is not to pass.
    nftables: [{ ...of, backend: "nftables", rules: [...policies, ...ports] }],
    iptables: [
      { ...of, backend: "iptables", rules: [...accepted, ...policies], ...adminChain },
      // iptables sees frames between ports of a bridge only where br_netfilter shows them.
      { ...of, backend: "nftables", rules: ports },
    ],
    firewalld: [
      acceptance(addresses, of, config.zone),
      { ...of, backend: "nftables", rules: [...policies, ...ports] },
    ],
  };
  const objects = states[backend].flatMap((state): NetObject[] =>
    state.rules.length === 0 ? [] : [{ kind: "firewall", possession: "exclusive", state }],
  );
  return { state: { objects }, result };
}

/** What may not pass: from other bridges, and with `isolated` from the same one, routed or between its ports. */
function refusals(
  { ingressPolicy }: FirewallConfig,
  result: Result,
): { readonly policies: readonly FirewallRule[]; readonly ports: readonly FirewallRule[] } {
  if (ingressPolicy === "open") return { policies: [], ports: [] };
  const isolated = ingressPolicy === "isolated";
  const { routed, port } = hostLinksOf(result);
  if (routed === undefined)
    throw new NetError("prev-result/invalid", {
      why: `ingressPolicy ${ingressPolicy} needs a plugin before it that makes a link of the host, such as bridge or ptp`,
    });
  return {
    policies: insideAddresses(result).map((address) => ({
      kind: "ingress-policy",
      bridge: routed,
      address,
      isolated,
    })),
    ports: isolated && port !== undefined ? [{ kind: "port-isolation", link: port }] : [],
  };
}

function previous({ prevResult }: Input): Result {
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", { why: "firewall needs the result of the plugin before it" });
  return prevResult;
}
