/** An agent that begins while the store is away, and finds what the one before it knew. */
import { describe, expect, test } from "bun:test";
import {
  agent,
  commanded,
  CONFIG,
  hostAt,
  leaseOf,
  member,
  nodeOf,
  reconciled,
} from "../testing/agent-core.ts";
import { ip } from "../testing/address.ts";
import type { Known, Recalled } from "./model.ts";
import { statusOf } from "./status.ts";

const peer = nodeOf("10.0.2.0/24", "192.0.2.2");
const AT = Date.UTC(2026, 0, 2);
const what: Recalled = {
  at: AT,
  config: CONFIG,
  lease: leaseOf("10.0.1.0/24"),
  nodes: new Map([[peer.id, peer]]),
};
const about = { node: "host1", provider: "flannel", version: "1", pid: 7, startedAt: 0 };

/** The kernel is repaired, and the store has not answered. */
function recalling(found: Recalled = what) {
  const a = agent("10.0.1.0/24");
  a.tell({ kind: "recalled", what: found });
  a.tell({ kind: "time" });
  a.tell({ kind: "failed", job: "config", why: "connection refused" });
  a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
  a.pass(10);
  return a;
}

describe("an agent that knows what was before, while the store is away", () => {
  test("repairs kernel and firewall by it, announces nothing, and leaves the file for containers alone", () => {
    const a = recalling();
    const reconcile = a.find("reconcile");
    // A peer may have come after what was known was written: its routes stay.
    expect([reconcile?.full, reconcile?.keep]).toEqual([true, true]);
    expect(reconcile?.wanted.routes.map((r) => r.dst.text)).toEqual(["10.0.2.0/24"]);
    expect(a.find("protect")?.offer?.self.subnets.v4?.text).toBe("10.0.1.0/24");
    expect(a.wanted()).toEqual([
      "recalled",
      "read-config",
      "look-at-host",
      "store-unreachable",
      "reconcile",
      "carry",
      "protect",
    ]);
    a.tell(reconciled());
    a.tell({ kind: "done", job: "carrier" });
    a.tell({ kind: "protected", mended: [] });
    for (let i = 0; i < 10; i++) {
      a.pass(30_000);
      a.tell({ kind: "failed", job: "config", why: "connection refused" });
      a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
      a.tell(reconciled());
      a.tell({ kind: "protected", mended: [] });
    }
    for (const never of ["acquire", "hold", "publish", "remember", "watch-nodes", "ready=true"])
      expect(a.wanted()).not.toContain(never);
    expect(a.state.ready).toBe(false);
  });

  test("says so in its status", () => {
    const status = statusOf(recalling().state, about);
    expect(status).toMatchObject({
      ready: false,
      recalled: "2026-01-02T00:00:00.000Z",
      subnet: "10.0.1.0/24",
      lease: { held: false },
      nodes: { known: 1, peers: 1 },
    });
  });

  test("puts right what somebody takes away meanwhile", () => {
    const a = recalling();
    a.tell(reconciled());
    a.pass(1_000);
    a.look();
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(1_000);
    expect(a.find("reconcile")?.wanted.routes).toHaveLength(1);
  });

  test("has packets carried to the peers that were known, and leaves the others of that process alone until then", () => {
    const peers = [{ id: "a", subnets: ["10.0.2.0/24"], address: "192.0.2.2", port: 8285, heddle: true }];
    const wish = { device: "flannel0", mtuBytes: 1472, listen: ip("0.0.0.0"), port: 8285, own: [], peers };
    const a = recalling();
    a.change((state) => {
      if (state.joined === undefined) throw new Error("not joined");
      const network = { ...state.joined.network, carriage: () => wish };
      return { ...state, joined: { ...state.joined, network } };
    });
    a.tell(reconciled());
    a.tell({ kind: "done", job: "carrier" });
    a.look();
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(1_000);
    expect(a.find("carry")?.wish).toEqual({ ...wish, keep: true });
    a.tell({ kind: "done", job: "carrier" });
    a.tell(reconciled());
    a.pass(2_000);
    a.look();
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [peer] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.pass(1_000);
    expect(a.look().flatMap((e) => (e.kind === "carry" ? [e.wish] : []))).toEqual([wish]);
  });

  test("may be told by the store what to announce, and does not wait for that", () => {
    const a = agent();
    a.tell({ kind: "recalled", what });
    a.tell({ kind: "time" });
    expect(a.find("look-at-host")?.instead?.v4?.text).toBe("192.0.2.1");
  });

  test("leaves the fabric without the store, and nothing is found after it", () => {
    const a = recalling();
    a.tell(reconciled());
    a.tell({ kind: "done", job: "carrier" });
    a.tell({ kind: "protected", mended: [] });
    a.look();
    a.tell({ kind: "drain" });
    a.pass(1_000);
    expect(a.find("remember")).toEqual({ kind: "remember", known: undefined });
    expect(a.find("reconcile")?.wanted.routes).toEqual([]);
  });
});

describe("an agent that knows what was before, while nobody knows yet whether the store is there", () => {
  const waiting = () => {
    const a = agent("10.0.1.0/24");
    a.tell({ kind: "recalled", what });
    a.tell({ kind: "time" });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    return a;
  };

  test("leaves the kernel as it is: it may have later news than what was known, and the store's are next", () => {
    const a = waiting();
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(1_000);
    expect(a.find("reconcile")).toBeUndefined();
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [nodeOf("10.0.3.0/24", "192.0.2.3")] } });
    expect(a.find("reconcile")?.wanted.routes.map((r) => r.dst.text)).toEqual(["10.0.3.0/24"]);
  });

  test("repairs the kernel when the store has said nothing for two seconds", () => {
    const a = waiting();
    a.pass(1_900);
    expect(a.find("reconcile")).toBeUndefined();
    a.pass(200);
    expect(a.find("reconcile")?.keep).toBe(true);
  });

  test("gives a store that has told its configuration two more seconds for its nodes", () => {
    const a = waiting();
    a.pass(1_500);
    a.tell({ kind: "config-read", text: CONFIG });
    a.pass(1_900);
    expect(a.find("reconcile")).toBeUndefined();
    a.pass(200);
    expect(a.find("reconcile")?.keep).toBe(true);
  });

  test("repairs the kernel as soon as the store has failed", () => {
    const a = waiting();
    a.tell({ kind: "failed", job: "config", why: "connection refused" });
    expect(a.find("reconcile")?.keep).toBe(true);
  });

  test("leaves at once when it is told to", () => {
    const a = waiting();
    a.tell({ kind: "drain" });
    expect(a.find("reconcile")?.wanted.routes).toEqual([]);
  });
});

describe("when the store answers", () => {
  test("its nodes count, its lease is taken, and nothing of before is left", () => {
    const a = recalling();
    a.tell(reconciled());
    a.tell({ kind: "done", job: "carrier" });
    a.tell({ kind: "protected", mended: [] });
    a.pass(2_000);
    a.look();
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.wanted()).toEqual(["store-back", "config-loaded", "look-at-host", "watch-nodes"]);
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    expect(a.wanted()).toEqual([]);
    const other = nodeOf("10.0.3.0/24", "192.0.2.3");
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [other] } });
    expect(a.find("reconcile")?.keep).toBe(false);
    // The host is looked at once more: what the store says of it was not known.
    expect(a.wanted()).toEqual(["nodes-listed", "node-left", "node-joined", "look-at-host", "reconcile"]);
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    expect(a.find("acquire")?.before?.v4?.text).toBe("10.0.1.0/24");
    a.tell(reconciled());
    a.look();
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    expect(a.told()).toEqual(["lease-acquired"]);
    expect(statusOf(a.state, about)).toMatchObject({ recalled: null, nodes: { known: 1, peers: 1 } });
    a.pass(1_000);
    a.tell(reconciled());
    a.tell({ kind: "done", job: "file" });
    expect(a.state.ready).toBe(true);
  });

  test("an operator's commands hear of its nodes, and never of those that were known before", () => {
    const config = "10.0.0.0/16 extension";
    const own = leaseOf("10.0.1.0/24", "192.0.2.1", { type: "extension", v4: "said" });
    const known = { ...peer, backend: { type: "extension", v4: "" } };
    const a = recalling({ ...what, config, lease: own, nodes: new Map([[known.id, known]]) });
    a.pass(2_000);
    expect(a.find("command")).toBeUndefined();
    a.look();
    a.tell({ kind: "config-read", text: config });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    const other = { ...nodeOf("10.0.3.0/24", "192.0.2.3"), backend: { type: "extension", v4: "" } };
    // The look at the kernel that began by what was known still goes on.
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [other] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell(commanded({ said: "said", started: false }));
    a.tell(reconciled());
    a.pass(1_000);
    const peers = a
      .look()
      .flatMap((e) => (e.kind === "command" ? [e.wish?.own?.peers.map(({ id }) => id)] : []));
    expect(peers).toEqual([undefined, [other.id]]);
  });

  test("a subnet that is another host's now is given up for another one", () => {
    const a = recalling();
    a.pass(2_000);
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    const thief = nodeOf("10.0.1.0/24", "192.0.2.77");
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [peer, thief] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.look();
    a.tell({ kind: "failed", job: "lease", why: "no free subnet" });
    // Nobody is given an address that is another host's.
    expect(a.find("publish")).toEqual({ kind: "publish", offer: undefined });
    a.pass(2_000);
    a.look();
    a.tell({ kind: "acquired", lease: leaseOf("10.0.5.0/24") });
    expect(a.told()).toEqual(["lease-acquired", "subnet-changed"]);
  });

  test("and then fails, the file for containers stays", () => {
    const a = recalling();
    a.pass(2_000);
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [peer] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "failed", job: "lease", why: "timeout" });
    expect(a.find("publish")).toBeUndefined();
  });

  test("without a configuration, what was known stays in use", () => {
    const a = recalling();
    a.tell(reconciled());
    a.look();
    a.tell({ kind: "config-missing", why: "no configuration" });
    a.pass(100_000);
    expect(a.find("watch-nodes")).toBeUndefined();
    expect(a.find("reconcile")?.wanted.routes).toHaveLength(1);
  });
});

describe("what was known", () => {
  test("is not used if its configuration cannot be read, and that is told", () => {
    const a = agent();
    a.tell({ kind: "recalled", what: { ...what, config: "{" } });
    expect(a.told()).toEqual(["memory-failed"]);
    expect(a.state.self).toBeUndefined();
  });

  test("is not used if this host's containers were given another subnet since, and that is told", () => {
    const a = agent("10.0.9.0/24");
    a.tell({ kind: "recalled", what });
    expect(a.told()).toEqual(["memory-failed"]);
    expect(a.state.self).toBeUndefined();
  });

  test("is kept once there is a subnet, and again when something changed, not more often than every five seconds", () => {
    const kept: (Known | undefined)[] = [];
    const a = member("10.0.1.0/24", [peer]);
    const changes = (ms: number): void => {
      for (let at = 0; at < ms; at += 100) {
        const node = nodeOf("10.0.3.0/24", "192.0.2.3", `name${at}`);
        a.tell({ kind: "nodes", news: { kind: "put", node } });
        a.pass(100);
        for (const effect of a.look())
          if (effect.kind === "remember") {
            kept.push(effect.known);
            a.tell({ kind: "done", job: "memory" });
          } else if (effect.kind === "reconcile") a.tell(reconciled());
      }
    };
    changes(20_000);
    expect(kept.length).toBeWithin(3, 6);
    expect(kept.at(-1)?.nodes.size).toBe(2);
    expect(kept.at(-1)?.config).toBe(CONFIG);
    a.pass(6_000);
    for (const effect of a.look()) if (effect.kind === "remember") a.tell({ kind: "done", job: "memory" });
    a.pass(100_000);
    expect(a.find("remember")).toBeUndefined();
  });

  test("that is just being written when the host leaves is removed at once after it", () => {
    const a = member();
    a.tell({ kind: "nodes", news: { kind: "put", node: peer } });
    a.pass(6_000);
    expect(a.find("remember")?.known?.nodes.size).toBe(1);
    a.look();
    a.tell({ kind: "drain" });
    expect(a.find("remember")).toBeUndefined();
    a.tell({ kind: "done", job: "memory" });
    expect(a.find("remember")).toEqual({ kind: "remember", known: undefined });
  });

  test.each(["done", "failed"] as const)(
    "that is just being written, after a failure, is still removed when that is %s",
    (outcome) => {
      const a = member();
      const change = (name: string): void => {
        a.tell({ kind: "nodes", news: { kind: "put", node: nodeOf("10.0.3.0/24", "192.0.2.3", name) } });
        a.pass(6_000);
        expect(a.find("remember")?.known).toBeDefined();
        a.look();
      };
      change("a");
      a.tell({ kind: "failed", job: "memory", why: "ENOSPC" });
      change("b");
      a.tell({ kind: "drain" });
      for (const job of ["file", "release"] as const) a.tell({ kind: "done", job });
      a.pass(100);
      for (let i = 0; i < 2; i++) a.tell(reconciled());
      a.pass(100);
      a.tell(reconciled());
      a.tell({ kind: "done", job: "carrier" });
      a.tell({ kind: "protected", mended: [] });
      expect(a.state.mode).toBe("draining");
      a.look();
      if (outcome === "done") a.tell({ kind: "done", job: "memory" });
      else a.tell({ kind: "failed", job: "memory", why: "ENOSPC" });
      expect(a.find("remember")).toEqual({ kind: "remember", known: undefined });
      expect(a.state.mode).toBe("draining");
      a.tell({ kind: "done", job: "memory" });
      expect(a.state.mode).toBe("drained");
    },
  );

  test("that cannot be kept is told once and tried again, and keeps nobody from draining", () => {
    const a = agent();
    a.tell({ kind: "failed", job: "memory", why: "the file is damaged" });
    expect(a.told()).toEqual(["memory-failed"]);
    const b = member();
    b.tell({ kind: "drain" });
    for (const job of ["file", "release"] as const) b.tell({ kind: "done", job });
    b.tell({ kind: "failed", job: "memory", why: "EROFS" });
    b.pass(100);
    b.tell(reconciled());
    b.tell({ kind: "done", job: "carrier" });
    b.tell({ kind: "protected", mended: [] });
    expect(b.state.mode).toBe("drained");
  });
});
