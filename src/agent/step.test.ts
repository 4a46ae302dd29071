import { describe, expect, test } from "bun:test";
import { agent, CONFIG, hostAt, leaseOf, member, nodeOf, reconciled } from "../testing/agent-core.ts";
import { ip } from "../testing/address.ts";
import { keyPair } from "../testing/wireguard.ts";
import type { Host } from "./model.ts";

describe("an agent that starts", () => {
  test("asks for one thing after another, the file last", () => {
    const a = agent();
    a.tell({ kind: "time" });
    expect(a.wanted()).toEqual(["read-config"]);
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.wanted()).toEqual(["config-loaded", "look-at-host", "watch-nodes"]);
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    expect(a.wanted()).toEqual(["nodes-listed"]);
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    expect(a.wanted()).toEqual(["acquire"]);
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    expect(a.wanted()).toEqual(["lease-acquired", "hold", "reconcile", "carry", "protect", "remember"]);
    a.tell({ kind: "done", job: "carrier" });
    a.tell({ kind: "protected", mended: [] });
    expect(a.wanted()).toEqual([]);
    a.tell(reconciled());
    expect(a.wanted()).toEqual(["publish"]);
    a.tell({ kind: "done", job: "file" });
    expect(a.wanted()).toEqual(["file-written", "ready", "ready=true"]);
  });

  test("takes containers when the kernel was looked at with the device of the process that carries packets", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: "10.0.0.0/16 udp" });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    a.tell({ kind: "protected", mended: [] });
    a.tell(reconciled({ waiting: 2 }));
    a.look();
    a.tell({ kind: "done", job: "carrier" });
    a.pass(100);
    expect(a.wanted()).toEqual(["reconcile"]);
    a.tell(reconciled());
    expect(a.wanted()).toEqual(["publish"]);
    a.tell({ kind: "done", job: "file" });
    expect(a.wanted()).toEqual(["file-written", "ready", "ready=true"]);
  });

  test("leaves the file and the kernel alone while the store is away, and goes on when it is back", () => {
    const a = agent("10.0.7.0/24");
    a.tell({ kind: "time" });
    a.tell({ kind: "failed", job: "config", why: "connection refused" });
    expect(a.wanted()).toEqual(["read-config", "store-unreachable"]);
    for (let i = 0; i < 5; i++) {
      a.pass(30_000);
      a.tell({ kind: "failed", job: "config", why: "connection refused" });
    }
    expect(a.wanted().filter((w) => w !== "read-config")).toEqual([]);
    a.pass(31_000);
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.told()).toEqual(["store-back", "config-loaded"]);
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    expect(a.find("acquire")?.before?.v4?.text).toBe("10.0.7.0/24");
  });

  test("tells the same hardware address as the agent before, which it finds in the store", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    const nodes = [nodeOf("10.0.9.0/24", "192.0.2.9"), nodeOf("10.0.1.0/24", "192.0.2.1", "mine")];
    a.tell({ kind: "nodes", news: { kind: "all", nodes } });
    expect(a.find("acquire")?.wanted.backend).toEqual({ type: "vxlan", v4: { name: "mine" } });
  });

  test("finds what it told before by its node's name, where that has another address", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "host-read", host: { ...hostAt("192.0.2.1"), id: "host1" } });
    const nodes = [
      { ...nodeOf("10.0.9.0/24", "192.0.2.1", "another's"), id: "host9" },
      { ...nodeOf("10.0.1.0/24", "203.0.113.1", "mine"), id: "host1" },
    ];
    a.tell({ kind: "nodes", news: { kind: "all", nodes } });
    expect(a.find("acquire")?.wanted.backend).toEqual({ type: "vxlan", v4: { name: "mine" } });
  });

  test("with a broken configuration tries again, tells it once, and joins when it is mended", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: "{" });
    a.pass(40_000);
    a.tell({ kind: "config-read", text: "{" });
    expect(a.told()).toEqual(["config-refused"]);
    a.pass(40_000);
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.wanted()).toContain("watch-nodes");
  });

  test("without a configuration in the store says so once, looks again, and joins when there is one", () => {
    const a = agent();
    a.tell({ kind: "time" });
    const why = "no configuration in /coreos.com/network/config";
    for (let i = 0; i < 4; i++) {
      a.tell({ kind: "config-missing", why });
      a.pass(31_000);
    }
    expect(a.wanted().filter((w) => w !== "read-config")).toEqual(["config-missing"]);
    expect([a.state.store.up, a.state.refusedConfig?.why]).toEqual([true, why]);
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.wanted()).toEqual(["config-loaded", "look-at-host", "watch-nodes"]);
    expect(a.state.refusedConfig).toBeUndefined();
  });

  test("asks for a lease once, though a transport draws something for each announcement", () => {
    const a = member();
    a.pass(10_000);
    expect(a.look().filter((e) => e.kind === "acquire")).toEqual([]);
  });
});

describe("a member", () => {
  test("looks at a firewall that others change all the time for a fifth of the time", () => {
    const a = member();
    a.tell({ kind: "kernel-changed", what: "rules" });
    a.pass(30);
    expect(a.wanted()).toEqual(["protect"]);
    a.tell({ kind: "protected", mended: [], tookMs: 500 });
    a.tell({ kind: "kernel-changed", what: "rules" });
    a.pass(1_999);
    expect(a.wanted()).not.toContain("protect");
    a.pass(1);
    expect(a.wanted()).toContain("protect");
  });

  test("looks at the host with the address in mind that it has", () => {
    const a = member();
    a.tell({ kind: "kernel-changed", what: "host" });
    a.pass(30);
    expect(a.find("look-at-host")?.before?.v4?.text).toBe("192.0.2.1");
  });

  test("looks at a host that changes all the time for a tenth of the time", () => {
    const a = member();
    a.tell({ kind: "kernel-changed", what: "host" });
    a.pass(30);
    expect(a.wanted()).toEqual(["look-at-host"]);
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1"), tookMs: 200 });
    a.tell({ kind: "kernel-changed", what: "host" });
    a.pass(1_999);
    expect(a.wanted()).not.toContain("look-at-host");
    a.pass(1);
    expect(a.wanted()).toContain("look-at-host");
  });

  test("keeps everything while the store is away, and is ready", () => {
    const a = member("10.0.1.0/24", [nodeOf("10.0.2.0/24", "192.0.2.2")]);
    a.tell({ kind: "lease", news: { kind: "failing", why: "timeout", retryInSeconds: 60 } });
    a.tell({ kind: "failed", job: "nodes", why: "timeout" });
    expect(a.wanted()).toEqual(["store-unreachable"]);
    expect(a.state.ready).toBe(true);
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(100);
    expect(a.find("reconcile")?.wanted.routes.map((r) => r.dst.text)).toEqual(["10.0.2.0/24"]);
  });

  test("tells why the nodes cannot be had, also before it has a subnet", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: CONFIG });
    a.look();
    for (let i = 0; i < 3; i++) a.tell({ kind: "nodes", news: { kind: "failing", why: "no list" } });
    expect(a.told()).toEqual(["store-unreachable"]);
    expect(a.state.store).toMatchObject({ up: false, why: "no list" });
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [] } });
    expect(a.state.store.up).toBe(true);
  });

  test("goes by the nodes that are listed again and again, and says so until changes are told", () => {
    const a = member();
    a.look();
    const nodes = [nodeOf("10.0.2.0/24", "192.0.2.2")];
    for (let i = 0; i < 3; i++)
      a.tell({ kind: "nodes", news: { kind: "all", nodes, unwatched: "the watch is cut" } });
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.told()).toEqual(["store-unreachable", "node-joined"]);
    a.pass(1_000);
    expect(a.find("reconcile")?.wanted.routes.map((r) => r.dst.text)).toEqual(["10.0.2.0/24"]);
    a.look();
    a.tell({ kind: "nodes", news: { kind: "back" } });
    expect(a.told()).toEqual(["store-back"]);
  });

  test("whose lease cannot be written hears of it once, though the configuration can be read all the time", () => {
    const a = member();
    a.tell({ kind: "lease", news: { kind: "failing", why: "no leader", retryInSeconds: 60 } });
    for (let i = 0; i < 5; i++) {
      a.pass(33_000);
      a.tell({ kind: "config-read", text: CONFIG });
      a.tell({ kind: "lease", news: { kind: "failing", why: "no leader", retryInSeconds: 60 } });
    }
    expect(a.told()).toEqual(["store-unreachable"]);
    a.tell({ kind: "lease", news: { kind: "renewed", lease: leaseOf("10.0.1.0/24") } });
    expect(a.told()).toEqual(["store-back"]);
  });

  test("that lost its subnet takes it again if it is free, and its containers notice nothing", () => {
    const a = member();
    a.tell({ kind: "lease", news: { kind: "lost", why: "the lease ended" } });
    expect(a.find("acquire")?.before?.v4?.text).toBe("10.0.1.0/24");
    expect(a.wanted()).toEqual(["lease-lost", "acquire", "not-ready", "ready=false"]);
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    a.pass(10);
    expect(a.wanted()).toEqual(["lease-acquired", "hold", "ready", "ready=true", "reconcile"]);
  });

  test("that lost its subnet to another host keeps the old network and offers the new one", () => {
    const a = member("10.0.1.0/24", [nodeOf("10.0.2.0/24", "192.0.2.2")]);
    a.tell({ kind: "lease", news: { kind: "lost", why: "192.0.2.2 has it" } });
    a.look();
    a.tell({ kind: "acquired", lease: leaseOf("10.0.5.0/24") });
    // Its first container may have come since the last look.
    expect(a.wanted()).toEqual(["lease-acquired", "subnet-changed", "look-at-host", "hold"]);
    const host = hostAt("192.0.2.1", [["cni0", "10.0.1.1/24"]]);
    a.tell({ kind: "host-read", host });
    a.tell(reconciled());
    a.tell({ kind: "nodes", news: { kind: "put", node: nodeOf("10.0.1.0/24", "192.0.2.2") } });
    a.pass(600);
    // The containers that run keep their network: no route leads it away.
    expect(a.find("reconcile")?.wanted.routes.map((r) => r.dst.text)).toEqual(["10.0.2.0/24"]);
    expect(a.state.troubles.map(({ code, node }) => [code, node])).toEqual([
      ["subnet-overlap", "10.0.1.0/24"],
    ]);
    a.tell({ kind: "protected", mended: [] });
    a.tell(reconciled());
    a.pass(600);
    expect(a.find("publish")?.offer?.self.subnets.v4?.text).toBe("10.0.5.0/24");
    a.tell({ kind: "done", job: "file" });
    expect(a.state.ready).toBe(true);
  });

  test("offers another subnet when the kernel is done with that one, not with the one before", () => {
    const a = member("10.0.1.0/24");
    a.tell({ kind: "kernel-changed", what: "objects" });
    a.pass(1_000);
    expect(a.find("reconcile")).toBeDefined();
    a.tell({ kind: "lease", news: { kind: "lost", why: "taken" } });
    a.tell({ kind: "acquired", lease: leaseOf("10.0.5.0/24") });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.tell({ kind: "protected", mended: [] });
    a.look();
    a.tell(reconciled());
    a.pass(1_000);
    expect(a.find("reconcile")).toBeDefined();
    expect(a.find("publish")).toBeUndefined();
    a.tell(reconciled());
    expect(a.find("publish")?.offer?.self.id).toBe("10.0.5.0/24");
  });

  test("that gets no subnet instead of a lost one takes the file away, so that nobody is given another's address", () => {
    const a = member();
    a.tell({ kind: "lease", news: { kind: "lost", why: "taken" } });
    a.look();
    a.tell({ kind: "failed", job: "lease", why: "no free subnet" });
    expect(a.find("publish")).toEqual({ kind: "publish", offer: undefined });
    expect(a.wanted()).toEqual(["lease-refused", "publish"]);
    a.tell({ kind: "done", job: "file" });
    expect(a.told()).toEqual(["file-removed"]);
    a.pass(2_000);
    expect(a.wanted()).toContain("acquire");
    a.tell({ kind: "failed", job: "lease", why: "no free subnet" });
    expect(a.told()).toEqual([]);
    a.pass(4_000);
    a.tell({ kind: "failed", job: "lease", why: "permission denied" });
    expect(a.told()).toEqual(["lease-refused"]);
  });

  test("under another public address announces its subnet anew", () => {
    const a = member();
    a.tell({ kind: "host-read", host: hostAt("198.51.100.7") });
    const acquire = a.find("acquire");
    expect([acquire?.before?.v4?.text, acquire?.wanted.publics.v4?.text]).toEqual([
      "10.0.1.0/24",
      "198.51.100.7",
    ]);
    a.pass(10);
    expect(a.wanted()).toEqual(["address-changed", "acquire", "reconcile"]);
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24", "198.51.100.7") });
    expect(a.wanted()).toEqual(["lease-acquired", "hold"]);
    expect(a.state.ready).toBe(true);
  });

  test("announces itself anew for another transport, and keeps the last good configuration over a broken one", () => {
    const a = member();
    a.pass(33_000);
    a.look();
    a.tell({ kind: "config-read", text: "10.0.0.0/16 {" });
    a.look();
    a.pass(33_000);
    a.tell({ kind: "config-read", text: "nonsense" });
    expect(a.told()).toContain("config-refused");
    expect(a.state.config?.network.transport.type).toBe("{");
    expect(a.state.ready).toBe(true);
  });

  test("keeps the last good configuration when the one in the store is taken away", () => {
    const a = member();
    a.pass(33_000);
    a.look();
    a.tell({ kind: "config-missing", why: "no configuration" });
    expect(a.told()).toEqual(["config-missing"]);
    expect([a.state.ready, a.state.config?.text]).toEqual([true, CONFIG]);
    a.pass(33_000);
    a.tell({ kind: "config-read", text: CONFIG });
    expect(a.told()).toEqual(["config-loaded"]);
  });

  test("takes its subnet anew in another network", () => {
    const a = member();
    a.pass(33_000);
    a.look();
    a.tell({ kind: "config-read", text: "10.9.0.0/16 vxlan" });
    expect(a.wanted()).toEqual(["config-loaded", "look-at-host"]);
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    expect(a.wanted()).toEqual(["acquire"]);
    a.tell({ kind: "failed", job: "lease", why: "no free subnet" });
    expect(a.state.ready).toBe(true);
    a.pass(2_000);
    a.look();
    a.tell({ kind: "acquired", lease: leaseOf("10.9.1.0/24") });
    a.tell({ kind: "host-read", host: hostAt("192.0.2.1") });
    a.pass(10);
    expect(a.find("reconcile")).toBeDefined();
    expect(a.find("protect")?.offer?.network.whole.v4?.text).toBe("10.9.0.0/16");
  });

  test("asks for its keys while either network needs them, and is announced when it has them", () => {
    const a = member();
    const keyed: Host = { ...hostAt("192.0.2.1"), key: "keyed" };
    const withKeys: Host = { ...keyed, facts: { ...keyed.facts, keys: keyPair(1) } };
    const looks = (): readonly boolean[] =>
      a.look().flatMap((e) => (e.kind === "look-at-host" ? [e.withKeys] : []));
    a.pass(33_000);
    a.look();
    a.tell({ kind: "config-read", text: "10.0.0.0/16 wireguard" });
    expect(looks()).toEqual([true]);
    a.tell({ kind: "failed", job: "host", why: "/run/flannel/wgkey: is not a key" });
    expect(a.wanted()).toEqual(["host-unclear"]);
    a.pass(1_200);
    expect(looks()).toEqual([true]);
    a.tell({ kind: "host-read", host: withKeys });
    expect(a.wanted()).toContain("acquire");
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    a.tell({ kind: "config-read", text: CONFIG });
    // The tunnel stays until there is a subnet by the new network.
    expect(looks()).toEqual([true]);
    a.tell({ kind: "host-read", host: withKeys });
    a.tell({ kind: "acquired", lease: leaseOf("10.0.1.0/24") });
    a.tell({ kind: "kernel-changed", what: "host" });
    a.pass(5_000);
    expect(looks()).toEqual([false]);
  });

  test("tells who comes, changes and goes, and not itself", () => {
    const a = member();
    const peer = nodeOf("10.0.2.0/24", "192.0.2.2");
    for (const node of [
      peer,
      peer,
      { ...peer, publics: { v4: ip("192.0.2.3") } },
      nodeOf("10.0.1.0/24", "192.0.2.1"),
    ])
      a.tell({ kind: "nodes", news: { kind: "put", node } });
    a.tell({ kind: "nodes", news: { kind: "gone", id: peer.id } });
    expect(a.told()).toEqual(["node-joined", "node-changed", "node-left"]);
  });

  test("leaves out a node that cannot be read, tells it once, and serves the others", () => {
    const a = member();
    const broken = { id: "x", why: "BackendData is not an object" };
    a.tell({ kind: "nodes", news: { kind: "all", nodes: [broken, nodeOf("10.0.2.0/24", "192.0.2.2")] } });
    a.pass(1_000);
    expect(a.find("reconcile")?.wanted.routes).toHaveLength(1);
    expect(a.told().filter((code) => code === "node-refused")).toHaveLength(1);
    a.tell(reconciled());
    a.tell({ kind: "nodes", news: { kind: "gone", id: "x" } });
    a.pass(1_000);
    expect(a.told()).toEqual(["node-accepted"]);
  });

  test("tells a crowd of nodes in a few lines", () => {
    const a = member();
    const nodes = Array.from({ length: 200 }, (_, i) => nodeOf(`10.0.${i + 2}.0/24`, `192.0.2.${i + 2}`));
    a.tell({ kind: "nodes", news: { kind: "all", nodes } });
    expect(a.told()).toHaveLength(21);
  });
});
