/** The agent as a process: its socket, its log on standard error, its supervisor, its signals. */
import { chmodSync, chownSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { claimHost } from "../../agent/claim.ts";
import { serveApi } from "../../agent/api-server.ts";
import { makeEventLog } from "../../agent/event-log.ts";
import type { Heard } from "../../agent/commands/runner.ts";
import { type Log, makeLog } from "../../agent/log.ts";
import { exposition, gauges, makeCounters } from "../../agent/metrics.ts";
import { hadBefore, openHost, subnetsOf } from "../../agent/ports.ts";
import { processSamples } from "../../agent/process-samples.ts";
import { openRegistry } from "../../agent/registry-of.ts";
import type { AgentSettings } from "../../agent/settings.ts";
import { type Ports, reason, runAgent, type Shell } from "../../agent/shell.ts";
import { type About, nodesOf, routesOf, statusOf } from "../../agent/status.ts";
import { tellingLevels } from "../../agent/tellings.ts";
import { version } from "../../build-info.ts";
import { fromSystem, NetError } from "../../errors.ts";
import { errnoOf, makeDirs } from "../../sys/files.ts";
import { openServiceManager } from "../../sys/service-manager.ts";
import type { UnixListener } from "../../sys/unix-listener.ts";
import { openListener } from "../../sys/unix-service.ts";
import { endingSignal, ownProgram, passedOn } from "../daemon.ts";
import { complain } from "../output.ts";
import { readAgentConfig } from "./config.ts";

/** Runs an agent with a configuration file until a signal ends it. The network stays: the next agent takes it over. */
export const runWithConfig = (file: string): Promise<void> =>
  runAgentProcess(readAgentConfig(readText(file), readText));

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (e) {
    const errno = errnoOf(e);
    if (errno === "ENOENT" || errno === "ENOTDIR" || errno === "EISDIR")
      throw new NetError("usage/invalid", { why: `there is no file ${file}` }, { cause: e });
    throw fromSystem(e);
  }
}

/** Lines that repeat are counted for so long, in milliseconds. */
const FLUSH_MS = 10_000;

/** Runs an agent until a signal ends it. `notes` are sentences for the log. */
export async function runAgentProcess(settings: AgentSettings, notes: readonly string[] = []): Promise<void> {
  if (process.platform !== "linux")
    throw new NetError("feature/missing", { feature: "heddle agent", needs: "Linux" });
  const ended = endingSignal();
  const log = makeLog({ ...settings.log, now: Date.now, write: complain });
  await using stack = new AsyncDisposableStack();
  // First of all: two agents of one host would fight.
  stack.use(claimHost(settings));
  const listener = await listenForQuestions(settings, stack);
  log.line({ level: "info", code: "started", text: `heddle ${version} as the agent of ${settings.node}` });
  for (const note of notes) log.line({ level: "warning", code: "setting", text: note });

  const startedAt = Date.now();
  const about: About = { node: settings.node, provider: "flannel", version, pid: process.pid, startedAt };
  const events = makeEventLog();
  const counters = makeCounters();
  stack.defer(
    events.follow((event) => {
      counters.event(event);
      log.line({ ...event, level: tellingLevels[event.code] });
    }),
  );
  stack.defer(every(FLUSH_MS, log.flush));
  const manager = openServiceManager(process.env);
  if (manager !== undefined) stack.use(manager);
  const becameReady = Promise.withResolvers<void>();
  const opened = await openRegistry(settings, { ready: becameReady.promise, env: process.env });
  const { registry } = opened;
  stack.defer(() => registry.close());
  const before = hadBefore(settings.flannel.subnetFile, (why) =>
    log.line({
      level: "warning",
      code: "subnet-file",
      text: `what this host had before is not known: ${why}`,
    }),
  );
  const host = stack.use(openHost(settings, before, opened, ownProgram(), commandLog(settings, log)));
  const shell = runAgent(
    {
      ...host.ports,
      ...(settings.log.changes ? { reconcile: telling(host.ports.reconcile, log) } : {}),
      registry,
      events,
      counters,
      onReady: (ready) => {
        if (ready) becameReady.resolve();
        manager?.tell(...(ready ? ["READY=1", "STATUS=ready"] : ["STATUS=not ready"]));
      },
    },
    { before: before && subnetsOf(before), found: host.found() },
  );
  host.listen({
    tell: (what) => shell.tell({ kind: "kernel-changed", what }),
    carrierLost: () => shell.tell({ kind: "carrier-lost" }),
    heard: (what, why) =>
      shell.tell({ kind: "listened", to: what, ...(why === undefined ? {} : { why: reason(why) }) }),
  });
  const api = serveApi(listener, {
    answer: (ask) => answerOf(ask, shell, about),
    events,
    drain: () => shell.tell({ kind: "drain" }),
    log: (line) => log.line({ level: "warning", code: "api", text: line }),
  });
  stack.defer(() => api.stop());
  await serveOverHttp(settings, { shell, about, counters, log }, stack);
  if (manager?.watchdogMs !== undefined)
    stack.defer(every(Math.max(1, manager.watchdogMs / 2), () => manager.tell("WATCHDOG=1")));
  const signal = await ended;
  manager?.tell("STOPPING=1");
  shell.tell({ kind: "stop", why: signal });
  await shell.ended;
}

/** Says in the log what was changed. */
const telling =
  (reconcile: Ports["reconcile"], log: Log): Ports["reconcile"] =>
  async (wanted, how) => {
    const report = await reconcile(wanted, how);
    for (const { action, object, key } of report.changes)
      log.line({ level: "info", code: "kernel-change", text: `${action} ${object} ${key}` });
    return report;
  };

/** What commands print; and that they have run, where each change is told. */
const commandLog =
  ({ log: { changes } }: AgentSettings, log: Log): ((heard: Heard) => void) =>
  ({ kind, text, node }) => {
    const about = node === undefined ? {} : { node };
    if (kind === "line") log.line({ level: "info", code: "command-output", text, ...about });
    else if (changes) log.line({ level: "info", code: "command-done", text, ...about });
  };

/** Calls from time to time; the result ends it. */
function every(ms: number, work: () => void): () => void {
  const timer = setInterval(work, ms);
  return () => clearInterval(timer);
}

async function listenForQuestions(
  { api: { socket, group } }: AgentSettings,
  stack: AsyncDisposableStack,
): Promise<UnixListener> {
  const from = passedOn();
  // Whom the socket's own mode lets in must reach it.
  if (from === undefined) makeDirs(dirname(socket), 0o755);
  const { listener, remove } = await openListener(socket, from, "an agent");
  stack.defer(remove);
  if (group !== undefined && from === undefined) {
    const gid = groupId(group);
    chownSync(socket, process.geteuid?.() ?? 0, gid);
    chmodSync(socket, 0o660);
  }
  return listener;
}

/** @throws config/invalid if there is no such group */
function groupId(group: string): number {
  if (/^\d{1,10}$/.test(group)) return Number(group);
  for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
    const [name, , gid = ""] = line.split(":");
    if (name === group && /^\d+$/.test(gid)) return Number(gid);
  }
  throw new NetError("config/invalid", { field: "api.group", why: `there is no group "${group}"` });
}

function answerOf(ask: "status" | "nodes" | "routes", shell: Shell, about: About) {
  const state = shell.state();
  if (ask === "status") return { kind: "status", status: statusOf(state, about) } as const;
  if (ask === "nodes") return { kind: "nodes", nodes: nodesOf(state) } as const;
  return { kind: "routes", routes: routesOf(state, shell.wanted()) } as const;
}

interface Served {
  readonly shell: Shell;
  readonly about: About;
  readonly counters: ReturnType<typeof makeCounters>;
  readonly log: Log;
}

async function serveOverHttp(
  { http }: AgentSettings,
  { shell, about, counters, log }: Served,
  stack: AsyncDisposableStack,
): Promise<void> {
  if (http === undefined) return;
  const { serveHttp } = await import("../../agent/http.ts");
  const { node, provider } = about;
  const metrics = (): string => {
    const state = shell.state();
    const labels = [version, node, provider, state.joined?.network.transport.type ?? ""];
    return exposition([
      { name: "heddle_agent_info", labels, value: 1 },
      ...gauges(state),
      ...counters.samples(),
      ...processSamples(about.startedAt),
    ]);
  };
  const served = serveHttp({ ...http, isReady: () => shell.state().ready, metrics });
  stack.defer(() => served.stop());
  log.line({ level: "info", code: "http", text: `health and metrics on ${http.host} port ${served.port}` });
}
