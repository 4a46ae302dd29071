/** What the agent tells of itself: events, metrics, status, health; and that the manual has all of it. */
import { describe, expect, test } from "bun:test";
import { textOf } from "../testing/sources.ts";
import { KEPT, makeEventLog } from "./event-log.ts";
import { COUNTERS } from "../forwarder/counters.ts";
import type { ForwarderStatus } from "../forwarder/client.ts";
import { forwarderSamples, forwarderText } from "./forwarder-samples.ts";
import { answerTo, serveHttp } from "./http.ts";
import { exposition, gauges, makeCounters, metrics } from "./metrics.ts";
import type { AgentState } from "./model.ts";
import { processSamples } from "./process-samples.ts";
import { nodesOf, routesOf, statusOf } from "./status.ts";
import { nothing } from "../fabric/host-state.ts";
import { cidr, ip } from "../testing/address.ts";
import { member, nodeOf } from "../testing/agent-core.ts";
import { keyPair } from "../testing/wireguard.ts";
import { begin } from "./step.ts";
import { telling, tellingLevels } from "./tellings.ts";

/** The rows of the manual's tables below a heading, each as its cells. */
function rowsBelow(heading: string): readonly (readonly string[])[] {
  const [, section = ""] = textOf("docs/agent.md").split(`\n## ${heading}\n`);
  return (section.split("\n## ")[0] ?? "")
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", "")),
    );
}

describe("the manual", () => {
  test("has every metric with its type, labels and meaning, and no other", () => {
    const documented = rowsBelow("Metrics").map(([name, type, labels, help]) => [name, type, labels, help]);
    const exported = Object.entries(metrics).map(([name, { type, labels, help }]) => [
      name,
      type,
      labels.join(", ") || "-",
      help,
    ]);
    expect(documented).toEqual(exported);
  });

  test("has every event with its level, and no other", () => {
    expect(Object.fromEntries(rowsBelow("Events").map(([code, level]) => [code, level]))).toEqual(
      tellingLevels,
    );
  });
});

describe("metrics", () => {
  test("are in Prometheus' text format, each with help and type, labels escaped", () => {
    const text = exposition([
      { name: "heddle_agent_info", labels: ["1.0", 'a"b\\c\nd', "flannel", "vxlan"], value: 1 },
      { name: "heddle_agent_ready", value: 0 },
    ]);
    expect(text).toBe(
      "# HELP heddle_agent_info 1, with what runs\n# TYPE heddle_agent_info gauge\n" +
        'heddle_agent_info{version="1.0",node="a\\"b\\\\c\\nd",provider="flannel",transport="vxlan"} 1\n' +
        "# HELP heddle_agent_ready 1 if this host can take containers\n# TYPE heddle_agent_ready gauge\n" +
        "heddle_agent_ready 0\n",
    );
  });

  test("count what happened", () => {
    const counters = makeCounters();
    const change = (action: "repaired" | "added") =>
      ({ object: "route", key: "10.0.0.0/24", action }) as const;
    counters.reconciled(
      { full: true, changes: [change("repaired"), change("added")], failures: [], fights: [], waiting: 0 },
      250,
    );
    counters.failed("config");
    counters.failed("config");
    const text = exposition(counters.samples());
    for (const line of [
      'heddle_agent_reconciles_total{kind="full"} 1',
      'heddle_agent_reconciles_total{kind="changes"} 0',
      "heddle_agent_reconcile_seconds_total 0.25",
      "heddle_agent_kernel_changes_total 2",
      "heddle_agent_kernel_repairs_total 1",
      'heddle_agent_failures_total{job="config"} 2',
    ])
      expect(text).toContain(`${line}\n`);
  });

  test("of an agent that has just begun say so, and what the process is", () => {
    const text = exposition([...gauges(begin(0)), ...processSamples(0)]);
    expect(text).toContain("heddle_agent_ready 0\n");
    expect(text).toMatch(/^process_resident_memory_bytes [1-9]\d{6,}$/m);
    expect(text).toMatch(/^process_open_fds [1-9]\d*$/m);
  });
});

describe("the forwarder's counters", () => {
  const none = Object.fromEntries(COUNTERS.map((name) => [name, 0])) as ForwarderStatus["sent"];
  const said: ForwarderStatus = {
    device: "flannel0",
    port: 8285,
    peers: 1,
    seconds: 7,
    workers: 1,
    sent: { ...none, packets: 12, bytes: 840, dropUnknown: 2, dropTooBig: 1 },
    received: { ...none, packets: 11, bytes: 770 },
  };
  const wish = { device: "flannel0", mtuBytes: 1472, listen: ip("0.0.0.0"), port: 8285, own: [], peers: [] };
  const carrying: AgentState = { ...begin(0), carriage: { wish } };

  test("are metrics while it answers, and else it is down", () => {
    const text = exposition(gauges({ ...carrying, forwarder: said }));
    for (const line of [
      "heddle_agent_forwarder_up 1",
      'heddle_agent_forwarder_packets_total{direction="sent"} 12',
      'heddle_agent_forwarder_bytes_total{direction="received"} 770',
      'heddle_agent_forwarder_dropped_total{direction="sent",reason="too-big"} 1',
      'heddle_agent_forwarder_dropped_total{direction="received",reason="unknown"} 0',
    ])
      expect(text).toContain(`${line}\n`);
    const silent = exposition(gauges(carrying));
    expect(silent).toContain("heddle_agent_forwarder_up 0\n");
    expect(silent).not.toContain("forwarder_packets_total");
    expect(exposition(gauges(begin(0)))).not.toContain("agent_forwarder");
  });

  test("have each reason of a drop in the manual", () => {
    const samples = forwarderSamples({ ...carrying, forwarder: said });
    const reasons = new Set(samples.flatMap(({ labels }) => labels?.[1] ?? []));
    const documented = rowsBelow("What the forwarder drops").map(([reason = ""]) => reason);
    expect(documented.filter((cell) => cell !== "reason").toSorted()).toEqual([...reasons].toSorted());
  });

  test("are one line for people, with what was dropped and why", () => {
    expect(forwarderText(said)).toBe(
      "sent 12 packets with 840 bytes, received 11 with 770; dropped 3 to send (unknown 2, too-big 1)",
    );
  });
});

describe("events", () => {
  test("are numbered, kept up to a bound, and told to those who follow", () => {
    const log = makeEventLog();
    const heard: number[] = [];
    const stop = log.follow(({ number }) => heard.push(number));
    for (let i = 0; i < KEPT + 10; i++) log.add(telling("ready", "x"), 0);
    stop();
    log.add(telling("ready", "x"), 0);
    expect(heard).toHaveLength(KEPT + 10);
    expect(log.after(0)).toHaveLength(KEPT);
    expect(log.after(KEPT + 10).map(({ number, level }) => [number, level])).toEqual([[KEPT + 11, "info"]]);
  });
});

describe("health", () => {
  const ask = (path: string, isReady: boolean, method = "GET"): number =>
    answerTo(method, path, { isReady: () => isReady, metrics: () => "" }).status;

  test.each([
    ["/healthz", false, 200],
    ["/readyz", false, 503],
    ["/readyz", true, 200],
    ["/metrics", false, 200],
    ["/", true, 404],
    ["/readyz/..", true, 404],
  ] as const)("%s of an agent that is ready: %p is %d", (path, isReady, status) => {
    expect(ask(path, isReady)).toBe(status);
  });

  test("is served over HTTP until it is stopped", async () => {
    const served = serveHttp({ host: "127.0.0.1", port: 0, isReady: () => false, metrics: () => "x 1\n" });
    const ask = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${served.port}${path}`);
    expect((await ask("/readyz")).status).toBe(503);
    const metrics = await ask("/metrics");
    expect([await metrics.text(), metrics.headers.get("content-type")]).toEqual([
      "x 1\n",
      "text/plain; version=0.0.4; charset=utf-8",
    ]);
    served.stop();
    expect(ask("/healthz")).rejects.toThrow();
  });

  test("changes nothing, whoever asks", () => {
    expect(ask("/readyz", true, "POST")).toBe(405);
  });
});

test("the status of an agent that knows nothing yet says so", () => {
  const about = { node: "host1", provider: "flannel", version: "1", pid: 7, startedAt: 0 };
  expect(statusOf(begin(0), about)).toMatchObject({
    ready: false,
    mode: "running",
    subnet: null,
    network: null,
    lease: { held: false, expires: null },
    nodes: { known: 0, peers: 0, troubled: 0 },
  });
  expect(nodesOf(begin(0))).toEqual([]);
});

test("nodes and routes tell who is behind each subnet, and why somebody is left out", () => {
  const { state } = member("10.0.1.0/24", [
    nodeOf("10.0.1.0/24", "192.0.2.1"),
    nodeOf("10.0.2.0/24", "192.0.2.2"),
    nodeOf("10.9.0.0/24", "192.0.2.9"),
    { id: "x", why: "its value is no JSON" },
  ]);
  expect(nodesOf(state).map((n) => [n.id, n.state, n.troubles.length])).toEqual([
    ["10.0.1.0/24", "this host", 0],
    ["10.0.2.0/24", "peer", 0],
    ["10.9.0.0/24", "left out", 1],
    ["x", "left out", 1],
  ]);
  const route = { dst: cidr("10.0.2.0/24"), link: "fabric0" };
  expect(routesOf(state, { ...nothing, routes: [route, { dst: cidr("10.0.1.0/24") }] })).toEqual([
    { to: "10.0.2.0/24", node: "10.0.2.0/24", via: null, link: "fabric0", problem: null },
    { to: "10.0.1.0/24", node: null, via: null, link: null, problem: null },
  ]);
});

test("routes tell of whom a tunnel sends to where", () => {
  const { state } = member("10.0.1.0/24", [nodeOf("10.0.2.0/24", "192.0.2.2")]);
  const peer = {
    link: "flannel-wg",
    publicKey: keyPair(2).publicKey,
    endpoint: { ip: ip("192.0.2.2"), port: 51_820 },
    keepaliveSeconds: 0,
    allowed: [cidr("10.0.2.0/24")],
  };
  const routes = [{ dst: cidr("10.0.0.0/16"), link: "flannel-wg" }];
  const refused = { what: `peer ${peer.publicKey} flannel-wg`, why: "EINVAL" };
  const troubled = { ...state, kernel: { ...state.kernel, problems: [refused] } };
  expect(routesOf(troubled, { ...nothing, routes, peers: [peer] })).toEqual([
    { to: "10.0.0.0/16", node: null, via: null, link: "flannel-wg", problem: null },
    { to: "10.0.2.0/24", node: "10.0.2.0/24", via: "192.0.2.2", link: "flannel-wg", problem: "EINVAL" },
  ]);
});
