/** What the agent tells the child that does its firewall, and what the child answers: both sides' JSON. */
import { flag, list, object, oneOf, parsed, required, text } from "../cni/json.ts";
import { type IpPrefix, parsePrefix } from "../net/ip.ts";
import {
  type FirewallTask,
  firewallKinds,
  firewallVerbs,
  type Performed,
} from "../providers/flannel/firewall.ts";
import type { HostSubnet, Previous } from "../providers/flannel/subnet-env.ts";

export type FirewallAnswer =
  ({ readonly kind: "done" } & Performed) | { readonly kind: "failed"; readonly why: string };

const prefix = required(parsed(parsePrefix));
const subnet = object({ network: prefix, subnet: prefix });
const families = { v4: subnet, v6: subnet };

/** @throws config/invalid, with the key and what is wrong */
export const readFirewallTask = object({
  verb: required(oneOf(...firewallVerbs)),
  kind: required(oneOf(...firewallKinds)),
  wish: required(
    object({
      ...families,
      masquerade: object({ fullyRandom: required(flag) }),
      acceptForwarded: required(flag),
      fabric: text,
    }),
  ),
  before: object(families),
});

const answer = object({
  kind: required(oneOf("done", "failed")),
  mended: list(text),
  hindrances: list(text),
  why: text,
});

export function readFirewallAnswer(value: unknown, at: string): FirewallAnswer {
  const { kind, mended = [], hindrances = [], why = "" } = answer(value, at);
  return kind === "done" ? { kind, mended, hindrances } : { kind, why };
}

export function encodeFirewallTask({ verb, kind, wish, before }: FirewallTask): string {
  const { masquerade, acceptForwarded, fabric } = wish;
  return JSON.stringify({
    verb,
    kind,
    wish: { ...encodeSubnets(wish), masquerade, acceptForwarded, fabric },
    before: before && encodeSubnets(before),
  });
}

const encodeSubnets = ({ v4, v6 }: Previous) => ({ v4: encodeSubnet(v4), v6: encodeSubnet(v6) });
const encodeSubnet = (part: HostSubnet | undefined) =>
  part && { network: textOf(part.network), subnet: textOf(part.subnet) };
const textOf = (prefix: IpPrefix): string => prefix.text;
