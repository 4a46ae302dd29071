import { type Decode, invalid, object, oneOf, text } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { Backend } from "../../../firewall/model.ts";

/** The keys of `firewall`. */
export interface FirewallConfig {
  /** Absent: where the host drops forwarded packets. */
  readonly backend?: Backend;
  readonly adminChain?: string;
  readonly zone?: string;
  readonly ingressPolicy: "open" | "same-bridge" | "isolated";
}

/** XT_EXTENSION_MAXNAMELEN (linux/netfilter/x_tables.h) without the closing zero. */
const CHAIN_BYTES = 28;
/** Names that mean something else: chains and targets of iptables, and those of the other rules of this plugin. */
const RESERVED: ReadonlySet<string> = new Set([
  ...["INPUT", "FORWARD", "OUTPUT", "ACCEPT", "DROP", "REJECT", "RETURN", "QUEUE"],
  ...["CNI-FORWARD", "CNI-FORWARD-OWNERS", "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"],
]);

const chainName: Decode<string> = (value, at) => {
  const name = text(value, at);
  if (name === "") return name;
  if (name.length > CHAIN_BYTES || !isChainName(name))
    invalid(at, `"${name}" is no name of a chain: 1 to ${CHAIN_BYTES} letters, digits and _ . : + -`);
  if (RESERVED.has(name)) invalid(at, `"${name}" has a meaning of its own; choose another name`);
  return name;
};

function isChainName(name: string): boolean {
  for (const c of name) {
    const letter = (c >= "a" && c <= "z") || (c >= "A" && c <= "Z") || (c >= "0" && c <= "9");
    if (!letter && !"_.:+-".includes(c)) return false;
  }
  return !name.startsWith("-");
}

export const options = object({
  backend: oneOf("iptables", "firewalld", "nftables", ""),
  iptablesAdminChainName: chainName,
  firewalldZone: text,
  ingressPolicy: oneOf("open", "same-bridge", "isolated", ""),
});

/** Throws `config/invalid` with the key. An empty word is the same as none. */
export function parseConfig(conf: NetConf): FirewallConfig {
  const raw = options(conf.raw, "");
  return {
    ...(raw.backend ? { backend: raw.backend } : {}),
    ...(raw.iptablesAdminChainName ? { adminChain: raw.iptablesAdminChainName } : {}),
    ...(raw.firewalldZone ? { zone: raw.firewalldZone } : {}),
    ingressPolicy: raw.ingressPolicy || "open",
  };
}

/** Removal goes by the record and the notes; of the configuration only the zone is of use, for what the reference left. */
export function parseForRemoval(conf: NetConf): FirewallConfig {
  try {
    return parseConfig(conf);
  } catch {
    return { ingressPolicy: "open" };
  }
}
