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
import type { Backend, IptablesOptions, PortMapping } from "../../../firewall/model.ts";
import { type Family, type Ip, isUnspecified, parseIp } from "../../../net/ip.ts";
import { backendOf } from "../../shared/config.ts";

/** The keys of `portmap` and the mappings that the runtime asks for. */
export interface PortmapConfig {
  readonly backend: Backend;
  readonly masquerade: PortMapping["masquerade"];
  readonly iptables: IptablesOptions;
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
  return {
    backend: chooseBackend(raw),
    masquerade: snat ? (raw.masqAll ? "all" : "local") : "none",
    iptables: {
      ...(raw.markMasqBit === undefined ? {} : { markMasqBit: raw.markMasqBit }),
      ...(raw.externalSetMarkChain ? { externalSetMarkChain: raw.externalSetMarkChain } : {}),
      ...(raw.conditionsV4 ? { conditionsV4: raw.conditionsV4 } : {}),
      ...(raw.conditionsV6 ? { conditionsV6: raw.conditionsV6 } : {}),
    },
    mappings,
  };
}

/** Removal goes by the record and the marks; the mappings of the configuration play no part in it. */
export function parseForRemoval(conf: NetConf): PortmapConfig {
  try {
    return parseConfig(conf);
  } catch {
    return { backend: "nftables", masquerade: "local", iptables: {}, mappings: [] };
  }
}

/** A condition of iptables begins with a dash or an exclamation mark. */
const speaksIptables = (words: readonly string[] | undefined): boolean => /^[-!]/.test(words?.[0] ?? "");

/** nftables, unless the configuration says iptables or uses what only iptables has. */
function chooseBackend(raw: Raw): Backend {
  const conditions = { conditionsV4: raw.conditionsV4, conditionsV6: raw.conditionsV6 };
  const foreign = Object.entries(conditions).find(([, words]) => words?.length && !speaksIptables(words));
  if (foreign)
    throw new NetError("config/unsupported", {
      field: foreign[0],
      value: JSON.stringify(foreign[1]),
      why: "conditions are words of iptables here; those of nft would hold for every container of the host",
    });
  const only = ["markMasqBit", "externalSetMarkChain"] as const;
  const key =
    Object.entries(conditions).find(([, words]) => words?.length)?.[0] ??
    only.find((k) => raw[k] !== undefined && raw[k] !== "");
  if (key !== undefined && raw.backend === "nftables")
    throw new NetError("config/unsupported", {
      field: key,
      value: "set",
      why: 'belongs to the backend "iptables"',
    });
  return key === undefined ? backendOf(raw.backend) : "iptables";
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
