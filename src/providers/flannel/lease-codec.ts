/**
 * A lease as flanneld writes it into the store: the subnets are the key's name, and what the host tells of itself is the
 * value. Read with suspicion, since everyone of the network may write there.
 */
import { foldKeys, isObject, parseJson } from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import type { BackendData, Json, Publics, Subnets } from "../../fabric/model.ts";
import { bad, good, type Parsed } from "../../net/brand.ts";
import {
  type Family,
  type Ip,
  type IpPrefix,
  isUnspecified,
  network,
  parseIp,
  parsePrefix,
} from "../../net/ip.ts";
import type { Announcement } from "./registry.ts";

/** Longest name of a key that can be one: an IPv4 and an IPv6 prefix. */
const NAME_LIMIT = 64;
/** What is read of a host's data of one family, in characters of JSON: WireGuard's has 60, and a command may print a lot. */
export const DATA_LIMIT = 16_384;
/** Longest value that is read, in characters: the data of both families. */
export const VALUE_LIMIT = 2 * DATA_LIMIT;
/** What stands for the IPv4 subnet where there is none: flanneld's own form of an empty one. */
const NO_IPV4 = "0.0.0.0-0";

/** The name of the key: `10.1.2.0-24`, with an IPv6 subnet `10.1.2.0-24&fd00:0:0:1::-64`. */
export function leaseName({ v4, v6 }: Subnets): string {
  const part = (p: IpPrefix): string => `${p.ip.text}-${p.bits}`;
  return `${v4 === undefined ? NO_IPV4 : part(v4)}${v6 === undefined ? "" : `&${part(v6)}`}`;
}

/** Reads the name of a key, which must be in the form that `leaseName` makes: one subnet has one name. */
export function parseLeaseName(name: string): Parsed<Subnets> {
  const parts = name.length > NAME_LIMIT ? null : /^([\d.]+-\d+)(?:&([\da-f:.]+-\d+))?$/.exec(name);
  if (parts === null) return bad("the key is not ADDRESS-LENGTH or ADDRESS-LENGTH&ADDRESS6-LENGTH");
  const [, four = "", six] = parts;
  const v4 = four === NO_IPV4 ? undefined : subnetOf(four, 4);
  const v6 = six === undefined ? undefined : subnetOf(six, 6);
  if (v4?.ok === false) return v4;
  if (v6?.ok === false) return v6;
  if (v4 === undefined && v6 === undefined) return bad("the key names no subnet");
  const subnets: Subnets = { ...(v4 && { v4: v4.value }), ...(v6 && { v6: v6.value }) };
  return leaseName(subnets) === name ? good(subnets) : bad(`the key should be ${leaseName(subnets)}`);
}

function subnetOf(text: string, family: Family): Parsed<IpPrefix> {
  const prefix = parsePrefix(text.replace("-", "/"));
  if (!prefix.ok) return prefix;
  const { ip, bits } = prefix.value;
  if (ip.family !== family || bits === 0) return bad(`${text} is no subnet of IPv${family}`);
  return network(prefix.value).ip.text === ip.text ? prefix : bad(`${text} has bits behind its length`);
}

/** JSON with the same bytes as Go's `encoding/json`: characters that mean something in HTML are escaped. */
export const jsonText = (value: Json): string =>
  JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** The value, with the keys and the order of flanneld's. */
export function leaseValue({ publics, backend }: Announcement): string {
  return jsonText({
    PublicIP: publics.v4?.text ?? "0.0.0.0",
    PublicIPv6: publics.v6?.text ?? null,
    ...(backend.type === "" ? {} : { BackendType: backend.type }),
    ...(backend.v4 === undefined ? {} : { BackendData: backend.v4 }),
    ...(backend.v6 === undefined ? {} : { BackendV6Data: backend.v6 }),
  });
}

/** Reads a value; keys are known in any case, as to flanneld. */
export function parseLeaseValue(text: string): Parsed<Announcement> {
  if (text.length > VALUE_LIMIT) return bad(`the value is longer than ${VALUE_LIMIT} characters`);
  const raw = jsonOf(text);
  if (!raw.ok) return raw;
  if (!isObject(raw.value)) return bad("the value is no JSON object");
  const m = foldKeys(raw.value, ["PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data"]);
  const v4 = publicOf(m.PublicIP, 4);
  const v6 = publicOf(m.PublicIPv6, 6);
  if (!v4.ok) return bad(`PublicIP: ${v4.why}`);
  if (!v6.ok) return bad(`PublicIPv6: ${v6.why}`);
  const type = m.BackendType ?? "";
  if (typeof type !== "string" || type.length > 64) return bad("BackendType is no name");
  const publics: Publics = { ...(v4.value && { v4: v4.value }), ...(v6.value && { v6: v6.value }) };
  const backend: BackendData = {
    type,
    ...(m.BackendData === undefined ? {} : { v4: asJson(m.BackendData) }),
    ...(m.BackendV6Data === undefined ? {} : { v6: asJson(m.BackendV6Data) }),
  };
  if (publics.v4 === undefined && publics.v6 === undefined) return bad("it has no public address");
  return good({ publics, backend });
}

function jsonOf(text: string): Parsed<unknown> {
  try {
    return good(parseJson(text, "the value"));
  } catch (e) {
    if (e instanceof NetError) return bad(e.message);
    throw e;
  }
}

function publicOf(value: unknown, family: Family): Parsed<Ip | undefined> {
  if (value === undefined) return good(undefined);
  const ip = typeof value === "string" ? parseIp(value) : bad("is no text");
  if (!ip.ok) return ip;
  if (isUnspecified(ip.value)) return good(undefined);
  return ip.value.family === family ? ip : bad(`${ip.value.text} is not of IPv${family}`);
}

/** What `JSON.parse` made is JSON. */
const asJson = (value: unknown): Json => value as Json;
