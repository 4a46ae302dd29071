import { type Decode, flag, integer, invalid, list, object, parsed, refined } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { type Family, type Ip, isUnspecified, parseIp } from "../../../net/ip.ts";
import { LAST_TABLE } from "../../shared/tables.ts";

/** The keys of `sbr`. */
export interface SbrConfig {
  /** The table that rules lead to; its routes are somebody else's. Absent: each address gets one of its own. */
  readonly table?: number;
  /** In place of those of the previous result. */
  readonly gateways: ReadonlyMap<Family, Ip>;
  readonly addSourceHints: boolean;
}

const gateway: Decode<Ip> = (value, at) => {
  const ip = parsed(parseIp)(value, at);
  return isUnspecified(ip) ? invalid(at, `${ip.text} is the address of nobody`) : ip;
};

const gateways = refined(list(gateway), (ips, at) => {
  const found = new Map<Family, Ip>();
  for (const [i, ip] of ips.entries()) {
    const other = found.get(ip.family);
    if (other)
      invalid(`${at}[${i}]`, `${ip.text} is a second IPv${ip.family} gateway; ${other.text} is the first`);
    found.set(ip.family, ip);
  }
  return found;
});

export const options = object({
  table: integer({ min: 1, max: LAST_TABLE }),
  gateways,
  addSourceHints: flag,
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): SbrConfig {
  const raw = options(conf.raw, "");
  return {
    ...(raw.table === undefined ? {} : { table: raw.table }),
    gateways: raw.gateways ?? new Map(),
    addSourceHints: raw.addSourceHints ?? false,
  };
}

/** Removal goes by the record, or by the addresses of the interface. */
export const parseForRemoval = (): SbrConfig => ({ gateways: new Map(), addSourceHints: false });
