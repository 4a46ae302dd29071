/** What the agent says of itself when it is asked. Plain data for JSON: its form is the API's, and versioned with it. */
import type { HostState } from "../fabric/host-state.ts";
import type { ForwarderStatus } from "../forwarder/client.ts";
import type { AgentState, KernelNews } from "./model.ts";
import { firewallFights } from "./protected.ts";
import { showPublics, showSubnets } from "./show.ts";
import { knownNodes, toldPeers } from "./view.ts";

export interface Status {
  /** True: new containers can be attached. */
  readonly ready: boolean;
  readonly mode: AgentState["mode"];
  readonly node: string;
  readonly provider: string;
  readonly version: string;
  readonly pid: number;
  /** ISO 8601 in UTC. */
  readonly since: string;
  readonly network: string | null;
  readonly transport: string | null;
  readonly subnet: string | null;
  readonly publicAddress: string | null;
  readonly externalLink: string | null;
  readonly mtuBytes: number | null;
  readonly lease: { readonly held: boolean; readonly expires: string | null };
  readonly store: { readonly up: boolean; readonly since: string; readonly why: string | null };
  /** Since when what is in use was known, ISO 8601 in UTC, until the store has answered; null: it has. */
  readonly recalled: string | null;
  /** What could not be done and is tried again, by the job's name. */
  readonly failing: readonly { readonly job: string; readonly why: string }[];
  /** Why the configuration in the store is not used; null: it is. */
  readonly configRefused: string | null;
  /** `peers`: with a process that carries packets, those that it was told of, and none after it has failed until it was told again. */
  readonly nodes: { readonly known: number; readonly peers: number; readonly troubled: number };
  /** What the process that carries packets said last, within five seconds; null: there is none, or it does not answer. */
  readonly forwarder: ForwarderStatus | null;
  /** What of the firewall is in the way and cannot be made right here: a sentence each, with what to do. */
  readonly hindrances: readonly string[];
  readonly kernel: {
    readonly problems: readonly { readonly what: string; readonly why: string }[];
    readonly fights: readonly string[];
    /** Why the kernel does not tell of what others change. */
    readonly deaf: readonly { readonly to: KernelNews; readonly why: string }[];
  };
}

export interface About {
  readonly node: string;
  readonly provider: string;
  readonly version: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

const time = (ms: number): string => new Date(ms).toISOString();

export function statusOf(state: AgentState, about: About): Status {
  const { joined, config, host, self, lease, store } = state;
  const network = (joined ?? config)?.network;
  return {
    ready: state.ready,
    mode: state.mode,
    node: about.node,
    provider: about.provider,
    version: about.version,
    pid: about.pid,
    since: time(about.startedAt),
    network: network === undefined ? null : showSubnets(network.whole),
    transport: network?.transport.type ?? null,
    subnet: self === undefined ? null : showSubnets(self.subnets),
    publicAddress: host === undefined ? null : showPublics(host.publics),
    externalLink: host?.facts.external.name ?? null,
    mtuBytes: network === undefined || host === undefined ? null : network.transport.mtuBytes(host.facts),
    lease: {
      held: lease !== undefined,
      expires: lease?.expires === undefined ? null : time(lease.expires),
    },
    store: { up: store.up, since: time(store.since), why: store.up ? null : store.why },
    recalled: state.recalled === undefined ? null : time(state.recalled.at),
    failing: Object.entries(state.complaints).map(([job, why]) => ({ job, why })),
    configRefused: state.refusedConfig?.why ?? null,
    nodes: {
      known: knownNodes(state)?.size ?? 0,
      peers: toldPeers(state),
      troubled: new Set(state.troubles.map(({ node }) => node)).size,
    },
    forwarder: state.forwarder ?? null,
    hindrances: state.hindrances,
    kernel: {
      problems: state.kernel.problems,
      fights: [...state.kernel.fights, ...firewallFights(state)],
      deaf: deafOf(state),
    },
  };
}

const deafOf = ({ deaf }: AgentState): Status["kernel"]["deaf"] =>
  (["objects", "rules"] as const).flatMap((to) => {
    const why = deaf[to];
    return why === undefined ? [] : [{ to, why }];
  });

export interface NodeRow {
  readonly id: string;
  readonly subnet: string | null;
  readonly publicAddress: string | null;
  readonly transport: string | null;
  readonly state: "this host" | "peer" | "left out";
  /** What is wrong with it. */
  readonly troubles: readonly string[];
}

export function nodesOf(state: AgentState): readonly NodeRow[] {
  const peers = new Set((state.view?.peers ?? []).map(({ id }) => id));
  const troubles = new Map<string, string[]>();
  for (const { node, code, why } of state.troubles)
    troubles.set(node, [...(troubles.get(node) ?? []), `${code}: ${why}`]);
  return [...(knownNodes(state) ?? [])].map(([id, node]) => {
    const readable = "why" in node ? undefined : node;
    return {
      id,
      subnet: readable === undefined ? null : showSubnets(readable.subnets),
      publicAddress: readable === undefined ? null : showPublics(readable.publics),
      transport: readable?.backend.type ?? null,
      state: id === state.self?.id ? "this host" : peers.has(id) ? "peer" : "left out",
      troubles: troubles.get(id) ?? [],
    };
  });
}

export interface RouteRow {
  readonly to: string;
  /** The node that has the subnet; null for a route of this host's own. */
  readonly node: string | null;
  readonly via: string | null;
  readonly link: string | null;
  /** Why it is not in the kernel; null: it is, as far as is known. */
  readonly problem: string | null;
}

export function routesOf(state: AgentState, wanted: HostState): readonly RouteRow[] {
  const owners = new Map<string, string>();
  for (const { id, subnets } of state.view?.peers ?? [])
    for (const subnet of [subnets.v4, subnets.v6]) if (subnet) owners.set(subnet.text, id);
  const problems = new Map(state.kernel.problems.map(({ what, why }) => [what, why]));
  const routes = wanted.routes.map(({ dst, gateway, link }) => ({
    to: dst.text,
    node: owners.get(dst.text) ?? null,
    via: gateway?.text ?? null,
    link: link ?? null,
    problem: problems.get(`route ${dst.text}`) ?? null,
  }));
  // Where one route takes all to a tunnel, its peers say who gets what.
  const peers = wanted.peers.flatMap(({ allowed, endpoint, link, publicKey }) =>
    allowed.map(({ text }) => ({
      to: text,
      node: owners.get(text) ?? null,
      via: endpoint.ip.text,
      link,
      problem: problems.get(`peer ${publicKey} ${link}`) ?? null,
    })),
  );
  return [...routes, ...peers];
}
