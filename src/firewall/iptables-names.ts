/**
 * Names and comments of the iptables layout. They are those of the reference plugins, so that what people and
 * scripts look for in `iptables-save` is there, whichever program made it.
 */

/** Chains that all port mappings of the host share, in table `nat`; the guard is in table `raw`. */
export const shared = {
  dnat: "CNI-HOSTPORT-DNAT",
  setMark: "CNI-HOSTPORT-SETMARK",
  masquerade: "CNI-HOSTPORT-MASQ",
  guard: "CNI-HOSTPORT-GUARD",
} as const;

/** Chains in table `filter` that decide over forwarded packets of containers. */
export const forward = {
  accept: "CNI-FORWARD",
  admin: "CNI-ADMIN",
  stage1: "CNI-ISOLATION-STAGE-1",
  stage2: "CNI-ISOLATION-STAGE-2",
  /** No packet enters it: its rules note which attachment the rules of the others are for. The reference has none. */
  owners: "CNI-FORWARD-OWNERS",
} as const;

/** Chains in `filter` of Docker and ufw, which make FORWARD drop whenever they start or are reloaded. */
export const FORWARD_MANAGERS: readonly string[] = ["DOCKER-USER", "ufw-user-forward", "ufw6-user-forward"];

export const MASQUERADE_PREFIX = "CNI-";
export const PORT_MAP_PREFIX = "CNI-DN-";

const hash = (hexDigits: number, ...parts: readonly string[]): string =>
  new Bun.CryptoHasher("sha512").update(parts.join("")).digest("hex").slice(0, hexDigits);

/** 28 bytes, the most that a chain's name may have (XT_EXTENSION_MAXNAMELEN, linux/netfilter/x_tables.h). */
export const masqueradeChain = (network: string, containerId: string): string =>
  MASQUERADE_PREFIX + hash(24, network, containerId);

/** The chain of a container's port mappings in one network. */
export const portMapChain = (network: string, containerId: string): string =>
  PORT_MAP_PREFIX + hash(21, network, containerId);

/**
 * The chain of a second attachment of a container to the same network. The reference lets both interfaces share
 * one chain, and removing one takes the rules of the other; here the second has a chain of its own.
 */
export const furtherChain = (first: string, mark: string): string => {
  const prefix = first.startsWith(PORT_MAP_PREFIX) ? PORT_MAP_PREFIX : MASQUERADE_PREFIX;
  return prefix + hash(28 - prefix.length, first, mark);
};

/** XT_MAX_COMMENT_LEN without the closing zero (linux/netfilter/xt_comment.h); names and IDs are ASCII. */
const cut = (comment: string): string => comment.slice(0, 255);

export const masqueradeComment = (network: string, containerId: string): string =>
  cut(`name: "${network}" id: "${containerId}"`);
export const portMapComment = (network: string, containerId: string): string =>
  cut(`dnat name: "${network}" id: "${containerId}"`);
export const SET_MARK_COMMENT = "CNI portfwd masquerade mark";
export const MASQUERADE_COMMENT = "CNI portfwd requiring masquerade";
export const FORWARD_COMMENT = "CNI firewall plugin rules";
export const ADMIN_COMMENT = "CNI firewall plugin admin overrides";
/** Of what all policies share, and of the rule of one policy. */
export const ingressComment = (policy: "same-bridge|isolated" | "same-bridge" | "isolated"): string =>
  `${FORWARD_COMMENT} (ingressPolicy: ${policy})`;
