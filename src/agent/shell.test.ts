import { describe, expect, setSystemTime, test } from "bun:test";
import { NetError } from "../errors.ts";
import { nothing } from "../fabric/host-state.ts";
import type { LeaseNews, NodeNews, Registry } from "../providers/flannel/registry.ts";
import { CONFIG, hostAt, leaseOf, nodeOf, rules } from "../testing/agent-core.ts";
import { makeEventLog } from "./event-log.ts";
import { makeCounters } from "./metrics.ts";
import { type Ports, runAgent } from "./shell.ts";

/** A stream that is fed by hand, until its signal. */
function feed<T>(signal: AbortSignal) {
  const waiting: T[] = [];
  let changed = Promise.withResolvers<void>();
  const ring = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  signal.addEventListener("abort", ring);
  async function* stream(): AsyncGenerator<T> {
    while (!signal.aborted) {
      const next = changed.promise;
      const one = waiting.shift();
      if (one !== undefined) yield one;
      else await next;
    }
  }
  return { stream: stream(), put: (one: T) => (waiting.push(one), ring()) };
}

/** An agent whose store and kernel are told here what to say. */
function running(more: Partial<Registry> = {}) {
  const calls: string[] = [];
  const feeds: { lease?: (news: LeaseNews) => void; nodes?: (news: NodeNews) => void } = {};
  const signals: AbortSignal[] = [];
  const registry: Registry = {
    networkConfig: async () => CONFIG,
    acquire: async () => (calls.push("acquire"), leaseOf("10.0.1.0/24")),
    hold: (_, signal) => {
      calls.push("hold");
      signals.push(signal);
      const { stream, put } = feed<LeaseNews>(signal);
      feeds.lease = put;
      return stream;
    },
    nodes: (signal) => {
      calls.push("nodes");
      signals.push(signal);
      const { stream, put } = feed<NodeNews>(signal);
      feeds.nodes = put;
      put({ kind: "all", nodes: [] });
      return stream;
    },
    release: async () => void calls.push("release"),
    close: () => {},
    ...more,
  };
  const events = makeEventLog();
  const readiness: boolean[] = [];
  const ports: Ports = {
    rules,
    registry,
    events,
    counters: makeCounters(),
    lookAtHost: async () => hostAt("192.0.2.1"),
    reconcile: async (wanted, { full }) => {
      calls.push(`reconcile ${wanted.routes.length}${full ? " full" : ""}`);
      return { full, changes: [], failures: [], fights: [], waiting: 0 };
    },
    carry: async (wish) => (calls.push(wish === undefined ? "carry nothing" : "carry"), undefined),
    command: async (wish) => {
      calls.push(wish === undefined ? "command nothing" : "command");
      return { started: true, more: false, clear: wish === undefined, failures: [], givenUp: [] };
    },
    commandsLeft: false,
    publish: async (offer) => void calls.push(offer === undefined ? "unpublish" : "publish"),
    remember: async (known) => void calls.push(known === undefined ? "forget" : "remember"),
    protect: async () => (calls.push("protect"), { mended: [], hindrances: [] }),
    onReady: (ready) => void readiness.push(ready),
  };
  const shell = runAgent(ports);
  /** Waits for an event of that code. */
  const until = async (code: string): Promise<void> => {
    const found = Promise.withResolvers<void>();
    const stop = events.follow((event) => event.code === code && found.resolve());
    if (events.after(0).some((event) => event.code === code)) found.resolve();
    await found.promise;
    stop();
  };
  return { shell, events, feeds, calls, signals, readiness, until };
}

test("a store without a configuration is no store that is away, and who looks is told how to put it", async () => {
  const { shell, events, until } = running({
    networkConfig: async () => {
      const detail = {
        what: "configuration",
        where: "/key of etcd",
        next: "put it there with etcdctl put /key",
      };
      throw new NetError("config/not-found", detail);
    },
  });
  await until("config-missing");
  expect(events.after(0).map(({ text }) => text)).toEqual([
    "the store has no configuration in /key of etcd: put it there with etcdctl put /key",
  ]);
  expect(shell.state().store.up).toBe(true);
  shell.tell({ kind: "stop", why: "the test" });
  await shell.ended;
});

describe("runAgent", () => {
  test("becomes ready, hears of a node, and ends with its streams while the network stays", async () => {
    const { shell, feeds, calls, signals, readiness, until } = running();
    await until("ready");
    expect(readiness).toEqual([true]);
    feeds.nodes?.({ kind: "put", node: nodeOf("10.0.2.0/24", "192.0.2.2") });
    await until("node-joined");
    while (!calls.includes("reconcile 1")) await Bun.sleep(1);
    shell.tell({ kind: "stop", why: "SIGTERM" });
    await shell.ended;
    expect(signals.every(({ aborted }) => aborted)).toBe(true);
    expect(calls).not.toContain("release");
    expect(calls).not.toContain("unpublish");
  });

  test("hears of a node at once though the clock of the host was put back", async () => {
    const { shell, feeds, calls, until } = running();
    await until("ready");
    try {
      setSystemTime(Date.now() - 3_600_000);
      feeds.nodes?.({ kind: "put", node: nodeOf("10.0.2.0/24", "192.0.2.2") });
      await until("node-joined");
      while (!calls.includes("reconcile 1")) await Bun.sleep(1);
    } finally {
      setSystemTime();
    }
    shell.tell({ kind: "stop", why: "the test" });
    await shell.ended;
  });

  test("takes a lost lease again", async () => {
    const { shell, feeds, calls, until } = running();
    await until("ready");
    feeds.lease?.({ kind: "lost", why: "it ended" });
    await until("not-ready");
    while (calls.filter((call) => call === "hold").length < 2) await Bun.sleep(1);
    expect(shell.state().lease).toBeDefined();
    shell.tell({ kind: "stop", why: "the test" });
    await shell.ended;
  });

  test("hears nothing of a subnet that is given up for another but that it has the other", async () => {
    const held = Promise.withResolvers<void>();
    const text = "10.9.0.0/16 vxlan";
    let config = CONFIG;
    const { shell, events, calls, until } = running({
      networkConfig: async () => config,
      acquire: async () => {
        calls.push("acquire");
        if (config === CONFIG) return leaseOf("10.0.1.0/24");
        held.resolve();
        await Bun.sleep(1);
        return leaseOf("10.9.1.0/24");
      },
      hold: async function* (lease, signal): AsyncGenerator<LeaseNews> {
        calls.push(`hold ${lease.node.id}`);
        const { stream, put } = feed<LeaseNews>(signal);
        put({ kind: "renewed", lease });
        if (config === CONFIG) await held.promise;
        else yield* stream;
      },
    });
    await until("ready");
    config = text;
    shell.tell({ kind: "config-read", text });
    await until("subnet-changed");
    await until("ready");
    const holds = (): readonly string[] => calls.filter((call) => call.startsWith("hold"));
    while (holds().length < 2) await Bun.sleep(1);
    expect(holds()).toEqual(["hold 10.0.1.0/24", "hold 10.9.1.0/24"]);
    const codes = events.after(0).map(({ code }) => code);
    expect(codes).not.toContain("store-unreachable");
    expect(codes).not.toContain("lease-lost");
    shell.tell({ kind: "stop", why: "the test" });
    await shell.ended;
  });

  test("drains in order, and lets nothing of the lease go on", async () => {
    const { shell, calls, signals, until } = running();
    await until("ready");
    shell.tell({ kind: "drain" });
    await until("drained");
    expect(calls).toContain("reconcile 0 full");
    expect(calls.lastIndexOf("reconcile 0 full")).toBeGreaterThan(calls.indexOf("release"));
    expect(shell.wanted()).toBe(nothing);
    expect(signals.filter(({ aborted }) => aborted).length).toBeGreaterThan(0);
    shell.tell({ kind: "stop", why: "the test" });
    await shell.ended;
  });
});
