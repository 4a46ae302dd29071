/** What an event means for what the agent knows. What is to be done about it is `decide.ts`. Pure. */
import type { ObjectName, Report } from "../fabric/reconcile/report.ts";
import type { Lease, LeaseNews, NodeNews } from "../providers/flannel/registry.ts";
import { announcementInputs, announcementKey } from "./announcement.ts";
import { foldCarried, foldCarrierLost } from "./carried.ts";
import { foldCommanded } from "./commands/job.ts";
import { asFull, dueAt, failed, succeeded, withJob } from "./jobs.ts";
import type {
  AgentEvent,
  AgentState,
  JobName,
  KernelState,
  Now,
  Problem,
  Rules,
  StorePart,
} from "./model.ts";
import { appliedNews, differences } from "./nodes.ts";
import { keyOfOffer } from "./offer.ts";
import { askFirewall, foldProtected, LOOK_PAUSE_MS } from "./protected.ts";
import { foldRecalled, waitingAnew, withoutWaiting } from "./recalled.ts";
import { sameSubnets, showPublics, showSubnets } from "./show.ts";
import { bounded, type Telling, telling, type TellingCode } from "./tellings.ts";
import { hasCarrier, knownNodes } from "./view.ts";

export interface Folded {
  readonly state: AgentState;
  readonly tellings: readonly Telling[];
}
type Kind = AgentEvent["kind"];
type Of<K extends Kind> = Extract<AgentEvent, { kind: K }>;
interface Around {
  readonly now: Now;
  readonly rules: Rules;
}

/** Events of the kernel come in flocks: so long one waits for the others. */
const GATHER_MS = 30;
/** Shortest rest between two times that what is known is written for the next agent. */
const KEEP_PAUSE_MS = 5_000;

/** What became of it before does not count. */
const AT_ONCE = { failures: 0, notBefore: 0 } as const;

const only = (state: AgentState, ...tellings: readonly Telling[]): Folded => ({ state, tellings });

const handlers: { readonly [K in Kind]: (state: AgentState, event: Of<K>, around: Around) => Folded } = {
  time: (state) => only(state),
  recalled: (state, { what }, { now, rules }) => foldRecalled(state, what, now, rules),
  "config-read": readConfig,
  "config-missing": missConfig,
  "host-read": (state, { host, tookMs = 0 }, { now, rules }) => {
    const before = state.host;
    // On a router something changes all the time, and each look at its many routes takes long.
    const notBefore = now.at + Math.min(LOOK_PAUSE_MS, tookMs * 10);
    const next = withJob(succeeded(state, "host", now, rules.periods.host), "host", { notBefore });
    if (before?.key === host.key) return only(next);
    const changed = viewChanged({ ...next, host }, now);
    if (before === undefined || showPublics(before.publics) === showPublics(host.publics))
      return only(changed);
    const text = `the public address was ${showPublics(before.publics)} and is ${showPublics(host.publics)}`;
    return only(changed, telling("address-changed", text));
  },
  nodes: (state, { news }, { now }) => foldNodes(state, news, now),
  acquired: (state, { lease }, { now }) => foldAcquired(state, lease, now),
  lease: (state, { news }, { now }) => foldLease(state, news, now),
  "kernel-changed": (state, { what }, { now }) =>
    only(
      what === "rules"
        ? askFirewall(state, now.at + GATHER_MS)
        : dueAt(state, jobFor[what], now.at + GATHER_MS),
    ),
  listened: foldListened,
  "carrier-lost": (state, _, { now }) => foldCarrierLost(state, now),
  reconciled: foldReconciled,
  done: foldDone,
  commanded: (state, { report }, { now }) => foldCommanded(state, report, now),
  protected: foldProtected,
  failed: (state, { job, why }, { now }) => foldFailed(state, job, why, now),
  drain: (state) => {
    if (state.mode !== "running") return only(state);
    const text =
      state.lease === undefined
        ? "leaves the fabric; it has no subnet"
        : `leaves the fabric and gives back ${showSubnets(state.lease.node.subnets)}`;
    // That nothing is to be found later waits for nothing.
    const leaving = withJob({ ...withoutWaiting(state), mode: "draining" }, "memory", AT_ONCE);
    return only(leaving, telling("draining", text));
  },
  stop: (state, { why }) =>
    only({ ...state, mode: "stopping" }, telling("stopping", `ends because of ${why}; the data plane stays`)),
};

const jobFor = { objects: "kernel", host: "host" } as const;

const showHeard = { objects: "links, addresses and routes", rules: "firewall rules" } as const;

/** What happened while nobody listened is found by a look at everything. */
function foldListened(state: AgentState, { to, why }: Of<"listened">, { now }: Around): Folded {
  const was = state.deaf[to];
  if (was === why) return only(state);
  const { [to]: _, ...others } = state.deaf;
  if (why !== undefined) {
    const text = `the kernel does not tell of ${showHeard[to]}: ${why}; it is looked at now and then, and listened to anew`;
    return only({ ...state, deaf: { ...others, [to]: why } }, telling("kernel-deaf", text));
  }
  const heard = { ...state, deaf: others };
  const asked =
    to === "rules"
      ? askFirewall(heard, now.at)
      : dueAt(dueAt(asFull(heard), "kernel", now.at), "host", now.at);
  return only(asked, telling("kernel-heard", `the kernel tells of ${showHeard[to]} again`));
}

/** What is known after an event, and what people are told of it. */
export function fold(state: AgentState, event: AgentEvent, around: Around): Folded {
  const handler = handlers[event.kind] as (s: AgentState, e: AgentEvent, a: Around) => Folded;
  return handler(state, event, around);
}

/** The kernel is to be brought in line with what is known now. */
const viewChanged = (state: AgentState, now: Now): AgentState => dueAt(state, "kernel", now.at);

/** Who could not write is believed when something was written, whatever else answers meanwhile; the nodes speak for themselves. */
function storeUp(state: AgentState, part: StorePart, now: Now): Folded {
  const { store } = state;
  if (store.up || (part !== store.by && (part !== "lease" || store.by === "nodes"))) return only(state);
  const seconds = Math.round((now.at - store.since) / 1000);
  const next: AgentState = { ...state, store: { up: true, since: now.at } };
  return only(next, telling("store-back", `the store answers again after ${seconds} s`));
}

function storeDown(state: AgentState, part: StorePart, why: string, now: Now): Folded {
  const { store } = state;
  if (!store.up) return only({ ...state, store: { ...store, why, by: part === "lease" ? part : store.by } });
  const next: AgentState = {
    ...withoutWaiting(state),
    store: { up: false, why, since: now.at, by: part },
  };
  const text = `the store does not answer: ${why}; the data plane stays as it is`;
  return only(next, telling("store-unreachable", text));
}

/** First what the one did, then what the other did with its state. */
const then = (first: Folded, next: (state: AgentState) => Folded): Folded => {
  const second = next(first.state);
  return { state: second.state, tellings: [...first.tellings, ...second.tellings] };
};

function readConfig(state: AgentState, { text }: Of<"config-read">, { now, rules }: Around): Folded {
  return then(storeUp(succeeded(state, "config", now, rules.periods.config), "config", now), (up) => {
    if (up.config?.text === text) {
      const { refusedConfig, ...rest } = up;
      if (refusedConfig === undefined) return only(up);
      return only(rest, telling("config-loaded", "the store has the configuration again that is in use"));
    }
    if (up.refusedConfig?.text === text) return only(up);
    const read = rules.readNetwork(text);
    if (!read.ok) {
      const stays = up.config === undefined ? "" : "; the last good one stays in use";
      const next = { ...up, refusedConfig: { text, why: read.why } };
      return only(next, telling("config-refused", `the network's configuration: ${read.why}${stays}`));
    }
    const { refusedConfig: _, ...rest } = up;
    const network = read.value;
    const waiting = state.store.up ? waitingAnew(rest, now) : rest;
    const told = `network ${showSubnets(network.whole)} over ${network.transport.type}`;
    return only(
      dueAt({ ...waiting, config: { text, network } }, "host", now.at),
      telling("config-loaded", told),
    );
  });
}

function missConfig(state: AgentState, { why }: Of<"config-missing">, { now }: Around): Folded {
  return then(storeUp(failed(state, "config", now), "config", now), (up) => {
    if (up.refusedConfig?.why === why) return only(up);
    const stays = up.config === undefined ? "" : "; the last good one stays in use";
    const next = { ...up, refusedConfig: { text: undefined, why } };
    return only(next, telling("config-missing", `the store has ${why}${stays}`));
  });
}

function foldNodes(state: AgentState, news: NodeNews, now: Now): Folded {
  if (news.kind === "failing") return storeDown(state, "nodes", news.why, now);
  if (news.kind === "back") return storeUp(state, "nodes", now);
  const heard = withJob(state, "nodes", { failures: 0 });
  const isUnwatched = news.kind === "all" && news.unwatched !== undefined;
  const asked = isUnwatched ? storeDown(heard, "nodes", news.unwatched, now) : storeUp(heard, "nodes", now);
  return then(asked, (up) => {
    const before = knownNodes(up);
    const nodes = appliedNews(before, news);
    const next = viewChanged({ ...up, nodes }, now);
    const came = before === undefined ? [] : differences(before, nodes, news, up.self?.id);
    if (up.nodes !== undefined) return { state: next, tellings: came };
    const listed = telling("nodes-listed", `the store has ${nodes.size} nodes`);
    if (up.recalled === undefined) return only(next, listed, ...came);
    // A view of nodes that were known before is none; and what the host announces was not asked of the store until now.
    const { view: _, ...fresh } = withJob(withoutWaiting(next), "host", { due: now.at, notBefore: 0 });
    return only(fresh, listed, ...came);
  });
}

function foldAcquired(state: AgentState, lease: Lease, now: Now): Folded {
  const { lease: inputs, ...doing } = state.doing;
  const before = state.self?.subnets ?? state.before;
  return then(storeUp(succeeded({ ...state, doing }, "lease", now), "lease", now), (up) => {
    const { subnets } = lease.node;
    const again = up.lease !== undefined && sameSubnets(up.lease.node.subnets, subnets);
    // The lease that was held until now is another one, if only by what it announces.
    const joined = up.config ?? up.joined;
    const { recalled: _, ...own } = withoutLease(up);
    const held: AgentState = {
      ...own,
      lease,
      self: lease.node,
      ...(joined === undefined ? {} : { joined }),
    };
    // What changed while it was asked for is announced next.
    const announced = inputs === announcementInputs(up) ? announcementKey(held) : undefined;
    const next = announced === undefined ? held : { ...held, announced };
    const until = lease.expires === undefined ? "" : `, until ${new Date(lease.expires).toISOString()}`;
    const text = `${showSubnets(subnets)} is this host's${until}`;
    const tellings = [telling("lease-acquired", again ? `${text}; announced anew` : text)];
    if (before === undefined || sameSubnets(before, subnets))
      return { state: viewChanged(next, now), tellings };
    tellings.push(
      telling(
        "subnet-changed",
        `the subnet was ${showSubnets(before)} and is ${showSubnets(subnets)}: containers that run keep their ` +
          "addresses, which other hosts no longer reach; new ones come from the new subnet",
      ),
    );
    return { state: viewChanged(unseen(next, now), now), tellings };
  });
}

/**
 * The host is to be looked at before anything else is made of it: a bridge may have come up since the last look with
 * the subnet that another host has now, and no route may lead its containers away.
 */
function unseen(state: AgentState, now: Now): AgentState {
  const { host: _, ...rest } = state;
  return withJob(rest, "host", { due: now.at, notBefore: 0 });
}

function foldLease(state: AgentState, news: LeaseNews, now: Now): Folded {
  if (state.lease === undefined) return only(state);
  if (news.kind === "failing") return storeDown(state, "lease", news.why, now);
  if (news.kind === "renewed")
    return then(storeUp(state, "lease", now), (up) =>
      only({ ...up, lease: news.lease, self: news.lease.node }),
    );
  const text = `${showSubnets(state.lease.node.subnets)} is no longer this host's: ${news.why}`;
  return then(storeUp(state, "lease", now), (up) => only(withoutLease(up), telling("lease-lost", text)));
}

/** Nothing is held any longer; what this host was stays known. */
function withoutLease(state: AgentState): AgentState {
  const { lease: _, announced: __, ...rest } = state;
  return withJob(rest, "hold", { running: false, failures: 0, notBefore: 0 });
}

function foldReconciled(
  state: AgentState,
  { report, tookMs }: Of<"reconciled">,
  { now, rules }: Around,
): Folded {
  const done = withJob(succeeded(state, "kernel", now, rules.periods.kernel), "kernel", {
    // However large the fabric is, looking at the kernel takes a part of the time only.
    notBefore: now.at + Math.min(500, tookMs * 4),
  });
  const retried =
    report.retryInMs === undefined ? done : dueAt(done, "kernel", now.at + Math.ceil(report.retryInMs));
  const { kernel, lease, view } = state;
  const member = kernel.goal === "member";
  // What it was begun for: the subnet may have become another one meanwhile.
  const isForLease = member && lease !== undefined && view?.self.id === lease.node.id && hasCarrier(state);
  // What is held is not tried, and a look at what changed alone does not come by it.
  const someWait = report.waiting > 0 || (!report.full && report.retryInMs !== undefined);
  const problems = report.failures.map((f) => ({ what: nameOf(f), why: f.error.message }));
  const fights = report.fights.map(nameOf);
  const next: AgentState = {
    ...retried,
    kernel: {
      ...retried.kernel,
      fights,
      problems: mergedProblems(kernel.problems, problems, someWait),
      empty: !member && problems.length === 0 && report.waiting === 0,
      ...(isForLease ? { triedFor: lease.node.id } : {}),
    },
  };
  return { state: next, tellings: tellReport(kernel, next.kernel, report) };
}

/** What was refused before and waits for the next try is still a problem. */
const mergedProblems = (
  before: readonly Problem[],
  now: readonly Problem[],
  someWait: boolean,
): readonly Problem[] => {
  const fresh = new Set(now.map(({ what }) => what));
  return someWait ? [...before.filter(({ what }) => !fresh.has(what)), ...now] : now;
};

const nameOf = ({ object, key }: ObjectName): string => `${object} ${key}`;
const showProblem = ({ what, why }: Problem): string => `${what}: ${why}`;

function tellReport(before: KernelState, after: KernelState, report: Report): readonly Telling[] {
  const repaired = report.changes
    .filter(({ action }) => action === "repaired")
    .map((c) => telling("kernel-repaired", `${nameOf(c)} was changed or removed, and is right again`));
  const adopted = report.changes.filter(({ action }) => action === "adopted").length;
  const was = new Set(before.problems.map(showProblem));
  const failures = after.problems
    .map(showProblem)
    .filter((text) => !was.has(text))
    .map((text) => telling("kernel-failed", text));
  const fought = report.fights
    .filter((f) => !before.fights.includes(nameOf(f)))
    .map((f) =>
      telling(
        "kernel-fight",
        `${nameOf(f)} was changed ${f.repairs} times within a minute: somebody else manages it; it is put right less often`,
      ),
    );
  const peace = before.fights
    .filter((what) => !after.fights.includes(what))
    .map((what) => telling("kernel-peace", `${what} stays as it should be`));
  return [
    ...(adopted > 0
      ? [telling("kernel-adopted", `${adopted} objects were there already and are taken over`)]
      : []),
    ...bounded(repaired, "objects"),
    ...bounded(fought, "objects"),
    ...bounded(peace, "objects"),
    ...bounded(failures, "problems"),
    ...(was.size > 0 && after.problems.length === 0
      ? [telling("kernel-right", "the kernel has again what it should")]
      : []),
  ];
}

function foldDone(state: AgentState, event: Of<"done">, { now, rules }: Around): Folded {
  if (event.job === "carrier") return foldCarried(state, event.forwarder, now, rules);
  const { job } = event;
  if (job === "release") {
    if (state.lease === undefined) return only(succeeded(state, job, now));
    const text = `${showSubnets(state.lease.node.subnets)} is given back`;
    return then(storeUp(succeeded(state, job, now), "lease", now), (up) =>
      only(withoutLease(up), telling("lease-released", text)),
    );
  }
  if (job === "memory") {
    const { keeping, ...rest } = withJob(succeeded(state, job, now), job, {
      notBefore: state.mode === "running" ? now.at + KEEP_PAUSE_MS : 0,
    });
    return only(keeping === undefined ? rest : { ...rest, kept: keeping });
  }
  const { file: done, ...doing } = state.doing;
  const next = { ...succeeded(state, job, now, rules.periods.host), doing };
  if (done === undefined || done === state.published) return only(next);
  const known = { ...next, published: done };
  if (done === keyOfOffer(undefined))
    return only(known, telling("file-removed", "new containers find no subnet on this host"));
  const subnets = state.lease === undefined ? "its subnet" : showSubnets(state.lease.node.subnets);
  return only(known, telling("file-written", `new containers get addresses of ${subnets}`));
}

const failing: { readonly [J in Exclude<JobName, "config" | "nodes" | "hold" | "release">]: TellingCode } = {
  host: "host-unclear",
  lease: "lease-refused",
  kernel: "kernel-failed",
  carrier: "carrier-failed",
  commands: "command-failed",
  file: "file-failed",
  memory: "memory-failed",
  firewall: "firewall-failed",
};

function foldFailed(state: AgentState, job: JobName, why: string, now: Now): Folded {
  // After a loss nothing is held, and that it ends is no news.
  if (job === "hold" && state.lease === undefined) return only(withJob(state, job, { running: false }));
  const next = failed(state, job, now);
  if (job === "config" || job === "nodes") return storeDown(next, job, why, now);
  if (job === "hold" || job === "release") return storeDown(next, "lease", why, now);
  if (state.complaints[job] === why) return only(afterFailure(next, job));
  return only(
    afterFailure({ ...next, complaints: { ...next.complaints, [job]: why } }, job),
    telling(failing[job], why),
  );
}

function afterFailure(state: AgentState, job: JobName): AgentState {
  // What failed must be done again, whatever it had done before.
  if (job === "file") {
    const { published: _, ...rest } = state;
    return rest;
  }
  if (job === "firewall") {
    const { protected: _, ...rest } = state;
    return rest;
  }
  if (job === "carrier") {
    const { carried: _, carrying: __, forwarder: ___, ...rest } = state;
    return rest;
  }
  if (job === "commands") {
    const { done: _, doing: __, ...commands } = state.commands;
    return { ...state, commands };
  }
  if (job === "memory") {
    const { kept: _, keeping, ...rest } = state;
    // That something could not be written says nothing about its removal.
    return state.mode === "draining" && keeping !== "nothing" ? withJob(rest, job, AT_ONCE) : rest;
  }
  return job === "kernel" ? asFull(state) : state;
}
