/** Commands in the agent's core: what is wished of them when, and what becomes of what they say. */
import { describe, expect, test } from "bun:test";
import type { FabricNode } from "../../fabric/model.ts";
import { agent, commanded, CONFIG, hostAt, leaseOf, nodeOf, reconciled } from "../../testing/agent-core.ts";
import { statusOf } from "../status.ts";

const EXTENSION = "10.0.0.0/16 extension";
const peerAt = (n: number, data = ""): FabricNode => ({
  ...nodeOf(`10.0.${n}.0/24`, `192.0.2.${n}`),
  backend: { type: "extension", v4: data },
});
type Agent = ReturnType<typeof agent>;

/** What was wished last, in words; undefined: nothing was. */
function wished(a: Agent): string | undefined {
  const effect = a.look().findLast((e) => e.kind === "command");
  if (effect === undefined) return undefined;
  const { wish } = effect;
  if (wish === undefined) return "nothing";
  const peers = wish.own?.peers.map(({ values, data }) => `${values.SUBNET}${data && ` ${data}`}`);
  return [wish.own?.values.SUBNET ?? "prepared", ...(peers ?? [])].join(", ");
}

/** An agent with a host, a configuration and these nodes, before a command has run. */
function beginning(nodes: readonly FabricNode[] = [], config = EXTENSION): Agent {
  const a = agent();
  a.tell({ kind: "config-read", text: config });
  a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
  a.tell({ kind: "nodes", news: { kind: "all", nodes } });
  return a;
}

function join(a: Agent, said = "said"): void {
  a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24", "192.0.2.1", { type: "extension", v4: said }) });
  a.tell(reconciled());
}

/** One that has joined, with its commands in place. */
function joined(nodes: readonly FabricNode[] = [peerAt(2)]): Agent {
  const a = beginning(nodes);
  a.tell(commanded({ said: "said", started: false }));
  join(a);
  a.tell({ kind: "protected", mended: [] });
  a.tell({ kind: "done", job: "carrier" });
  a.tell(commanded({ said: "said" }));
  for (const job of ["file", "memory"] as const) a.tell({ kind: "done", job });
  a.look();
  return a;
}

describe("an agent whose data path commands make", () => {
  test("announces what the first command printed, and not before", () => {
    const a = beginning([peerAt(2)]);
    expect(a.find("acquire")).toBeUndefined();
    expect(wished(a)).toBe("prepared");
    a.tell(commanded({ said: "8e:5f", started: false }));
    expect(a.find("acquire")?.wanted.backend).toEqual({ type: "extension", v4: "8e:5f" });
    join(a, "8e:5f");
    expect(wished(a)).toBe("10.0.1.0/24, 10.0.2.0/24");
  });

  test("is ready when each of them was tried", () => {
    const a = joined();
    expect(a.state.ready).toBe(true);
    const b = beginning();
    b.tell(commanded({ said: "said", started: false }));
    join(b);
    b.tell({ kind: "protected", mended: [] });
    b.tell({ kind: "done", job: "file" });
    b.tell({ kind: "done", job: "carrier" });
    expect(b.state.ready).toBe(false);
    b.tell(commanded({ said: "said", more: true }));
    expect(b.state.ready).toBe(false);
    b.tell(commanded({ said: "said", failures: [{ text: "x", node: "y" }], retryInMs: 1_000 }));
    expect(b.state.ready).toBe(true);
  });

  test("is ready again, also without another host, when its commands were there before it had its subnet again", () => {
    const own = leaseOf("10.0.1.0/24", "192.0.2.1", { type: "extension", v4: "said" });
    const a = agent();
    a.tell({ kind: "recalled", what: { at: 1, config: EXTENSION, lease: own, nodes: new Map() } });
    a.tell({ kind: "config-read", text: EXTENSION });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell(commanded({ said: "said", started: false }));
    a.tell(reconciled());
    a.pass(10);
    expect(wished(a)).toBe("10.0.1.0/24");
    a.tell(commanded({ said: "said" }));
    a.tell({ kind: "acquired", lease: own });
    a.tell({ kind: "protected", mended: [] });
    a.pass(1_000);
    a.tell(reconciled());
    for (const job of ["carrier", "file"] as const) a.tell({ kind: "done", job });
    expect(a.state.ready).toBe(true);
  });

  test("is not ready by commands that were run for its subnet of before", () => {
    const a = beginning();
    a.tell(commanded({ said: "said", started: false }));
    join(a);
    expect(wished(a)).toBe("10.0.1.0/24");
    a.tell({ kind: "lease", news: { kind: "lost", why: "x" } });
    const next = leaseOf("10.0.7.0/24", "192.0.2.1", { type: "extension", v4: "said" });
    a.tell({ kind: "acquired", lease: next });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.pass(100);
    a.tell(reconciled());
    a.tell({ kind: "protected", mended: [] });
    a.tell({ kind: "protected", mended: [] });
    for (const job of ["carrier", "file"] as const) a.tell({ kind: "done", job });
    a.tell(commanded({ said: "said" }));
    expect(a.state.ready).toBe(false);
    expect(wished(a)).toBe("10.0.7.0/24");
    a.tell(commanded({ said: "said" }));
    expect(a.state.ready).toBe(true);
  });

  test("wishes anew when a peer comes, changes or goes, and is not asked twice at a time", () => {
    const a = joined();
    a.tell({ kind: "nodes", news: { kind: "put", node: peerAt(3) } });
    a.pass(100);
    a.tell(reconciled());
    expect(wished(a)).toBe("10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24");
    a.tell({ kind: "nodes", news: { kind: "put", node: peerAt(3, "new") } });
    a.pass(1_000);
    a.tell(reconciled());
    expect(wished(a)).toBeUndefined();
    a.tell(commanded({ said: "said" }));
    expect(wished(a)).toBe("10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24 new");
    a.tell(commanded({ said: "said" }));
    a.tell({ kind: "nodes", news: { kind: "gone", id: "10.0.2.0/24" } });
    a.pass(1_000);
    a.tell(reconciled());
    expect(wished(a)).toBe("10.0.1.0/24, 10.0.3.0/24 new");
    a.tell(commanded({ said: "said" }));
    a.pass(20_000);
    expect(wished(a)).toBeUndefined();
  });

  test("announces itself anew when the command printed something else", () => {
    const a = joined();
    a.tell({ kind: "nodes", news: { kind: "put", node: peerAt(3) } });
    a.pass(100);
    a.tell(reconciled());
    a.tell(commanded({ said: "other" }));
    expect(a.find("acquire")?.wanted.backend.v4).toBe("other");
  });

  test("leaves what commands did while its subnet is lost, and when it ends", () => {
    const a = joined();
    a.tell({ kind: "lease", news: { kind: "lost", why: "x" } });
    a.pass(100);
    expect(wished(a)).toBeUndefined();
    a.tell({ kind: "stop", why: "SIGTERM" });
    expect(wished(a)).toBeUndefined();
  });

  test("takes away what commands did when it leaves, and has left when nothing is left", () => {
    const a = joined();
    a.tell({ kind: "drain" });
    expect(wished(a)).toBeUndefined();
    a.tell({ kind: "done", job: "release" });
    a.pass(100);
    expect(wished(a)).toBe("nothing");
    for (const job of ["file", "carrier", "memory"] as const) a.tell({ kind: "done", job });
    a.tell({ kind: "protected", mended: [] });
    a.tell(reconciled());
    a.tell(commanded({ failures: [{ text: "x" }], retryInMs: 1_000 }));
    expect(a.state.mode).toBe("draining");
    a.pass(1_001);
    expect(wished(a)).toBe("nothing");
    a.tell(commanded({ clear: true }));
    a.tell({ kind: "done", job: "carrier" });
    expect(a.state.mode).toBe("drained");
  });

  test("keeps them under another configuration until there is a subnet by it", () => {
    const a = joined();
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    expect(wished(a)).toBeUndefined();
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    expect(wished(a)).toBe("nothing");
  });

  test("tells a failure once, and that it is over", () => {
    const a = joined();
    const failed = { text: "SubnetAddCommand: exit code 2: no", node: "10.0.2.0/24" };
    const again = (): void => {
      a.pass(1_100);
      a.tell(commanded({ said: "said", failures: [failed], retryInMs: 1_000 }));
    };
    a.tell({ kind: "nodes", news: { kind: "put", node: peerAt(3) } });
    a.pass(100);
    a.tell(reconciled());
    a.look();
    again();
    expect(a.told()).toEqual(["command-failed"]);
    again();
    expect(a.told()).toEqual([]);
    const about = { node: "x", provider: "flannel", version: "", pid: 1, startedAt: 0 };
    expect(statusOf(a.state, about).failing).toEqual([
      { job: "commands", why: "SubnetAddCommand: exit code 2: no for 10.0.2.0/24" },
    ]);
    a.pass(1_100);
    a.tell(commanded({ said: "said", givenUp: [{ text: "given up" }] }));
    expect(a.told()).toEqual(["command-failed", "command-right"]);
    expect(statusOf(a.state, about).failing).toEqual([]);
  });

  test("goes on at once where a turn has ended, and a while after a failure of its own", () => {
    const a = beginning();
    a.look();
    a.tell(commanded({ started: false, more: true }));
    expect(wished(a)).toBe("prepared");
    a.tell({ kind: "failed", job: "commands", why: "no space left on device" });
    expect(wished(a)).toBeUndefined();
    a.pass(1_500);
    expect(wished(a)).toBe("prepared");
  });
});

test("an agent without commands looks for what others have left only where there is something", () => {
  expect(wished(beginning([], CONFIG))).toBeUndefined();
  const after = agent(undefined, true);
  after.tell({ kind: "time" });
  expect(wished(after)).toBeUndefined();
  after.tell({ kind: "config-read", text: CONFIG });
  expect(wished(after)).toBe("nothing");
  after.tell(commanded({ clear: true }));
  after.pass(10_000);
  expect(wished(after)).toBeUndefined();
});
