import { type KnownAttachment, lastMac } from "../../cni/attachments.ts";
import { liveNetns } from "../../cni/cache.ts";
import { isNetError } from "../../errors.ts";
import type { SeenRule } from "../../firewall/seen.ts";
import { isAlive, OWN_NETNS } from "../../netstate/alive.ts";
import { compareFirewalls, type ComparedFirewalls } from "../../netstate/compare-firewalls.ts";
import { backendsOf, healthOf } from "../../netstate/health.ts";
import type { NetObject } from "../../netstate/model.ts";
import { markOf } from "../../netstate/owner.ts";
import { seeRules } from "../../netstate/seen-rules.ts";
import { openSpaces, type Spaces } from "../../netstate/spaces.ts";
import { readSysctl } from "../../sys/sysctl.ts";
import { portsOf, type Port } from "../ps/entry.ts";
import { type LostAttachment, whyLost } from "../ps/lost.ts";
import type { Description, Dns, ShownRule, Station } from "./description.ts";
import { followPath } from "./path.ts";

/** Describes one attachment from the live kernel; its records say where to look, and what differs from them. */
const MOST_FINDINGS = 100;

export async function describeAttachment(a: KnownAttachment): Promise<Description> {
  using comparing = await compareFirewalls(backendsOf(a.records));
  const health = await healthOfAll(a, comparing);
  const marks = marksOf(a);
  using spaces = openFor(a);
  const path = followPath({
    spaces,
    ifname: a.ifname,
    named: movedByOthers(a) ? "by others" : "by us",
    marks: [...marks.keys()],
    gateways: objectsOf(a).flatMap((o) => (o.kind === "vlan-gateway" ? [o.name] : [])),
  });
  const seen = seeRules(a.records, new Set(marks.keys()), comparing);
  const { key, network, containerId, ifname, plugins } = a;
  return {
    key,
    network,
    containerId,
    ifname,
    netns: a.netns ?? null,
    plugins,
    since: a.since === undefined ? null : new Date(a.since).toISOString(),
    ...health,
    dns: dnsOf(a),
    path,
    ports: portsOf(a).map((p) => ({ ...p, live: seen.some((rule) => maps(rule, p)) })),
    rules: seen.map((rule) => shown(rule, marks)),
    forwarding: forwardingFor(path),
  };
}

/** Describes what carries a mark that neither a record nor the cache knows. */
export async function describeLost(lost: LostAttachment): Promise<Description> {
  using comparing = await compareFirewalls(new Set());
  using spaces = openSpaces(undefined);
  const marks = new Map([[lost.mark, lost.component]]);
  const path = followPath({ spaces, ifname: "", named: "by us", marks: [lost.mark], gateways: [] });
  return {
    key: lost.key,
    network: lost.network ?? null,
    containerId: null,
    ifname: null,
    netns: null,
    plugins: [lost.component],
    since: null,
    state: "no record",
    why: whyLost(lost.what),
    findings: [],
    dns: null,
    path,
    ports: [],
    rules: seeRules([], new Set(marks.keys()), comparing).map((rule) => shown(rule, marks)),
    forwarding: {},
  };
}

const objectsOf = (a: KnownAttachment): readonly NetObject[] =>
  a.records.flatMap((r) => r.state?.objects ?? []);

/** The marks that its plugins have or would have, with the plugin's type. */
const marksOf = ({
  network,
  containerId,
  ifname,
  plugins,
  records,
}: KnownAttachment): ReadonlyMap<string, string> =>
  new Map(
    [...new Set([...plugins, ...records.map((r) => r.owner.component)])].map((component) => [
      markOf({ component, network, containerId, ifname }),
      component,
    ]),
  );

async function healthOfAll(
  a: KnownAttachment,
  { firewalls }: ComparedFirewalls,
): Promise<Pick<Description, "state" | "why" | "findings">> {
  if (a.records.length === 0)
    return { state: "no record", why: "made by other plugins, or its record is lost", findings: [] };
  const mac = lastMac(a);
  const health = await healthOf(a.records, { firewalls, most: MOST_FINDINGS, ...(mac ? { mac } : {}) });
  return {
    state: health.state,
    why: health.state === "dead" ? health.why : null,
    findings: health.state === "broken" ? health.findings : [],
  };
}

/** Another program moves the container's interface to a namespace of its own choice, and calls it there what it likes. */
const movedByOthers = ({ records }: KnownAttachment): boolean => records[0]?.netns.path === OWN_NETNS;

/** The host, and the container if it lives. */
function openFor(a: KnownAttachment): Spaces {
  const { records, cached, netns } = a;
  const [first] = records;
  const alive = first === undefined ? cached && liveNetns(cached) : isAlive(first) && netns;
  try {
    return openSpaces(alive === false ? undefined : alive);
  } catch (e) {
    if (isNetError(e, "netns/invalid")) return openSpaces(undefined);
    throw e;
  }
}

function dnsOf({ result }: KnownAttachment): Dns | null {
  const { nameservers = [], search = [] } = result?.dns ?? {};
  return nameservers.length + search.length === 0 ? null : { nameservers, search };
}

const maps = ({ port }: SeenRule, { protocol, hostIP, hostPort, containerPort }: Port): boolean =>
  port?.protocol === protocol &&
  port.hostPort === hostPort &&
  port.containerPort === containerPort &&
  (port.hostIp ?? null) === hostIP;

function shown({ mark, port: _, ...rule }: SeenRule, marks: ReadonlyMap<string, string>): ShownRule {
  return { plugin: marks.get(mark) ?? mark, ...rule };
}

const on = (key: string): boolean => readSysctl(key)?.trim() === "1";

/** Of the families that the container has addresses of, where its packets are routed by the host. */
function forwardingFor(path: readonly Station[]): Description["forwarding"] {
  const routed = path.some((s) => s.by === "pair") && path.at(-1)?.by !== "start";
  const inside = path[0]?.addresses.filter((a) => !a.linkLocal) ?? [];
  if (!routed) return {};
  return {
    ...(inside.some((a) => !a.address.includes(":")) ? { ipv4: on("net/ipv4/ip_forward") } : {}),
    ...(inside.some((a) => a.address.includes(":")) ? { ipv6: on("net/ipv6/conf/all/forwarding") } : {}),
  };
}
