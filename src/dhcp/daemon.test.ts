/** The daemon's decisions, with children, clock and disk that the test plays. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { NetError } from "../errors.ts";
import { statPath } from "../sys/files.ts";
import { tempDir } from "../testing/temp-dir.ts";
import type { Clock } from "./clock.ts";
import { makeDaemon } from "./daemon.ts";
import type { LeaseKey, Terms } from "./model.ts";
import type { Request } from "./protocol.ts";
import { type Lease, leaseId, type Store } from "./store.ts";
import type { Answer, Task } from "./task.ts";

const key = (containerId: string, network = "lan"): LeaseKey => ({ network, containerId, ifname: "eth0" });
const never = new AbortController().signal;
const terms4: Terms = {
  family: 4,
  address: "10.0.0.5/24",
  server: "10.0.0.1",
  serverMac: "02:00:00:00:00:01",
  routers: [],
  staticRoutes: [],
  nameservers: [],
  search: [],
  timeServers: [],
  leaseSeconds: 1000,
  renewSeconds: 500,
  rebindSeconds: 875,
};
const terms6: Terms = {
  family: 6,
  address: "fd00::5/128",
  server: "00",
  nameservers: [],
  search: [],
  leaseSeconds: 1000,
  renewSeconds: 500,
  rebindSeconds: 800,
};
const link = { index: 2, mac: "02:00:00:00:00:05" };
const bound = (terms: Terms): Answer => ({ kind: "bound", terms, link, ageMs: 0, ignored: [] });

type Player = (task: Task, signal: AbortSignal) => Answer | Promise<Answer>;
const usual: Player = (task) => {
  if (task.kind === "acquire") return bound(task.family === 4 ? terms4 : terms6);
  if (task.kind === "renew" || task.kind === "rebind") return bound(task.terms);
  return { kind: "done" };
};

/** A file stands for a namespace: both are known by device and inode. */
function stage(player: Player = usual, disk = new Map<string, Lease>()) {
  const dir = tempDir("daemon");
  const path = dir.in("netns");
  writeFileSync(path, "");
  const found = statPath(path);
  const netns = { path, dev: Number(found?.dev), ino: Number(found?.ino) };
  const time = { nowMs: 1_000_000, wallMs: 5_000_000, bootId: "a" };
  const clock: Clock = {
    now: () => time.nowMs,
    wall: () => time.wallMs,
    get bootId() {
      return time.bootId;
    },
  };
  const store: Store = {
    load: () => [...disk.values()],
    save: (lease) => void disk.set(leaseId(lease.key, lease.terms.family), lease),
    remove: (k, family) => void disk.delete(leaseId(k, family)),
    [Symbol.dispose]: () => {},
  };
  const tasks: Task[] = [];
  const log: string[] = [];
  const play = { player };
  const open = () =>
    makeDaemon({
      store,
      clock,
      run: async (make, signal) => {
        const task = make();
        tasks.push(task);
        return play.player(task, signal);
      },
      times: { totalMs: 1000, resendMaxMs: 100, answerMs: 100 },
      hostPrefix: "",
      broadcast: false,
      log: (line) => log.push(line),
    });
  const acquire = (k: LeaseKey, families: readonly (4 | 6)[] = [4]): Request => ({
    op: "acquire",
    key: k,
    netns,
    client: { id: "00", options: [], request: [], broadcast: false },
    families,
  });
  return {
    open,
    daemon: open(),
    acquire,
    disk,
    tasks,
    log,
    time,
    play,
    dir,
    [Symbol.dispose]: () => dir[Symbol.dispose](),
  };
}
type Stage = ReturnType<typeof stage>;

/** Lets the clock go on and waits for what that begins. */
async function pass(s: Stage, daemon: Stage["daemon"], ms: number): Promise<number> {
  s.time.nowMs += ms;
  s.time.wallMs += ms;
  daemon.tick();
  for (let i = 0; i < 20; i++) await Promise.resolve();
  return daemon.tick();
}
const kinds = (s: Stage): readonly string[] => s.tasks.map((t) => t.kind);
const failure = async (work: Promise<unknown>): Promise<NetError> => {
  try {
    await work;
  } catch (e) {
    if (e instanceof NetError) return e;
    throw e;
  }
  throw new Error("it succeeded");
};

describe("ADD", () => {
  test("gets a lease of each family, all or none", async () => {
    using s = stage();
    const leases = await s.daemon.handle(s.acquire(key("a"), [4, 6]), never);
    expect(leases.map((l) => l.terms.address)).toEqual(["10.0.0.5/24", "fd00::5/128"]);
    expect(s.disk.size).toBe(2);
    s.play.player = (task, signal) =>
      task.kind === "acquire" && task.family === 6 ? { kind: "silent", why: "nobody" } : usual(task, signal);
    const e = await failure(s.daemon.handle(s.acquire(key("b"), [4, 6]), never));
    expect([e.code, e.message]).toEqual(["try-again", "no lease for ipv6 on eth0: nobody"]);
    expect(s.disk.size).toBe(2);
    expect(kinds(s).at(-1)).toBe("release");
  });

  test("of an interface that has a lease is refused, and leaves it alone", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    const e = await failure(s.daemon.handle(s.acquire(key("a")), never));
    expect(e.code).toBe("ipam/taken");
    expect(s.disk.size).toBe(1);
  });

  test("replaces what a dead interface of the same key has left, and asks for its address", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    s.play.player = (task, signal) =>
      task.kind === "probe" ? { kind: "gone", why: "x" } : usual(task, signal);
    await s.daemon.handle(s.acquire(key("a")), never);
    expect(s.tasks.at(-1)).toMatchObject({ kind: "acquire", wanted: "10.0.0.5/24" });
    expect(s.disk.size).toBe(1);
  });

  test("whose caller went away ends its child and keeps nothing", async () => {
    using s = stage((task, signal) =>
      task.kind === "acquire"
        ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)))
        : { kind: "done" },
    );
    const gone = new AbortController();
    const adding = s.daemon.handle(s.acquire(key("a")), gone.signal).catch((e: unknown) => e);
    await Promise.resolve();
    gone.abort(new Error("went away"));
    expect(await adding).toBeInstanceOf(Error);
    expect(s.disk.size).toBe(0);
  });

  test("that is still at it when DEL comes gives back what it gets", async () => {
    using s = stage((task, signal) =>
      task.kind === "acquire" && task.family === 6
        ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)))
        : usual(task, signal),
    );
    const adding = failure(s.daemon.handle(s.acquire(key("a"), [4, 6]), never));
    for (let i = 0; i < 20; i++) await Promise.resolve();
    await s.daemon.handle({ op: "release", key: key("a") }, never);
    expect((await adding).message).toBe("DEL came before ADD was done");
    expect(s.disk.size).toBe(0);
    expect(kinds(s)).toContain("release");
  });
});

describe("upkeep", () => {
  test("renews at T1, and says when it is due again", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    expect(await pass(s, s.daemon, 499_000)).toBe(1000);
    await pass(s, s.daemon, 1000);
    expect(kinds(s)).toEqual(["acquire", "renew"]);
    await pass(s, s.daemon, 499_000);
    expect(kinds(s)).toEqual(["acquire", "renew"]);
  });

  test("rebinds at T2 and takes the address away at the end", async () => {
    using s = stage((task, signal) =>
      task.kind === "renew" || task.kind === "rebind"
        ? { kind: "silent", why: "nobody" }
        : usual(task, signal),
    );
    await s.daemon.handle(s.acquire(key("a")), never);
    for (let t = 0; t < 1010; t += 10) await pass(s, s.daemon, 10_000);
    expect(new Set(kinds(s))).toEqual(new Set(["acquire", "renew", "rebind", "withdraw"]));
    const [lease] = s.disk.values();
    expect(lease?.over).toBe("nobody renewed it");
    const before = s.tasks.length;
    await pass(s, s.daemon, 1_000_000);
    expect(s.tasks.length).toBe(before);
    await s.daemon.handle({ op: "release", key: key("a") }, never);
    expect(s.disk.size).toBe(0);
    expect(kinds(s)).not.toContain("release");
  });

  test("tries again later what failed on this host", async () => {
    using s = stage((task, signal) =>
      task.kind === "renew"
        ? { kind: "refused", why: "x" }
        : task.kind === "withdraw"
          ? { kind: "failed", why: "no memory" }
          : usual(task, signal),
    );
    await s.daemon.handle(s.acquire(key("a")), never);
    await pass(s, s.daemon, 500_000);
    expect(kinds(s).filter((k) => k === "withdraw")).toHaveLength(1);
    await pass(s, s.daemon, 1000);
    expect(kinds(s).filter((k) => k === "withdraw")).toHaveLength(1);
    await pass(s, s.daemon, 60_000);
    expect(kinds(s).filter((k) => k === "withdraw")).toHaveLength(2);
  });

  test("forgets a lease whose namespace is another by now", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    s.dir[Symbol.dispose]();
    await pass(s, s.daemon, 500_000);
    expect(s.disk.size).toBe(0);
    expect(kinds(s)).toEqual(["acquire"]);
  });

  test("goes on where another daemon stopped, however the wall clock was set since", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    await s.daemon.stop();
    s.time.wallMs -= 3_000_000;
    const next = s.open();
    await pass(s, next, 499_000);
    expect(kinds(s)).toEqual(["acquire"]);
    await pass(s, next, 1000);
    expect(kinds(s)).toEqual(["acquire", "renew"]);
  });

  test("in another boot counts by the wall clock", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    s.time.bootId = "b";
    s.time.nowMs = 10_000;
    s.time.wallMs += 600_000;
    const next = s.open();
    await pass(s, next, 0);
    expect(kinds(s)).toEqual(["acquire", "renew"]);
  });
});

describe("DEL and GC", () => {
  test("DEL ends a renewal that is under way, and succeeds on what is not there", async () => {
    using s = stage((task, signal) =>
      task.kind === "renew"
        ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)))
        : usual(task, signal),
    );
    await s.daemon.handle(s.acquire(key("a")), never);
    await pass(s, s.daemon, 500_000);
    await s.daemon.handle({ op: "release", key: key("a") }, never);
    expect(kinds(s)).toEqual(["acquire", "renew", "release"]);
    expect(s.disk.size).toBe(0);
    await s.daemon.handle({ op: "release", key: key("a") }, never);
  });

  test("a lease that waits to be given back is not renewed meanwhile, and does not come back", async () => {
    const gate = Promise.withResolvers<void>();
    using s = stage(async (task, signal) => {
      if (task.kind === "release") await gate.promise;
      return usual(task, signal);
    });
    await s.daemon.handle(s.acquire(key("a")), never);
    const released = s.daemon.handle({ op: "release", key: key("a") }, never);
    await pass(s, s.daemon, 0);
    await pass(s, s.daemon, 500_000);
    gate.resolve();
    await released;
    expect(kinds(s)).toEqual(["acquire", "release"]);
    expect(s.disk.size).toBe(0);
  });

  test("a renewal that ends too late to be stopped does not bring the lease back", async () => {
    const gate = Promise.withResolvers<void>();
    using s = stage(async (task, signal) => {
      // It heard nothing of the end, as a child that had just written its answer.
      if (task.kind === "renew") await gate.promise;
      return usual(task, signal);
    });
    await s.daemon.handle(s.acquire(key("a")), never);
    await pass(s, s.daemon, 500_000);
    const released = s.daemon.handle({ op: "release", key: key("a") }, never);
    gate.resolve();
    await released;
    expect(s.disk.size).toBe(0);
  });

  test("two DELs at once both succeed", async () => {
    using s = stage();
    await s.daemon.handle(s.acquire(key("a")), never);
    await Promise.all([1, 2].map(() => s.daemon.handle({ op: "release", key: key("a") }, never)));
    expect(kinds(s).filter((k) => k === "release")).toHaveLength(1);
  });

  test("GC gives back what is not valid, in its network alone", async () => {
    using s = stage();
    for (const k of [key("a"), key("b"), key("c", "other")]) await s.daemon.handle(s.acquire(k), never);
    await s.daemon.handle(
      { op: "retain", network: "lan", valid: [{ containerId: "b", ifname: "eth0" }] },
      never,
    );
    expect([...s.disk.values()].map((l) => l.key.containerId).toSorted()).toEqual(["b", "c"]);
  });

  test("a daemon that ends takes nothing more", async () => {
    using s = stage();
    await s.daemon.stop();
    expect((await failure(s.daemon.handle(s.acquire(key("a")), never))).code).toBe("try-again");
  });
});
