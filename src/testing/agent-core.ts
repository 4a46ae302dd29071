/**
 * The agent's core in tests: a clock that is told to go on, a network whose transport wants one route a peer, and a store and
 * a kernel that are well.
 */
import type { CommandReport } from "../agent/commands/runner.ts";
import type { AgentEvent, AgentState, Effect, Host, Network, Rules } from "../agent/model.ts";
import { begin, step } from "../agent/step.ts";
import type { TellingCode } from "../agent/tellings.ts";
import type { BackendData, FabricNode, UnreadableNode } from "../fabric/model.ts";
import { readCommands } from "../fabric/commands/wish.ts";
import type { Report } from "../fabric/reconcile/report.ts";
import { extensionTransport } from "../fabric/transport/extension.ts";
import { viewOf } from "../fabric/view.ts";
import { bad, good } from "../net/brand.ts";
import { parsePrefix } from "../net/ip.ts";
import type { Lease } from "../providers/flannel/registry.ts";
import { cidr, ip } from "./address.ts";

/** A transport that wants one route a peer, and draws a name once; `wireguard` needs keys. */
let drawn = 0;
const networkOf = (whole: string, type: string): Network => ({
  whole: { v4: cidr(whole) },
  key: whole,
  nftables: false,
  transport: {
    type,
    publics: "distinct",
    families: [4, 6],
    ...(type === "wireguard" ? { needsKeys: true as const } : {}),
    mtuBytes: ({ external }) => external.mtuBytes - 50,
    announce: ({ keys }, before): BackendData | undefined =>
      type === "wireguard" && keys === undefined
        ? undefined
        : (before?.backend ?? { type, v4: { name: `drawn${++drawn}` } }),
    desired: (view) => ({
      state: {
        links: [{ name: "fabric0", type: "vxlan", mtuBytes: 1450 } as never],
        tunnels: [],
        sysctls: [],
        addresses: [],
        neighbours: [],
        forwarding: [],
        peers: [],
        routes: view.peers.flatMap(({ subnets: { v4 } }) => (v4 ? [{ dst: v4, link: "fabric0" }] : [])),
      },
      troubles: [],
    }),
  },
});

/** One whose commands are `add` and, before it has a subnet, `prepare`. */
function extensionOf(whole: string): Network {
  const transport = extensionTransport();
  const { peers, telling } = transport;
  const texts = { PreStartupCommand: "prepare", SubnetAddCommand: "add $SUBNET" };
  const set = readCommands(texts, (_, why) => {
    throw new Error(why);
  });
  return { ...networkOf(whole, "extension"), transport, commands: { set, peers, telling } };
}

/** One whose packets a process carries. */
function carriedNetwork(whole: string): Network {
  const wish = { device: "fabric0", mtuBytes: 1450, listen: ip("192.0.2.1"), port: 8285, own: [], peers: [] };
  return { ...networkOf(whole, "udp"), carriage: () => wish };
}

export const rules: Rules = {
  readNetwork: (text) => {
    const [whole = "", type = ""] = text.split(" ");
    if (type === "extension") return good(extensionOf(whole));
    if (type === "udp") return good(carriedNetwork(whole));
    return parsePrefix(whole).ok && type !== "" ? good(networkOf(whole, type)) : bad("is not JSON");
  },
  viewOf,
  periods: { config: 30_000, host: 60_000, kernel: 60_000, firewall: 60_000, carrier: 5_000 },
};

export const nodeOf = (subnet: string, at: string, name = "peer"): FabricNode => ({
  id: subnet,
  subnets: { v4: cidr(subnet) },
  publics: { v4: ip(at) },
  backend: { type: "vxlan", v4: { name } },
});
export const hostAt = (at: string, locals: readonly (readonly [string, string])[] = []): Host => ({
  facts: { external: { name: "eth0", mtuBytes: 1500 }, local: { v4: ip(at) }, isDirect: () => true },
  publics: { v4: ip(at) },
  locals: locals.map(([link, p]) => ({ link, prefix: cidr(p) })),
  key: `${at} ${JSON.stringify(locals)}`,
});
const quietReport: Report = { full: true, changes: [], failures: [], fights: [], waiting: 0 };
export const reconciled = (report: Partial<Report> = {}): AgentEvent => ({
  kind: "reconciled",
  report: { ...quietReport, ...report },
  tookMs: 1,
});
export const commanded = (report: Partial<CommandReport> = {}): AgentEvent => ({
  kind: "commanded",
  report: { said: "", started: true, more: false, clear: false, failures: [], givenUp: [], ...report },
});
export const CONFIG = "10.0.0.0/16 vxlan";

/** An agent with a clock: tells events, and keeps what was wanted and told since the last look. */
export function agent(before?: string, commandsLeft = false) {
  let at = 1_000_000;
  let state: AgentState = begin(at, before === undefined ? undefined : { v4: cidr(before) }, commandsLeft);
  let wakeAt = at;
  let effects: Effect[] = [];
  const tell = (event: AgentEvent): void => {
    const done = step(state, event, { at, chance: 0.5 }, rules);
    state = done.state;
    wakeAt = done.wakeAt;
    effects.push(...done.effects);
  };
  const look = () => {
    const seen = effects;
    effects = [];
    return seen;
  };
  return {
    tell,
    get state() {
      return state;
    },
    /** Knows from now on what it otherwise would have learnt. */
    change: (how: (before: AgentState) => AgentState): void => {
      state = how(state);
    },
    get wakeAt() {
      return wakeAt - at;
    },
    /** Lets time pass, event by event. */
    pass(ms: number): void {
      const end = at + ms;
      while (wakeAt <= end && wakeAt >= at) {
        at = Math.max(at, wakeAt);
        tell({ kind: "time" });
      }
      at = end;
    },
    /** Kinds of what was wanted since the last look, tellings by their code. */
    wanted: (): readonly string[] =>
      look().map((e) =>
        e.kind === "tell" ? e.telling.code : e.kind === "ready" ? `ready=${e.ready}` : e.kind,
      ),
    told: (): readonly TellingCode[] => look().flatMap((e) => (e.kind === "tell" ? [e.telling.code] : [])),
    find: <K extends Effect["kind"]>(kind: K): Extract<Effect, { kind: K }> | undefined =>
      effects.find((e): e is Extract<Effect, { kind: K }> => e.kind === kind),
    look,
  };
}
type Agent = ReturnType<typeof agent>;

export const leaseOf = (subnet: string, at = "192.0.2.1", backend?: BackendData): Lease => {
  const node = nodeOf(subnet, at, "own");
  return { node: backend === undefined ? node : { ...node, backend } };
};

/** Answers everything that is asked for as a host and a store do that are well, and returns what was wanted. */
export function serve(
  a: Agent,
  lease: Lease,
  nodes: readonly (FabricNode | UnreadableNode)[] = [],
  host?: Host,
): void {
  const answers: Partial<Record<Effect["kind"], AgentEvent>> = {
    "read-config": { kind: "config-read", text: CONFIG },
    "look-at-host": { kind: "host-read", host: host ?? hostAt("192.0.2.1") },
    "watch-nodes": { kind: "nodes", news: { kind: "all", nodes } },
    acquire: { kind: "acquired", lease },
    reconcile: reconciled(),
    publish: { kind: "done", job: "file" },
    carry: { kind: "done", job: "carrier" },
    command: commanded(),
    protect: { kind: "protected", mended: [] },
    remember: { kind: "done", job: "memory" },
    release: { kind: "done", job: "release" },
  };
  a.tell({ kind: "time" });
  for (let effects = a.look(); effects.length > 0; effects = a.look())
    for (const { kind } of effects) {
      const answer = answers[kind];
      if (answer !== undefined) a.tell(answer);
    }
}
export function member(subnet = "10.0.1.0/24", nodes: readonly (FabricNode | UnreadableNode)[] = []): Agent {
  const a = agent();
  serve(a, leaseOf(subnet), nodes);
  if (!a.state.ready) throw new Error("the agent did not become ready");
  return a;
}
