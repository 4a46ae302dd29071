/** What the agent does about the kernel, and how it ends. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { ip } from "../testing/address.ts";
import { exposition, gauges } from "./metrics.ts";
import type { CarrierWish } from "./model.ts";
import { statusOf } from "./status.ts";
import type { Report } from "../fabric/reconcile/report.ts";
import { agent, CONFIG, hostAt, leaseOf, member, nodeOf, reconciled } from "../testing/agent-core.ts";

describe("the kernel", () => {
  test("is looked at within a second of an event, and every minute without one", () => {
    const a = member();
    a.look();
    a.tell({ kind: "kernel-changed", what: "objects" });
    expect(a.wakeAt).toBeLessThan(1_000);
    a.pass(999);
    expect(a.find("reconcile")?.full).toBe(false);
    a.tell(reconciled());
    a.look();
    a.pass(70_000);
    expect(a.find("reconcile")?.full).toBe(true);
  });

  test("is not read anew for one more node", () => {
    const a = member();
    a.tell({ kind: "nodes", news: { kind: "put", node: nodeOf("10.0.2.0/24", "192.0.2.2") } });
    a.pass(10);
    expect(a.find("reconcile")?.full).toBe(false);
  });

  test("is read anew every minute, however many nodes come", () => {
    const a = member();
    let full = 0;
    for (let i = 0; i < 200; i++) {
      a.tell({
        kind: "nodes",
        news: { kind: "put", node: nodeOf(`10.0.${i + 2}.0/24`, `192.0.2.${i + 2}`) },
      });
      a.pass(1_000);
      for (const e of a.look())
        if (e.kind === "reconcile") {
          full += e.full ? 1 : 0;
          a.tell(reconciled());
        }
    }
    expect(full).toBeGreaterThanOrEqual(3);
    expect(full).toBeLessThanOrEqual(5);
  });

  test("that somebody changed is told, and a fight once at its beginning and its end", () => {
    const a = member();
    const route = { object: "route", key: "10.0.2.0/24" } as const;
    const look = (report: Partial<Report>): readonly string[] => {
      a.tell({ kind: "kernel-changed", what: "objects" });
      a.pass(1_000);
      a.look();
      a.tell(reconciled(report));
      return a.told();
    };
    expect(look({ changes: [{ ...route, action: "repaired" }] })).toEqual(["kernel-repaired"]);
    expect(look({ changes: [{ ...route, action: "added" }] })).toEqual([]);
    const fights = [{ ...route, repairs: 6 }];
    expect(look({ fights })).toEqual(["kernel-fight"]);
    expect(look({ fights })).toEqual([]);
    expect(look({})).toEqual(["kernel-peace"]);
  });

  test("has a firewall that somebody else mends too, with the same patience", () => {
    const a = member();
    const repair = (): readonly string[] => {
      a.tell({ kind: "kernel-changed", what: "rules" });
      a.pass(100);
      if (a.find("protect") === undefined) return ["waits"];
      a.look();
      a.tell({ kind: "protected", mended: ["rules of iptables"] });
      return a.told();
    };
    for (let i = 0; i < 5; i++) expect(repair()).toEqual(["firewall-repaired"]);
    expect(repair()).toEqual(["firewall-repaired", "kernel-fight"]);
    expect(
      statusOf(a.state, { node: "a", provider: "flannel", version: "1", pid: 1, startedAt: 0 }).kernel.fights,
    ).toEqual(["rules of the firewall"]);
    let repairs = 0;
    for (let i = 0; i < 300; i++) if (repair().includes("firewall-repaired")) repairs++;
    expect(repairs).toBeLessThanOrEqual(6);
    a.pass(66_000);
    a.look();
    a.tell({ kind: "protected", mended: [] });
    expect(a.told()).toContain("kernel-peace");
  });

  test("has a firewall whose repair is told, and not that it was put there", () => {
    const a = member();
    const rule = "nftables chain flannel_10.0.0.0/16";
    a.tell({ kind: "kernel-changed", what: "rules" });
    a.pass(100);
    expect(a.find("protect")).toBeDefined();
    a.look();
    a.tell({ kind: "protected", mended: [rule] });
    expect(a.told()).toEqual(["firewall-repaired"]);
    a.pass(66_000);
    a.look();
    a.tell({ kind: "failed", job: "firewall", why: "iptables-restore: busy" });
    expect(a.told()).toEqual(["firewall-failed", "not-ready"]);
    a.pass(1_500);
    a.look();
    a.tell({ kind: "protected", mended: [rule] });
    expect(a.told()).toEqual(["firewall-right", "ready"]);
  });

  test("has a firewall of which each hindrance is told once, stands in the status, and keeps nobody unready", () => {
    const a = member();
    const told = (...hindrances: readonly string[]): readonly string[] => {
      a.pass(66_000);
      a.look();
      a.tell({ kind: "protected", mended: [], hindrances });
      return a.told();
    };
    expect(told("FORWARD drops")).toEqual(["firewall-hindered"]);
    expect(told("FORWARD drops")).toEqual([]);
    const about = { node: "a", provider: "flannel", version: "1", pid: 1, startedAt: 0 };
    expect(statusOf(a.state, about)).toMatchObject({ ready: true, hindrances: ["FORWARD drops"] });
    expect(told("FORWARD drops", "a chain stays")).toEqual(["firewall-hindered"]);
    expect(told("a chain stays")).toEqual([]);
    expect(told()).toEqual(["firewall-free"]);
  });

  test("that refuses something is tried again when the reconciler says so, and the rest goes on", () => {
    const a = member();
    const failures = [
      {
        object: "route",
        key: "10.0.2.0/24",
        error: new NetError("netlink/refused", { request: "RTM_NEWROUTE", errno: "ENETUNREACH" }),
      },
    ] as const;
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(100);
    a.look();
    a.tell(reconciled({ failures, retryInMs: 1_000 }));
    expect(a.told()).toEqual(["kernel-failed"]);
    expect(a.state.ready).toBe(true);
    a.pass(1_000);
    expect(a.find("reconcile")?.full).toBe(false);
    a.look();
    a.tell(reconciled({ full: false, waiting: 1 }));
    expect(a.state.kernel.problems).toHaveLength(1);
    // Neither a look at something else nor one at everything while it is held says that it is right.
    for (const report of [
      { full: false, retryInMs: 900 },
      { full: true, waiting: 1, retryInMs: 900 },
    ]) {
      a.tell({ kind: "kernel-changed", what: "objects" });
      a.pass(1_000);
      a.look();
      a.tell(reconciled(report));
    }
    expect([...a.told(), a.state.kernel.problems.length]).toEqual([1]);
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(1_000);
    a.look();
    a.tell(reconciled());
    expect(a.told()).toEqual(["kernel-right"]);
  });

  test("that has everything from before is taken over, in one line", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    a.look();
    const adopted = (key: string) => ({ object: "route", key, action: "adopted" }) as const;
    a.tell(reconciled({ changes: [adopted("10.0.2.0/24"), adopted("10.0.3.0/24")] }));
    expect(a.told()).toEqual(["kernel-adopted"]);
  });
});

describe("a kernel that tells nothing any more", () => {
  test("is told of once, and when it is heard again everything is looked at", () => {
    const a = member();
    a.tell({ kind: "listened", to: "objects" });
    expect(a.wanted()).toEqual([]);
    a.tell({ kind: "listened", to: "objects", why: "ENOBUFS" });
    a.tell({ kind: "listened", to: "objects", why: "ENOBUFS" });
    a.tell({ kind: "listened", to: "rules", why: "EMFILE" });
    expect(a.told()).toEqual(["kernel-deaf", "kernel-deaf"]);
    expect(a.state.ready).toBe(true);
    a.tell({ kind: "listened", to: "objects" });
    a.pass(10);
    expect(a.find("reconcile")?.full).toBe(true);
    expect(a.wanted()).toEqual(["kernel-heard", "look-at-host", "reconcile"]);
    a.tell({ kind: "listened", to: "rules" });
    expect(a.wanted()).toEqual(["kernel-heard", "protect"]);
    expect(a.state.deaf).toEqual({});
  });

  test("is in the metrics and in the status", () => {
    const a = member();
    a.tell({ kind: "listened", to: "rules", why: "EMFILE" });
    expect(exposition(gauges(a.state))).toContain("\nheddle_agent_kernel_deaf 1\n");
    const about = { node: "host1", provider: "flannel", version: "1", pid: 7, startedAt: 0 };
    expect(statusOf(a.state, about).kernel.deaf).toEqual([{ to: "rules", why: "EMFILE" }]);
  });
});

describe("the process that carries packets", () => {
  const carrying = () => {
    const a = member("10.0.1.0/24");
    const peers = [{ id: "a", subnets: ["10.0.2.0/24"], address: "192.0.2.2", port: 8285, heddle: true }];
    const wish = { device: "flannel0", mtuBytes: 1472, listen: ip("0.0.0.0"), port: 8285, own: [], peers };
    let now: CarrierWish = wish;
    a.change((state) => {
      if (state.joined === undefined) throw new Error("not joined");
      return {
        ...state,
        joined: { ...state.joined, network: { ...state.joined.network, carriage: () => now } },
      };
    });
    const look = (next: CarrierWish): void => {
      now = next;
      a.tell({
        kind: "nodes",
        news: { kind: "put", node: nodeOf("10.0.9.0/24", `192.0.2.${9 + (drawn += 1)}`) },
      });
      a.pass(600);
      if (a.find("reconcile")) a.tell(reconciled());
    };
    let drawn = 0;
    return { a, wish, look };
  };

  test("is told who the peers are when they change, and not otherwise", () => {
    const { a, wish, look } = carrying();
    look(wish);
    expect(a.find("carry")?.wish).toBe(wish);
    expect(a.state.ready).toBe(false);
    a.tell({ kind: "done", job: "carrier" });
    expect(a.state.ready).toBe(true);
    a.look();
    look({ ...wish, peers: [...wish.peers] });
    expect(a.find("carry")).toBeUndefined();
    look({ ...wish, peers: [] });
    expect(a.find("carry")?.wish?.peers).toEqual([]);
  });

  test("is asked every few seconds how it is, and the host is not ready while it does not answer", () => {
    const { a, wish, look } = carrying();
    look(wish);
    const forwarder = { device: "flannel0", packets: 1 } as never;
    a.tell({ kind: "done", job: "carrier", forwarder });
    expect(a.state.forwarder).toBe(forwarder);
    a.look();
    a.pass(4_000);
    expect(a.wanted()).not.toContain("carry");
    a.pass(2_000);
    expect(a.wanted()).toContain("carry");
    a.pass(60_000);
    expect(a.wanted()).not.toContain("carry");
    a.tell({ kind: "failed", job: "carrier", why: "it does not answer" });
    expect(a.wanted()).toEqual(["carrier-failed", "not-ready", "ready=false"]);
    expect(a.state.forwarder).toBeUndefined();
    a.pass(1_500);
    expect(a.wanted()).toContain("carry");
    a.tell({ kind: "done", job: "carrier", forwarder });
    expect(a.told()).toEqual(["carrier-right", "ready"]);
  });

  test("is started again at once when it ended, and ended by a drain", () => {
    const { a, wish, look } = carrying();
    look(wish);
    a.tell({ kind: "done", job: "carrier" });
    a.look();
    a.tell({ kind: "carrier-lost" });
    expect(a.wanted()).toEqual(["carrier-lost", "carry"]);
    a.tell({ kind: "failed", job: "carrier", why: "it does not answer" });
    expect(a.wanted()).toEqual(["carrier-failed", "not-ready", "ready=false"]);
    a.pass(1_500);
    a.tell({ kind: "done", job: "carrier" });
    expect(a.told()).toEqual(["carrier-right", "ready"]);
    a.tell({ kind: "drain" });
    a.tell({ kind: "done", job: "file" });
    a.tell({ kind: "done", job: "release" });
    a.pass(600);
    expect(a.find("carry")).toEqual({ kind: "carry", wish: undefined });
    a.tell({ kind: "done", job: "carrier" });
    a.tell({ kind: "done", job: "memory" });
    a.tell(reconciled());
    a.tell({ kind: "protected", mended: [] });
    expect(a.state.mode).toBe("drained");
  });
});

describe("an agent that ends", () => {
  test("by a signal leaves everything as it is", () => {
    const a = member();
    a.tell({ kind: "stop", why: "SIGTERM" });
    expect(a.wanted()).toEqual(["stopping", "end"]);
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    a.pass(100_000);
    expect(a.wanted()).toEqual([]);
  });

  test("by drain takes the file away, gives the lease back, and then takes everything out of the kernel", () => {
    const a = member("10.0.1.0/24", [nodeOf("10.0.2.0/24", "192.0.2.2")]);
    a.tell({ kind: "drain" });
    expect(a.find("remember")).toEqual({ kind: "remember", known: undefined });
    expect(a.wanted()).toEqual(["draining", "release", "publish", "remember", "not-ready", "ready=false"]);
    a.tell({ kind: "done", job: "memory" });
    a.tell({ kind: "done", job: "file" });
    a.tell({ kind: "done", job: "release" });
    a.pass(600);
    expect(a.find("reconcile")?.wanted.links).toEqual([]);
    expect(a.wanted()).toEqual(["file-removed", "lease-released", "protect", "reconcile"]);
    a.tell({ kind: "protected", mended: [] });
    a.tell(reconciled());
    expect(a.told()).toEqual(["drained"]);
    a.pass(200_000);
    expect(a.wanted()).toEqual([]);
  });

  test("by drain gives back the subnet that it was asking for, too", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    expect(a.wanted()).toContain("acquire");
    a.tell({ kind: "drain" });
    a.tell({ kind: "protected", mended: [] });
    a.tell({ kind: "done", job: "file" });
    a.tell(reconciled());
    a.tell({ kind: "done", job: "carrier" });
    a.tell({ kind: "done", job: "memory" });
    expect(a.state.mode).toBe("draining");
    a.look();
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    expect(a.wanted()).toContain("release");
    a.tell({ kind: "done", job: "release" });
    expect(a.state.mode).toBe("drained");
  });

  test("by drain while the store is away waits for it, with the data plane in place", () => {
    const a = member();
    a.tell({ kind: "drain" });
    a.tell({ kind: "done", job: "file" });
    a.look();
    a.tell({ kind: "failed", job: "release", why: "timeout" });
    a.pass(10_000);
    const wanted = a.wanted();
    expect(wanted).toContain("release");
    expect(wanted).not.toContain("reconcile");
    expect(a.state.mode).toBe("draining");
  });
});
