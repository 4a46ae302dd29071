import {
  type Decode,
  flag,
  integer,
  invalid,
  list,
  object,
  oneOf,
  parsed,
  required,
  text,
} from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import { type Condition, parseConditions } from "../../../firewall/conditions.ts";
import type { Backend, IptablesOptions, PortMapping } from "../../../firewall/model.ts";
import { type Family, type Ip, isUnspecified, parseIp } from "../../../net/ip.ts";
import { backendOf } from "../../shared/config.ts";

/** The keys of `portmap` and the mappings that the runtime asks for. */
export interface PortmapConfig {
  readonly backend: Backend;
  readonly masquerade: PortMapping["masquerade"];
  readonly iptables: IptablesOptions;
  /** What a packet has to fit to be mapped, by family; for the backend nftables. */
  readonly conditions: Partial<Readonly<Record<Family, readonly Condition[]>>>;
  readonly mappings: readonly AskedMapping[];
}

/** One entry of `runtimeConfig.portMappings`. */
export interface AskedMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: PortMapping["protocol"];
  /** `any`: every address of the host; a family: every address of that family. */
  readonly host: Ip | Family | "any";
}

const port = required(integer({ min: 1, max: 65535 }));
const protocol: Decode<PortMapping["protocol"]> = (value, at) =>
  oneOf("tcp", "udp", "sctp")(text(value, at).toLowerCase(), at);

const hostIp: Decode<AskedMapping["host"]> = (value, at) => {
  if (value === "") return "any";
  const ip = parsed(parseIp)(value, at);
  if (ip.text === "::1")
    invalid(
      at,
      "the kernel routes nothing from the IPv6 loopback to another link; map 127.0.0.1 or leave hostIP out",
    );
  return isUnspecified(ip) ? ip.family : ip;
};

const mapping = object({ hostPort: port, containerPort: port, protocol: required(protocol), hostIP: hostIp });

export const options = object({
  backend: oneOf("iptables", "nftables", ""),
  snat: flag,
  masqAll: flag,
  markMasqBit: integer({ min: 0, max: 31 }),
  externalSetMarkChain: text,
  conditionsV4: list(text),
  conditionsV6: list(text),
  runtimeConfig: object({ portMappings: list(mapping) }),
});
type Raw = ReturnType<typeof options>;

/** Throws `config/invalid` with the key, or `config/unsupported`. */
export function parseConfig(conf: NetConf): PortmapConfig {
  const raw = options(conf.raw, "");
  const snat = raw.snat ?? true;
  const mappings = (raw.runtimeConfig?.portMappings ?? []).map(({ hostIP, ...rest }) => ({
    ...rest,
    host: hostIP ?? "any",
  }));
  if (raw.markMasqBit !== undefined && raw.externalSetMarkChain)
    invalid("markMasqBit", "cannot be set together with externalSetMarkChain, which sets a mark of its own");
  refuseTwice(mappings);
  const backend = chooseBackend(raw);
  const conditions = conditionsOf(raw);
  return {
    backend,
    masquerade: snat ? (raw.masqAll ? "all" : "local") : "none",
    iptables: {
      ...(raw.markMasqBit === undefined ? {} : { markMasqBit: raw.markMasqBit }),
      ...(raw.externalSetMarkChain ? { externalSetMarkChain: raw.externalSetMarkChain } : {}),
      ...conditions.words,
    },
    conditions: conditions.read,
    mappings,
  };
}

/** Removal goes by the record and the marks; the mappings of the configuration play no part in it. */
export function parseForRemoval(conf: NetConf): PortmapConfig {
  try {
    return parseConfig(conf);
  } catch {
    return { backend: "nftables", masquerade: "local", iptables: {}, conditions: {}, mappings: [] };
  }
}

/** A condition of iptables begins with a dash or an exclamation mark. */
const speaksIptables = (words: readonly string[] | undefined): boolean => /^[-!]/.test(words?.[0] ?? "");

/** Conditions as words of iptables, passed on as they are, or as words of nft, read. */
interface Conditions {
  readonly words: Pick<IptablesOptions, "conditionsV4" | "conditionsV6">;
  readonly read: Partial<Readonly<Record<Family, readonly Condition[]>>>;
}

function conditionsOf(raw: Raw): Conditions {
  const own = (words: readonly string[] | undefined, at: string, family: Family): readonly Condition[] => {
    const parsed = parseConditions(words ?? [], family);
    return parsed.ok ? parsed.value : invalid(at, parsed.why);
  };
  const { conditionsV4: four, conditionsV6: six } = raw;
  const nft = (words: readonly string[] | undefined): boolean =>
    Boolean(words?.length) && !speaksIptables(words);
  return {
    words: {
      ...(four && !nft(four) ? { conditionsV4: four } : {}),
      ...(six && !nft(six) ? { conditionsV6: six } : {}),
    },
    read: {
      ...(nft(four) ? { 4: own(four, "conditionsV4", 4) } : {}),
      ...(nft(six) ? { 6: own(six, "conditionsV6", 6) } : {}),
    },
  };
}

/** nftables, unless the configuration says iptables or uses what only iptables has. */
function chooseBackend(raw: Raw): Backend {
  const keys = ["conditionsV4", "conditionsV6"] as const;
  const given = keys.filter((k) => raw[k]?.length);
  const byIptables = [
    ...given.filter((k) => speaksIptables(raw[k])),
    ...(["markMasqBit", "externalSetMarkChain"] as const).filter(
      (k) => raw[k] !== undefined && raw[k] !== "",
    ),
  ];
  const nft = given.find((k) => !speaksIptables(raw[k]));
  const refuse = (key: keyof Raw, why: string): never => {
    throw new NetError("config/unsupported", { field: key, value: JSON.stringify(raw[key]), why });
  };
  const [iptables] = byIptables;
  if (nft && raw.backend === "iptables")
    refuse(
      nft,
      'are words of nft: write them as iptables does ("-s", "192.0.2.0/24"), or leave "backend" out',
    );
  if (nft && iptables) refuse(nft, `are words of nft, and ${iptables} belongs to the backend "iptables"`);
  if (iptables && raw.backend === "nftables")
    refuse(
      iptables,
      given.some((k) => k === iptables)
        ? 'are words of iptables: write them as nft does ("ip saddr 192.0.2.0/24"), or set "backend": "iptables"'
        : 'belongs to the backend "iptables": remove it, or set that',
    );
  return iptables ? "iptables" : nft ? "nftables" : backendOf(raw.backend);
}

/** One port cannot lead to two places. */
function refuseTwice(mappings: readonly AskedMapping[]): void {
  const clash = (a: AskedMapping, b: AskedMapping): boolean =>
    a.protocol === b.protocol && a.hostPort === b.hostPort && meet(a.host, b.host);
  mappings.forEach((m, i) => {
    if (mappings.slice(0, i).some((earlier) => clash(earlier, m)))
      invalid(`runtimeConfig.portMappings[${i}]`, `host port ${m.hostPort}/${m.protocol} is mapped twice`);
  });
}

const familyOf = (host: Ip | Family): Family => (typeof host === "number" ? host : host.family);

function meet(a: AskedMapping["host"], b: AskedMapping["host"]): boolean {
  if (a === "any" || b === "any") return true;
  if (typeof a === "object" && typeof b === "object") return a.text === b.text;
  return familyOf(a) === familyOf(b);
}
