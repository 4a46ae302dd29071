/**
 * Who owns what: the names that records and kernel objects carry. They are hashes, because container IDs and network
 * names have no bound in length while kernel names do.
 */
export interface Owner {
  /** The plugin's type, or the agent and its provider instance. */
  readonly component: string;
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

const hash = (parts: readonly string[], hexDigits: number): string =>
  new Bun.CryptoHasher("sha256").update(parts.join("\0")).digest("hex").slice(0, hexDigits);

/** What every mark begins with. */
export const MARK_PREFIX = "heddle-";

/** What the marks of one component and one network begin with. */
export const markPrefix = (component: string, network: string): string =>
  `${MARK_PREFIX}${component}-${hash([component, network], 12)}-`;

/** The mark of one attachment: at most 127 bytes for an altname, so that a component has at most 90. */
export const markOf = (o: Owner): string =>
  `${markPrefix(o.component, o.network)}${hash([o.component, o.network, o.containerId, o.ifname], 16)}`;

/** The name of the host's end of a pair: "veth" and eight hex digits, as people know it, here from the mark. */
export const vethName = (mark: string): string => `veth${hash([mark], 8)}`;

/** The name of the link that shapes what a container sends, from the mark: it differs for each of its interfaces. */
export const shaperName = (mark: string): string => `bwp${hash([mark], 12)}`;

/** The name that a link may have between its making and its naming. */
export const passingName = (mark: string): string => `hdl${hash([mark, "link"], 12)}`;

/** The number by which routes and rules of ours are told from all others (RTPROT_*); see docs/limits.md. */
export const ROUTE_PROTOCOL = 72;

/**
 * The metric of routes that have no link of their owner's to go with: it says whose they are. 1 to 2^31; a route to a
 * single address has no other to be compared with.
 */
export const metricOf = (mark: string): number => (Number.parseInt(hash([mark, "route"], 8), 16) >>> 1) + 1;
