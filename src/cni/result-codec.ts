/**
 * Results as text: reads every version's form into the one `Result` in memory and prints every version's form
 * from it, with the keys, their order and the layout that the Go library prints. Converting is reading and printing.
 */
import { NetError } from "../errors.ts";
import { type Ip, type IpPrefix, parseIp, parsePrefix } from "../net/ip.ts";
import {
  type Always,
  type Decode,
  decodeAs,
  integer,
  isObject,
  type JsonObject,
  list,
  object,
  parseJson,
  parsed,
  required,
  text,
} from "./json.ts";
import {
  type Dns,
  emptyResult,
  type Result,
  type ResultInterface,
  type ResultIp,
  type ResultRoute,
} from "./result.ts";
import { atLeast, knownVersion, type Version, versions } from "./version.ts";

const ip: Decode<Ip> = parsed(parseIp);
const prefix: Decode<IpPrefix> = parsed(parsePrefix);
const count = integer({ min: 0, max: 0xffffffff });

// Old plugins print an empty string where there is no gateway, no name or no namespace.
const unlessEmpty =
  <T>(decode: Decode<T>): Decode<T | undefined> =>
  (value, at) =>
    value === "" ? undefined : decode(value, at);

/** Drops what is undefined, so that optional keys are absent. */
type Defined<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> };
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as Defined<T>;
}

/** The `dns` object of results and configurations. */
export const dnsFields: Decode<Dns> = object({
  nameservers: list(text),
  domain: text,
  search: list(text),
  options: list(text),
});

/** One route as results and IPAM configurations write it. */
export const routeFields: Decode<ResultRoute> = (value, at) => defined(routeShape(value, at));
const routeShape = object({
  dst: required(prefix),
  gw: unlessEmpty(ip),
  mtu: count,
  advmss: count,
  priority: count,
  table: count,
  scope: count,
});

const interfaceShape = object({
  name: required(text),
  mac: unlessEmpty(text),
  mtu: count,
  sandbox: unlessEmpty(text),
  socketPath: unlessEmpty(text),
  pciID: unlessEmpty(text),
});
const interfaceFields: Decode<ResultInterface> = (value, at) => defined(interfaceShape(value, at));

const ipShape = object({ interface: count, address: required(prefix), gateway: unlessEmpty(ip) });
const ipFields: Decode<ResultIp> = (value, at) => defined(ipShape(value, at));

const maybe = <T>(decode: Decode<T>, empty: T): Always<T> => ({ decode, otherwise: () => empty });

const currentFields: Decode<Result> = object({
  interfaces: maybe(list(interfaceFields), []),
  ips: maybe(list(ipFields), []),
  routes: maybe(list(routeFields), []),
  dns: maybe(dnsFields, {}),
});

const familyFields = object({
  ip: required(prefix),
  gateway: unlessEmpty(ip),
  routes: maybe(list(routeFields), []),
});
const oldShape = object({ ip4: familyFields, ip6: familyFields, dns: maybe(dnsFields, {}) });
const oldFields: Decode<Result> = (value, at) => {
  const { ip4, ip6, dns } = oldShape(value, at);
  const families = [ip4, ip6].filter((f) => f !== undefined);
  return {
    interfaces: [],
    ips: families.map((f) => defined({ address: f.ip, gateway: f.gateway })),
    routes: families.flatMap((f) => f.routes.map((r) => defined({ dst: r.dst, gw: r.gw }))),
    dns,
  };
};

const versionShape = object({ cniVersion: text });

/** The versions that share one form: 0.1 and 0.2, 0.3 and 0.4, 1.0 and 1.1. */
const formOf = (version: Version): 0 | 1 | 2 =>
  atLeast(version, "1.0.0") ? 2 : atLeast(version, "0.3.0") ? 1 : 0;

/**
 * A result of any version. One without a version has the version of the configuration; `null` is an empty result,
 * which old plugins print.
 * @throws decode/malformed, version/conversion if its version is unknown
 */
export function decodeResult(value: unknown, configVersion: Version): Result {
  if (value === null || value === undefined) return emptyResult;
  const version = versionOf(value, configVersion);
  return decodeAs("CNI result", formOf(version) === 0 ? oldFields : currentFields, value);
}

function versionOf(value: unknown, configVersion: Version): Version {
  const said = decodeAs("CNI result", versionShape, value).cniVersion;
  const version = said === undefined || said === "" ? configVersion : knownVersion(said);
  if (version === undefined)
    throw new NetError("version/conversion", {
      from: said ?? "",
      to: configVersion,
      why: `no such version; known are ${versions.join(", ")}`,
    });
  return version;
}

/** As `decodeResult`, for what a plugin printed. */
export const parseResult = (source: string, configVersion: Version): Result =>
  decodeResult(parseJson(source, "CNI result"), configVersion);

/**
 * The `prevResult` of a configuration. Its version must have the same form as the configuration's.
 * @throws prev-result/invalid
 */
export function decodePrevResult(value: unknown, configVersion: Version): Result {
  try {
    if (!isObject(value))
      throw new NetError("decode/malformed", { what: "CNI result", why: "must be an object" });
    const version = versionOf(value, configVersion);
    if (formOf(version) !== formOf(configVersion))
      throw new NetError("version/conversion", {
        from: version,
        to: configVersion,
        why: "a previous result has the form of the configuration's version",
      });
    return decodeResult(value, configVersion);
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    throw new NetError("prev-result/invalid", { why: e.message }, { cause: e });
  }
}

/**
 * The result as a plain object in the form of `version`, keys in printing order. What the version cannot say is
 * left out as the Go library does: MTU, socket and PCI address of interfaces before 1.0.0, the extras of routes
 * before 0.3.0.
 * @throws version/conversion if 0.1.0 or 0.2.0 is asked for and there is no address
 */
export function encodeResult(result: Result, version: Version): JsonObject {
  const form = formOf(version);
  if (form === 0) return encodeOld(result, version);
  const dns = encodeDns(result.dns);
  return {
    cniVersion: version,
    ...unlessNone("interfaces", result.interfaces.map(form === 2 ? encodeInterface : encodePlainInterface)),
    ...unlessNone("ips", result.ips.map(form === 2 ? encodeIp : encodeVersionedIp)),
    ...unlessNone("routes", result.routes.map(encodeRoute)),
    ...(form === 1 || Object.keys(dns).length > 0 ? { dns } : {}),
  };
}

/** The text that a plugin prints: four spaces a level, no newline at the end. */
export const printResult = (result: Result, version: Version): string =>
  escapeLikeGo(JSON.stringify(encodeResult(result, version), undefined, 4));

/** Go's encoder writes these characters as escapes, so that JSON can stand inside HTML. */
const escapeLikeGo = (json: string): string =>
  json.replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

const unlessNone = (key: string, items: readonly unknown[]): JsonObject =>
  items.length > 0 ? { [key]: items } : {};

/** The entries whose value Go would not call empty. */
const filled = (o: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(o).filter(
      ([, v]) => v !== undefined && v !== "" && v !== 0 && !(Array.isArray(v) && v.length === 0),
    ),
  );

const encodePlainInterface = (i: ResultInterface): JsonObject => ({
  name: i.name,
  ...filled({ mac: i.mac, sandbox: i.sandbox }),
});
const encodeInterface = (i: ResultInterface): JsonObject => ({
  name: i.name,
  ...filled({ mac: i.mac, mtu: i.mtu, sandbox: i.sandbox, socketPath: i.socketPath, pciID: i.pciID }),
});

const encodeIp = (i: ResultIp): JsonObject => ({
  ...(i.interface === undefined ? {} : { interface: i.interface }),
  address: i.address.text,
  ...(i.gateway === undefined ? {} : { gateway: i.gateway.text }),
});
const encodeVersionedIp = (i: ResultIp): JsonObject => ({
  version: `${i.address.ip.family}`,
  ...encodeIp(i),
});

// A table or scope of 0 says something ("unspecified", "global"); a 0 of the others says nothing.
const encodeRoute = (r: ResultRoute): JsonObject => ({
  dst: r.dst.text,
  ...filled({ gw: r.gw?.text, mtu: r.mtu, advmss: r.advmss, priority: r.priority }),
  ...(r.table === undefined ? {} : { table: r.table }),
  ...(r.scope === undefined ? {} : { scope: r.scope }),
});

const encodeDns = (d: Dns): JsonObject =>
  filled({ nameservers: d.nameservers, domain: d.domain, search: d.search, options: d.options });

function encodeOld(result: Result, version: Version): JsonObject {
  const family = (n: 4 | 6): JsonObject | undefined => {
    const first = result.ips.find((i) => i.address.ip.family === n);
    if (first === undefined) return undefined;
    const routes = result.routes
      .filter((r) => r.dst.ip.family === n)
      .map((r) => ({ dst: r.dst.text, ...filled({ gw: r.gw?.text }) }));
    return {
      ip: first.address.text,
      ...filled({ gateway: first.gateway?.text }),
      ...unlessNone("routes", routes),
    };
  };
  const ip4 = family(4);
  const ip6 = family(6);
  if (ip4 === undefined && ip6 === undefined)
    throw new NetError("version/conversion", {
      from: "1.1.0",
      to: version,
      why: "no valid IP addresses, and these versions can say nothing else",
    });
  return { cniVersion: version, ...filled({ ip4, ip6 }), dns: encodeDns(result.dns) };
}
