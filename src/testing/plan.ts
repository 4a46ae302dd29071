/**
 * What a plan is made from, for tests without a kernel: a configuration and a lease as JSON, facts as they would be read.
 */
import type { PlanInput } from "../cni/kernel-plugin.ts";
import type { NetConf } from "../cni/plugin.ts";
import { parseResult } from "../cni/result-codec.ts";
import { emptyResult, type Result } from "../cni/result.ts";
import { type Mac, parseMac } from "../net/mac.ts";
import { type IpPrefix, parsePrefix } from "../net/ip.ts";
import type { Facts } from "../netstate/facts.ts";
import type { NetObjectKind, NetState, Of } from "../netstate/model.ts";
import type { Link } from "../rtnl/link.ts";

type Json = Readonly<Record<string, unknown>>;

export const confOf = (type: string, raw: Json): NetConf => ({
  cniVersion: "1.1.0",
  name: "net",
  type,
  raw: { cniVersion: "1.1.0", name: "net", type, ...raw },
});

/** A result of the newest version, from the fields that matter. */
export const resultOf = (fields: Json): Result =>
  parseResult(JSON.stringify({ cniVersion: "1.1.0", ...fields }), "1.1.0");

export function mac(text: string): Mac {
  const parsed = parseMac(text);
  if (!parsed.ok) throw new TypeError(parsed.why);
  return parsed.value;
}
export function prefixOf(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (!parsed.ok) throw new TypeError(parsed.why);
  return parsed.value;
}

export const fresh = {
  hostLink: "veth00000001",
  hostMac: mac("02:00:00:00:00:01"),
  containerMac: mac("02:00:00:00:00:02"),
  bridgeMac: mac("02:00:00:00:00:03"),
  gatewayMac: mac("02:00:00:00:00:04"),
  linkIndex: 0x10000001,
} as const;

/** A link that is up, as facts have it. */
export const linkFact = (name: string, more: Partial<Link> = {}): Link => ({
  index: 7,
  name,
  altNames: [],
  mtuBytes: 1500,
  up: true,
  loopback: false,
  promiscuous: false,
  allMulticast: false,
  txQueueLength: 1000,
  operState: "up",
  ...more,
});

export const noFacts: Facts = {
  links: new Map(),
  addresses: new Map(),
  routesTo: new Map(),
  sysctls: new Map(),
  routes: new Map(),
  rules: new Map(),
  linksOf: new Map(),
  routerAdvertised: [],
};

/** The input of a plan for container `c`, interface `eth0`. */
export const inputOf = <Config>(
  config: Config,
  lease: Json | undefined,
  prevResult?: Json,
): PlanInput<Config> => ({
  config,
  conf: confOf("test", {}),
  network: "net",
  containerId: "c",
  ifname: "eth0",
  netns: "/run/netns/c",
  args: "",
  lease: lease === undefined ? emptyResult : resultOf(lease),
  ...(prevResult ? { prevResult: resultOf(prevResult) } : {}),
  fresh,
});

/** The objects of one kind. */
export const objectsOf = <K extends NetObjectKind>(state: NetState, kind: K): readonly Of<K>[] =>
  state.objects.filter((o): o is Of<K> => o.kind === kind);
