import type { KnownAttachment } from "../../cni/attachments.ts";
import { foldKeys, isObject } from "../../cni/json.ts";
import type { FirewallRule } from "../../firewall/model.ts";
import { isUnspecified, prefix } from "../../net/ip.ts";
import type { Finding, Health } from "../../netstate/health.ts";

/**
 * One attachment as `heddle ps --json` prints it, and what of it comes from a record or from the cache. Names and meanings
 * of the keys stay; more may come. docs/command-line.md describes them.
 */
export interface Entry {
  readonly key: string;
  readonly network: string | null;
  readonly containerId: string | null;
  readonly ifname: string | null;
  readonly netns: string | null;
  readonly plugins: readonly string[];
  readonly addresses: readonly string[];
  readonly ports: readonly Port[];
  /** As ISO 8601 in UTC. */
  readonly since: string | null;
  readonly state: State;
  /** Why it is dead, or what is known without a record. */
  readonly why: string | null;
  readonly findings: readonly Finding[];
}

export type State = Health["state"] | "no record";

export interface Port {
  readonly protocol: string;
  /** Null: every address of the host. */
  readonly hostIP: string | null;
  readonly hostPort: number;
  readonly containerPort: number;
}

/**
 * Addresses of the container's interface, as ADD gave them. A runtime that puts them there itself, as Docker does, gave them
 * to us for rules.
 */
export function addressesOf({ records, result, ifname }: KnownAttachment): readonly string[] {
  const recorded = records.flatMap((r) =>
    (r.state?.objects ?? []).flatMap((o) =>
      o.kind === "address" && o.place === "container" && o.link === ifname ? [o.address.text] : [],
    ),
  );
  if (recorded.length > 0) return [...new Set(recorded)];
  if (result === undefined) return [...new Set(rulesOf(records).flatMap(addressOfRule))];
  const inside = (at: number | undefined): boolean =>
    at === undefined || (result.interfaces[at]?.sandbox ?? "") !== "";
  return result.ips.filter((ip) => inside(ip.interface)).map((ip) => ip.address.text);
}

const rulesOf = (records: KnownAttachment["records"]): readonly FirewallRule[] =>
  records.flatMap((r) =>
    (r.state?.objects ?? []).flatMap((o) => (o.kind === "firewall" ? o.state.rules : [])),
  );

const addressOfRule = (rule: FirewallRule): readonly string[] =>
  rule.kind === "masquerade" ? [prefix(rule.address, rule.subnet.bits).text] : [];

/** Ports of the host that lead to the container. */
export function portsOf({ records, cached }: KnownAttachment): readonly Port[] {
  const mappings = rulesOf(records).filter((rule) => rule.kind === "port-mapping");
  const ports =
    records.length > 0
      ? mappings.map((m) => ({
          protocol: m.protocol,
          hostIP: m.hostIp === undefined || isUnspecified(m.hostIp) ? null : m.hostIp.text,
          hostPort: m.hostPort,
          containerPort: m.targetPort,
        }))
      : askedPorts(cached?.capabilityArgs?.["portMappings"]);
  // A port of every address is mapped once for each family.
  return [...new Map(ports.map((p) => [showPort(p), p])).values()];
}

const MAPPING = ["hostPort", "containerPort", "protocol", "hostIP"] as const;
const EVERY: readonly string[] = ["", "0.0.0.0", "::"];

function askedPorts(asked: unknown): readonly Port[] {
  if (!Array.isArray(asked)) return [];
  return asked.filter(isObject).flatMap((m) => {
    // Runtimes write the keys in either case, and plugins read them so.
    const { hostPort, containerPort, protocol, hostIP } = foldKeys(m, MAPPING);
    if (typeof hostPort !== "number" || typeof containerPort !== "number") return [];
    return [
      {
        protocol: typeof protocol === "string" ? protocol.toLowerCase() : "tcp",
        hostIP: typeof hostIP === "string" && !EVERY.includes(hostIP) ? hostIP : null,
        hostPort,
        containerPort,
      },
    ];
  });
}

/** `127.0.0.1:8080->80/tcp`. */
export function showPort({ hostIP, hostPort, containerPort, protocol }: Port): string {
  const ip = hostIP === null ? "" : hostIP.includes(":") ? `[${hostIP}]:` : `${hostIP}:`;
  return `${ip}${hostPort}->${containerPort}/${protocol}`;
}
