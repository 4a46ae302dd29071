/**
 * What a server granted, as a result: a function of the terms alone. Option 121 stands for all routes when it is there,
 * otherwise option 33 and a default route through the first router.
 */
import type { Dns, Result, ResultIp, ResultRoute } from "../../../cni/result.ts";
import { decodeAs, parsed } from "../../../cni/json.ts";
import type { Terms, Terms4, Via } from "../../../dhcp/model.ts";
import { defaultRoute, type Ip, type IpPrefix, parseIp, parsePrefix } from "../../../net/ip.ts";

const WHAT = "lease of the DHCP daemon";
const ip = (text: string): Ip => decodeAs(WHAT, parsed(parseIp), text);
const prefix = (text: string): IpPrefix => decodeAs(WHAT, parsed(parsePrefix), text);

/** RT_SCOPE_LINK (linux/rtnetlink.h): the destination is on the link. */
const SCOPE_LINK = 253;

/** One result of all families. `priority` is the metric of the routes. */
export function resultOf(terms: readonly Terms[], priority?: number): Result {
  return {
    interfaces: [],
    ips: terms.map(addressOf),
    routes: terms.flatMap((t) => (t.family === 4 ? routesOf(t, priority) : [])),
    dns: dnsOf(terms),
  };
}

function addressOf(terms: Terms): ResultIp {
  const address = prefix(terms.address);
  const gateway = terms.family === 4 ? gatewayOf(terms) : undefined;
  return gateway === undefined ? { address } : { address, gateway };
}

/** With option 121 the routers of option 3 do not count (RFC 3442): the gateway is that of its default route. */
function gatewayOf({ classlessRoutes, routers }: Terms4): Ip | undefined {
  const everything = defaultRoute(4).text;
  const [first] = classlessRoutes
    ? classlessRoutes.flatMap((r) => (r.dst === everything && r.gw ? [r.gw] : []))
    : routers;
  return first === undefined ? undefined : ip(first);
}

function routesOf(terms: Terms4, priority: number | undefined): readonly ResultRoute[] {
  const [router] = terms.routers;
  const usual: readonly Via[] = router === undefined ? [] : [{ dst: defaultRoute(4).text, gw: router }];
  const all = terms.classlessRoutes ?? [...terms.staticRoutes, ...usual];
  return all.map(({ dst, gw }) => ({
    dst: prefix(dst),
    ...(gw === undefined ? { scope: SCOPE_LINK } : { gw: ip(gw) }),
    ...(terms.mtu === undefined ? {} : { mtu: terms.mtu }),
    ...(priority === undefined ? {} : { priority }),
  }));
}

function dnsOf(terms: readonly Terms[]): Dns {
  const nameservers = [...new Set(terms.flatMap((t) => t.nameservers))];
  const search = [...new Set(terms.flatMap((t) => t.search))];
  const domain = terms.flatMap((t) => (t.family === 4 && t.domain !== undefined ? [t.domain] : []))[0];
  return {
    ...(nameservers.length > 0 ? { nameservers } : {}),
    ...(domain === undefined ? {} : { domain }),
    ...(search.length > 0 ? { search } : {}),
  };
}
