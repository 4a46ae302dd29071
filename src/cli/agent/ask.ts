/** The agent's answers for people, as tables, and for programs, as JSON. */
import type { Answer, Ask } from "../../agent/api.ts";
import type { RecordedEvent } from "../../agent/event-log.ts";
import { forwarderText } from "../../agent/forwarder-samples.ts";
import type { NodeRow, RouteRow, Status } from "../../agent/status.ts";
import { writeAll } from "../../cni/executable.ts";
import { NetError } from "../../errors.ts";
import { print, table } from "../output.ts";
import { printable } from "../terminal.ts";
import { askAgent } from "./client.ts";
import type { AskOptions } from "./command.ts";

/** How often `drain` looks whether it is done, and how long at most. */
const LOOK_MS = 200;
const DRAIN_MS = 60_000;

export async function askAndPrint(ask: Ask, options: AskOptions): Promise<void> {
  const { socket, json = false, follow = false } = options;
  if (ask === "events") return tellEvents(socket, json, follow);
  let answer = await single(socket, ask);
  if (ask === "drain") answer = await drained(socket, answer);
  const value = valueOf(answer);
  print(json ? JSON.stringify(value, undefined, 2) : textOf(answer));
}

async function single(socket: string, ask: Ask): Promise<Answer> {
  for await (const answer of askAgent(socket, { ask })) return answer;
  throw new NetError("status/unavailable", {
    why: `the agent on ${socket} ended without an answer`,
    next: "ask again; if it does not come back, its log says why: journalctl -u heddle-agent.service",
  });
}

/** Waits until nothing of the fabric is left on this host. */
async function drained(socket: string, first: Answer): Promise<Answer> {
  let answer = first;
  const end = Date.now() + DRAIN_MS;
  while (answer.kind === "status" && answer.status.mode === "draining") {
    if (Date.now() > end) throw drainsLate(answer.status);
    await Bun.sleep(LOOK_MS);
    answer = await single(socket, "status");
  }
  return answer;
}

/** What a host that leaves waits for, and what a person can do about it. */
export function drainsLate({ store, lease, subnet, failing, kernel }: Status): NetError<"try-again"> {
  const watch = "heddle agent status shows how far it is, heddle agent events -f what is tried";
  if (lease.held)
    return new NetError("try-again", {
      why: `${subnet ?? "the subnet"} is not given back yet${store.why === null ? "" : `: ${store.why}`}; the agent goes on trying`,
      next: store.up ? watch : `see to it that the store that is named answers this host; ${watch}`,
    });
  const left = [
    ...failing.map(({ job, why }) => `${job}: ${why}`),
    ...kernel.problems.map(({ what, why }) => `${what}: ${why}`),
  ];
  const what = left.length === 0 ? "" : `: ${left.join("; ")}`;
  return new NetError("try-again", {
    why: `the subnet is given back, and something of the fabric is still on this host${what}; the agent goes on trying`,
    next: watch,
  });
}

function valueOf(answer: Answer): unknown {
  if (answer.kind === "status") return answer.status;
  if (answer.kind === "nodes") return answer.nodes;
  return answer.kind === "routes" ? answer.routes : answer;
}

function textOf(answer: Answer): string {
  if (answer.kind === "status") return statusText(answer.status);
  if (answer.kind === "nodes") return nodesText(answer.nodes);
  return answer.kind === "routes" ? routesText(answer.routes) : "";
}

/** Names and texts come from the store, which others write. */
const cleanTable = (rows: readonly (readonly string[])[]): string =>
  table(rows.map((row) => row.map(printable)));

const STAYS = "; the last good one is in use";

export function statusText(s: Status): string {
  const lease = s.lease.held
    ? s.lease.expires === null
      ? "held for ever"
      : `held until ${s.lease.expires}`
    : "none";
  const store = s.store.up ? "answers" : `does not answer since ${s.store.since}: ${s.store.why ?? ""}`;
  const { known, peers, troubled } = s.nodes;
  const rows: readonly (readonly [string, string | null])[] = [
    ["ready", s.ready ? "yes" : `no (${s.mode})`],
    ["node", `${s.node}, agent ${s.version}, process ${s.pid} since ${s.since}`],
    ["network", s.network === null ? null : `${s.network} over ${s.transport ?? "?"}`],
    ["subnet", s.subnet],
    ["lease", lease],
    ["address", s.publicAddress === null ? null : `${s.publicAddress} on ${s.externalLink ?? "?"}`],
    ["MTU", s.mtuBytes === null ? null : `${s.mtuBytes} bytes in containers`],
    ["store", store],
    ["known", s.recalled === null ? null : `from what was known at ${s.recalled}, until the store answers`],
    ["config", s.configRefused === null ? null : `${s.configRefused}${s.network === null ? "" : STAYS}`],
    ["nodes", `${known} in the store, ${peers} peers${troubled > 0 ? `, ${troubled} with troubles` : ""}`],
    ["forwarder", s.forwarder === null ? null : forwarderText(s.forwarder)],
    ...s.failing.map(({ job, why }) => ["failing", `${job}: ${why}`] as const),
    ...s.hindrances.map((what) => ["firewall", what] as const),
    ...s.kernel.problems.map(({ what, why }) => ["problem", `${what}: ${why}`] as const),
    ...s.kernel.deaf.map(({ to, why }) => ["deaf", `the kernel does not tell of ${to}: ${why}`] as const),
    ...s.kernel.fights.map(
      (what) => ["fight", `${what} is changed again and again by somebody else`] as const,
    ),
  ];
  return cleanTable(rows.flatMap(([name, value]) => (value === null ? [] : [[name, value]])));
}

export const nodesText = (nodes: readonly NodeRow[]): string =>
  cleanTable([
    ["NODE", "SUBNET", "ADDRESS", "TRANSPORT", "STATE"],
    ...nodes.map((n) => [
      n.id,
      n.subnet ?? "-",
      n.publicAddress ?? "-",
      n.transport ?? "-",
      [n.state, ...n.troubles].join("; "),
    ]),
  ]);

export const routesText = (routes: readonly RouteRow[]): string =>
  cleanTable([
    ["TO", "NODE", "VIA", "LINK", "STATE"],
    ...routes.map((r) => [r.to, r.node ?? "-", r.via ?? "-", r.link ?? "-", r.problem ?? "ok"]),
  ]);

/** `12:00:07  warning  node-refused  host2  subnet-overlap: …`, with the time of day here. */
export function eventText({ at, level, code, node, text }: RecordedEvent): string {
  const time = new Date(at).toTimeString().slice(0, 8);
  return printable([time, level.padEnd(7), code, ...(node === undefined ? [] : [node]), text].join("  "));
}

async function tellEvents(socket: string, json: boolean, follow: boolean): Promise<void> {
  for await (const answer of askAgent(socket, { ask: "events", follow })) {
    if (answer.kind !== "event") continue;
    const line = json ? JSON.stringify(answer.event) : eventText(answer.event);
    // Nobody reads any more.
    if (!writeAll(1, `${line}\n`)) return;
  }
}
