/**
 * What a runtime may do to an attachment at the wrong time or with half of the facts: records and marks lost, the
 * namespace gone or replaced, another configuration, twice, or at once. Nothing may be left, and nobody harmed.
 */
import { describe, expect } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { PluginReply } from "../src/testing/cni-host.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { kernelTestWith, testWith } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { seed, some } from "../src/testing/seed.ts";
import { patience } from "../src/testing/slowdown.ts";
import { seenFrom } from "../src/testing/traffic.ts";
import { run } from "../src/testing/run.ts";
import { demand, difference, lane, type Lane, plain, snapshotOf } from "./faults/loop.ts";
import { bridgeConf, bridgeNamed, key, type Scenario, scenarios, type Subject } from "./faults/scenarios.ts";

const kernel = testWith({
  root: true,
  programs: ["ip", "nft", "iptables-restore", "nsenter", "unshare"],
});
const heddle = heddleOfFile();

console.log(`recovery sample: HEDDLE_SEED=${seed}`);

type Json = Readonly<Record<string, unknown>>;
/** Of each list this many, by the seed; `npm run test:all` takes all. */
const SCENARIOS = 7;
const rows = (list: readonly Scenario[]) => some(list, SCENARIOS).map((s) => [s.name, s] as const);
const here = scenarios.filter((s) => s.features === undefined);
const elsewhere = scenarios.filter((s) => s.features !== undefined);
const marked = here.filter((s) => s.knownBy !== "record");
const markedInHost = here.filter((s) => s.knownBy === undefined);

/** Says whether the namespace is a new one afterwards. */
type Work = (on: Subject, added: PluginReply, lane: Lane) => Promise<"new" | void>;

/** It comes with the first VRF of a namespace and stays; a new namespace has none. */
const KERNELS_RULE = /rule priority 1000 .* l3mdev .* protocol kernel$/;

const TEARDOWN_MS = 10_000;

/** What differs from before; a namespace that was deleted is taken apart when the kernel has time for it. */
async function leftOf(
  before: readonly string[],
  on: Lane,
  namespace: "same" | "new",
): Promise<readonly string[]> {
  const deadline = performance.now() + (namespace === "new" ? patience(TEARDOWN_MS) : 0);
  for (;;) {
    const changed = difference(before, await snapshotOf(on)).filter((line) => !KERNELS_RULE.test(line));
    if (changed.length === 0 || performance.now() >= deadline) return changed;
    await Bun.sleep(20);
  }
}

/** Does each work on a live attachment and compares what is left with what a plain ADD and DEL leave. */
async function leavesNothing(scenario: Scenario, ...works: readonly Work[]): Promise<void> {
  await using on = await lane(heddle);
  await plain(scenario, on.subject);
  await plain(scenario, on.other);
  const before = await snapshotOf(on);
  for (const work of works) {
    await scenario.prepare?.(on.subject);
    const added = demand("ADD", await scenario.add(on.subject));
    const namespace = (await work(on.subject, added, on)) ?? "same";
    await scenario.finish?.(on.subject, namespace);
    expect(await leftOf(before, on, namespace)).toEqual([]);
  }
}

const loseRecords = ({ host }: Subject): void =>
  rmSync(join(host.dir, "run/attachments"), { recursive: true, force: true });

async function removeAltNames({ host }: Subject): Promise<void> {
  const { stdout } = await host.exec(["ip", "-json", "link"]);
  for (const { ifname, altnames = [] } of JSON.parse(stdout) as { ifname: string; altnames?: string[] }[])
    for (const name of altnames)
      await host.exec(["ip", "link", "property", "del", "dev", ifname, "altname", name]);
}

/** A new namespace where the old one was, with its loopback down. */
async function replaceNetns({ netns }: Subject): Promise<void> {
  const name = netns.slice(netns.lastIndexOf("/") + 1);
  await run(["ip", "netns", "delete", name]);
  await makeNetns(name);
}

async function makeNetns(name: string): Promise<void> {
  await run(["ip", "netns", "add", name]);
  for (const state of ["up", "down"]) await run(["ip", "-n", name, "link", "set", "lo", state]);
}

/** What the host sees of a container that connects to its gateway: the container's address, if all is well. */
const seenByHost = ({ host, netns }: Subject): Promise<string | undefined> =>
  seenFrom(netns, `/proc/${host.pid}/ns/net`, "10.97.0.1", 8080);

const withoutRecord =
  (scenario: Scenario): Work =>
  async (on) => {
    loseRecords(on);
    demand("DEL", await scenario.del(on, scenario.knownBy === "inside" ? "full" : "bare"));
  };
const withoutNamespaceAndRecord =
  (scenario: Scenario): Work =>
  async (on) => {
    await replaceNetns(on);
    loseRecords(on);
    demand("DEL", await scenario.del(on, "full"));
    return "new";
  };

async function neverAttached(scenario: Scenario): Promise<void> {
  await using on = await lane(heddle);
  await scenario.prepare?.(on.subject);
  const before = await snapshotOf(on);
  for (const how of ["full", "bare"] as const) demand(`DEL, ${how}`, await scenario.del(on.subject, how));
  expect(await snapshotOf(on)).toEqual(before);
  await scenario.finish?.(on.subject);
}

describe("DEL leaves nothing", () => {
  kernel.each(rows(marked))("of %s after its record was lost", (_, scenario) =>
    leavesNothing(scenario, withoutRecord(scenario)),
  );
  kernel.each(rows(here))("of %s after the marks of its links were lost", (_, scenario) =>
    leavesNothing(scenario, async (on) => {
      await removeAltNames(on);
      demand("DEL", await scenario.del(on, "bare"));
    }),
  );
  kernel.each(rows(here))("of %s after the namespace is gone", (_, scenario) =>
    leavesNothing(scenario, async (on) => {
      await run(["ip", "netns", "delete", on.netns.slice("/run/netns/".length)]);
      demand("DEL", await scenario.del(on, "full"));
      await makeNetns(on.netns.slice("/run/netns/".length));
      return "new";
    }),
  );
  kernel.each(rows(here))("of %s with the namespace gone and the record lost", (_, scenario) =>
    leavesNothing(scenario, withoutNamespaceAndRecord(scenario)),
  );
  kernel.each(rows(here))("of %s that was never attached", (_, scenario) => neverAttached(scenario));
  for (const scenario of some(elsewhere, 1))
    if (scenario.features)
      kernelTestWith(...scenario.features)(
        `of ${scenario.name}: without its record, without its namespace as well, and never attached`,
        async () => {
          const lost = scenario.knownBy === "record" ? [] : [withoutRecord(scenario)];
          await leavesNothing(scenario, ...lost, withoutNamespaceAndRecord(scenario));
          await neverAttached(scenario);
        },
        60_000,
      );
  kernel.each(rows(here))("of %s when it comes twice", (_, scenario) =>
    leavesNothing(scenario, async (on) => {
      demand("DEL", await scenario.del(on, "full"));
      demand("second DEL", await scenario.del(on, "full"));
      demand("third DEL", await scenario.del(on, "bare"));
    }),
  );

  const bridge = bridgeNamed("hdlf0", { ipMasq: true });
  kernel.each([
    ["another bridge", { bridge: "other0" }],
    ["masquerading off", { ipMasq: false }],
    ["another backend", { ipMasqBackend: "iptables" }],
    ["options that contradict each other", { hairpinMode: true, promiscMode: true }],
    ["a bridge name that cannot be one", { bridge: "a/b" }],
  ] as const)("with a configuration that has %s since ADD", (_, change) =>
    leavesNothing(bridge, async (on) => {
      const { netns: __, ...bare } = key(on);
      const conf = { ...bridgeConf({ ipMasq: true })(on), ...change };
      demand("DEL", await on.host.call("bridge", { command: "DEL", ...bare }, conf));
    }),
  );
  kernel("with a configuration that has another subnet since ADD, record lost or not", async () => {
    for (const lost of [false, true])
      await leavesNothing(bridge, async (on) => {
        if (lost) loseRecords(on);
        const conf = bridgeConf({ ipMasq: true }, ["10.98.0.0/24"])(on);
        demand("DEL", await on.host.call("bridge", { command: "DEL", ...key(on) }, conf));
      });
  });
});

describe("GC leaves nothing", () => {
  kernel.each(rows(here))("of %s with its record", (_, scenario) =>
    leavesNothing(scenario, async (on) => {
      demand("GC", await scenario.gc(on));
    }),
  );
  kernel.each(rows(markedInHost))("of %s after its record was lost", (_, scenario) =>
    leavesNothing(scenario, async (on) => {
      loseRecords(on);
      demand("GC", await scenario.gc(on));
    }),
  );
});

describe("a second ADD", () => {
  kernel.each(rows(here))("of %s alive is refused by one error and harms nothing", (_, scenario) =>
    leavesNothing(scenario, async (on, added, lane) => {
      const alive = await snapshotOf(lane);
      const again = await scenario.add(on);
      expect(again.error).toBe(101);
      expect(again.message).toContain("already attached");
      expect(difference(alive, await snapshotOf(lane))).toEqual([]);
      demand("CHECK", await scenario.check(on, added));
      demand("DEL", await scenario.del(on, "full"));
    }),
  );
  const bridge = bridgeNamed("hdlf0", { ipMasq: true });
  kernel("leaves the traffic of the first alone, its record lost or not", () =>
    leavesNothing(bridge, async (on) => {
      expect(await seenByHost(on)).toStartWith("10.97.0.");
      expect((await bridge.add(on)).error).toBe(101);
      expect(await seenByHost(on)).toStartWith("10.97.0.");
      loseRecords(on);
      expect((await bridge.add(on)).error).toBe(101);
      expect(await seenByHost(on)).toStartWith("10.97.0.");
      demand("DEL", await bridge.del(on, "full"));
    }),
  );
  kernel.each(rows(here))("of %s takes over from a container that is gone", (_, scenario) =>
    leavesNothing(scenario, async (on) => {
      if (scenario.prepare) return void (await scenario.del(on, "bare"));
      await replaceNetns(on);
      const again = demand("ADD in the new namespace", await scenario.add(on));
      demand("CHECK", await scenario.check(on, again));
      demand("DEL", await scenario.del(on, "full"));
    }),
  );
  kernel("takes over from a container that is gone and whose record was lost", () =>
    leavesNothing(bridge, async (on) => {
      await replaceNetns(on);
      loseRecords(on);
      demand("ADD in the new namespace", await bridge.add(on));
      demand("DEL", await bridge.del(on, "full"));
    }),
  );
});

describe("ADDs at once", () => {
  const bridge = bridgeNamed("hdlf0", { ipMasq: true });
  kernel("of one key: one succeeds, the others find it alive", async () => {
    await leavesNothing(bridge, async (on) => {
      demand("DEL", await bridge.del(on, "full"));
      const replies = await Promise.all(Array.from({ length: 4 }, () => bridge.add(on)));
      expect(replies.map((r) => r.error).toSorted()).toEqual([101, 101, 101, undefined]);
      expect(await seenByHost(on)).toStartWith("10.97.0.");
      demand("DEL", await bridge.del(on, "full"));
    });
  });

  kernel(
    "of fifty containers on a bridge that is not there yet all succeed",
    async () => {
      await using on = await lane(heddle);
      await using stack = new AsyncDisposableStack();
      const { host } = on.subject;
      const containers: Subject[] = [];
      for (let i = 0; i < 50; i++) {
        const netns = stack.use(await testNetns());
        containers.push({ host, netns: netns.path, containerId: netns.name });
      }
      const added = await Promise.all(containers.map((c) => bridge.add(c)));
      expect(added.filter((r) => r.code !== 0).map((r) => r.message)).toEqual([]);
      const firstOf = (field: string) => added.map((r) => (r.result?.[field] as Json[] | undefined)?.[0]);
      const addresses = firstOf("ips").map((ip) => ip?.["address"]);
      expect(new Set(addresses).size).toBe(50);
      const macs = firstOf("interfaces").map((bridge) => bridge?.["mac"]);
      expect(new Set(macs).size).toBe(1);
      const checks = await Promise.all(containers.map((c, i) => bridge.check(c, added[i] as PluginReply)));
      expect(checks.filter((r) => r.code !== 0).map((r) => r.message)).toEqual([]);
      const deleted = await Promise.all(containers.map((c) => bridge.del(c, "bare")));
      expect(deleted.filter((r) => r.code !== 0).map((r) => r.message)).toEqual([]);
      const left = await snapshotOf(on);
      expect(left.filter((line) => /veth|10\.97\.0\.(?!1\b|0\b|255\b)/.test(line))).toEqual([]);
      expect(readdirSync(join(host.dir, "run/attachments"))).toEqual([]);
    },
    60_000,
  );
});
