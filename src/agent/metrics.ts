/** What the agent counts and measures, in the text format of Prometheus (version 0.0.4). Pure but for the counters. */
import type { Report } from "../fabric/reconcile/report.ts";
import type { AgentState } from "./model.ts";
import type { RecordedEvent } from "./event-log.ts";
import { forwarderSamples } from "./forwarder-samples.ts";
import { firewallFights } from "./protected.ts";
import { knownNodes, toldPeers } from "./view.ts";

interface Metric {
  readonly type: "gauge" | "counter";
  readonly help: string;
  readonly labels: readonly string[];
}
const gauge = (help: string, ...labels: readonly string[]): Metric => ({ type: "gauge", help, labels });
const counter = (help: string, ...labels: readonly string[]): Metric => ({ type: "counter", help, labels });

export const metrics = {
  heddle_agent_info: gauge("1, with what runs", "version", "node", "provider", "transport"),
  heddle_agent_ready: gauge("1 if this host can take containers"),
  heddle_agent_store_up: gauge("1 if the store answered last"),
  heddle_agent_recalled: gauge("1 while the agent goes by what was known before, until the store answers"),
  heddle_agent_config_refused: gauge("1 if the store has no configuration that can be used"),
  heddle_agent_lease_expires_seconds: gauge(
    "When the lease ends, in seconds since 1970; 0: never, or there is none",
  ),
  heddle_agent_nodes: gauge(
    "Nodes in the store, and its peers: with a forwarder those that it was told of",
    "state",
  ),
  heddle_agent_troubles: gauge("What is wrong with nodes in the store", "code"),
  heddle_agent_kernel_problems: gauge("Objects that the kernel refused"),
  heddle_agent_kernel_fights: gauge("Objects that somebody else changes again and again"),
  heddle_agent_kernel_deaf: gauge("What of the kernel's events is not heard; 0: all of them are"),
  heddle_agent_firewall_hindrances: gauge("What of the firewall is in the way and cannot be mended here"),
  heddle_agent_forwarder_up: gauge("1 if the forwarder of udp answered last; absent: this host needs none"),
  heddle_agent_forwarder_packets_total: counter("Packets of containers that it has moved", "direction"),
  heddle_agent_forwarder_bytes_total: counter("Bytes of these packets", "direction"),
  heddle_agent_forwarder_segments_total: counter(
    "Packets of them that went as part of a larger one",
    "direction",
  ),
  heddle_agent_forwarder_calls_total: counter("Calls of the kernel that this took", "direction"),
  heddle_agent_forwarder_dropped_total: counter("Packets that it has dropped", "direction", "reason"),
  heddle_agent_events_total: counter("Events, by their code", "code"),
  heddle_agent_reconciles_total: counter(
    "How often the kernel was compared with what it should have",
    "kind",
  ),
  heddle_agent_reconcile_seconds_total: counter("Time that this took"),
  heddle_agent_kernel_changes_total: counter("Objects made, changed or removed in the kernel"),
  heddle_agent_kernel_repairs_total: counter("Objects that somebody had changed or removed"),
  heddle_agent_failures_total: counter("What failed and was tried again", "job"),
  process_resident_memory_bytes: gauge("Resident memory"),
  process_virtual_memory_bytes: gauge("Address space"),
  process_open_fds: gauge("Open descriptors"),
  process_start_time_seconds: gauge("When the agent began, in seconds since 1970"),
  process_cpu_seconds_total: counter("Time on processors"),
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof metrics;
export interface Sample {
  readonly name: MetricName;
  readonly labels?: readonly string[];
  readonly value: number;
}

/** What was counted since the start. */
export interface Counters {
  event(event: RecordedEvent): void;
  reconciled(report: Report, tookMs: number): void;
  failed(job: string): void;
  samples(): readonly Sample[];
}

export function makeCounters(): Counters {
  const values = new Map<string, { readonly sample: Sample; value: number }>();
  const add = (name: MetricName, by: number, ...labels: readonly string[]): void => {
    const key = `${name} ${labels.join(" ")}`;
    const known = values.get(key);
    if (known === undefined) values.set(key, { sample: { name, labels, value: 0 }, value: by });
    else known.value += by;
  };
  for (const kind of ["full", "changes"]) add("heddle_agent_reconciles_total", 0, kind);
  for (const name of ["reconcile_seconds", "kernel_changes", "kernel_repairs"] as const)
    add(`heddle_agent_${name}_total`, 0);
  return {
    event: ({ code }) => add("heddle_agent_events_total", 1, code),
    failed: (job) => add("heddle_agent_failures_total", 1, job),
    reconciled({ full, changes }, tookMs) {
      add("heddle_agent_reconciles_total", 1, full ? "full" : "changes");
      add("heddle_agent_reconcile_seconds_total", tookMs / 1000);
      add("heddle_agent_kernel_changes_total", changes.length);
      add("heddle_agent_kernel_repairs_total", changes.filter(({ action }) => action === "repaired").length);
    },
    samples: () => [...values.values()].map(({ sample, value }) => ({ ...sample, value })),
  };
}

/** What can be read off the agent at this moment. */
export function gauges(state: AgentState): readonly Sample[] {
  const { lease, troubles, kernel, deaf, store } = state;
  const byCode = new Map<string, number>();
  for (const { code } of troubles) byCode.set(code, (byCode.get(code) ?? 0) + 1);
  return [
    { name: "heddle_agent_ready", value: Number(state.ready) },
    { name: "heddle_agent_store_up", value: Number(store.up) },
    { name: "heddle_agent_recalled", value: Number(state.recalled !== undefined) },
    { name: "heddle_agent_config_refused", value: Number(state.refusedConfig !== undefined) },
    { name: "heddle_agent_lease_expires_seconds", value: Math.round((lease?.expires ?? 0) / 1000) },
    { name: "heddle_agent_nodes", labels: ["known"], value: knownNodes(state)?.size ?? 0 },
    { name: "heddle_agent_nodes", labels: ["peer"], value: toldPeers(state) },
    ...[...byCode].map(
      ([code, value]) => ({ name: "heddle_agent_troubles", labels: [code], value }) as const,
    ),
    { name: "heddle_agent_kernel_problems", value: kernel.problems.length },
    { name: "heddle_agent_kernel_fights", value: kernel.fights.length + firewallFights(state).length },
    { name: "heddle_agent_kernel_deaf", value: Object.keys(deaf).length },
    { name: "heddle_agent_firewall_hindrances", value: state.hindrances.length },
    ...forwarderSamples(state),
  ];
}

const escaped = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

/** The samples as text, each metric with its help and type. */
export function exposition(samples: readonly Sample[]): string {
  const lines: string[] = [];
  for (const [name, { type, help, labels: names }] of Object.entries(metrics) as [MetricName, Metric][]) {
    const own = samples.filter((sample) => sample.name === name);
    if (own.length === 0) continue;
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const { labels = [], value } of own) {
      const pairs = names.map((label, i) => `${label}="${escaped(labels[i] ?? "")}"`);
      lines.push(`${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}`);
    }
  }
  return `${lines.join("\n")}\n`;
}
