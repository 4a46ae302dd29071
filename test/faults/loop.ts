/**
 * The loops: bring a fault about, recover in one of the ways that a runtime has, and compare the host with what one
 * undisturbed ADD and DEL leave.
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cniHost, type CniHost, type PluginReply } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { childFaults, type Fault, faultsIn, injecting, recording } from "../../src/testing/faults.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { run } from "../../src/testing/run.ts";
import { MASTER, type Scenario, type Subject } from "./scenarios.ts";

/** DEL of the key alone; ADD of the same key and then DEL; GC; or, for faults in CHECK, DEL and GC, another one of them. */
type Simple = "DEL" | "ADD" | "GC";
/** `each`: DEL, and if the fault left anything, the others as well, each after another such fault. */
export type Recovery = Simple | "each" | "CHECK again" | "DEL again" | "GC again";
type Verb = "ADD" | "CHECK" | "DEL" | "GC";
export interface Case {
  readonly scenario: Scenario;
  readonly fault: Fault;
  readonly recovery: Recovery;
  /** True: nothing shared is there before, so that the fault meets its making too. */
  readonly fresh: boolean;
}

export interface Lane extends AsyncDisposable {
  readonly subject: Subject;
  readonly other: Subject;
  readonly container: TestNetns;
}

/** A host with two containers whose loopback is down, as a runtime makes them. */
export async function lane(heddle: HeddleBinary): Promise<Lane> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const [container, second] = [stack.use(await testNetns()), stack.use(await testNetns())];
  for (const { name } of [container, second]) await run(["ip", "-n", name, "link", "set", "lo", "down"]);
  const subject = (netns: TestNetns): Subject => ({ host, netns: netns.path, containerId: netns.name });
  const owned = stack.move();
  return {
    container,
    subject: subject(container),
    other: subject(second),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export function demand(what: string, reply: PluginReply): PluginReply {
  if (reply.code !== 0) throw new Error(`${what} failed with ${reply.code}: ${reply.message}`);
  return reply;
}

export async function plain(scenario: Scenario, on: Subject): Promise<void> {
  await scenario.prepare?.(on);
  demand("plain ADD", await scenario.add(on));
  demand("plain DEL", await scenario.del(on, "full"));
  await scenario.finish?.(on);
}

export const snapshotOf = ({ subject, other }: Lane): Promise<readonly string[]> =>
  subject.host.snapshot([subject.netns, other.netns]);

/** Removes what is shared, as on a host that has just started. */
async function wipe({ subject: { host } }: Lane): Promise<void> {
  for (const name of ["hdlf0", MASTER])
    await host.exec(["ip", "link", "delete", name], { mustSucceed: false });
  await host.exec(["nft", "flush", "ruleset"]);
  await host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"]);
  for (const name of ["run", "ipam"]) rmSync(join(host.dir, name), { recursive: true, force: true });
}

/** Every place where a fault can be in a verb, from one undisturbed run on a host of each kind. */
async function faultsOf(
  heddle: HeddleBinary,
  scenario: Scenario,
  verb: Verb,
  fresh: boolean,
): Promise<readonly Fault[]> {
  await using on = await lane(heddle);
  const { subject } = on;
  if (!fresh) await plain(scenario, subject);
  const file = join(subject.host.dir, "recorded");
  await scenario.prepare?.(subject);
  const added = demand("recorded ADD", await scenario.add(subject, verb === "ADD" ? recording(file) : []));
  if (verb === "CHECK") demand("recorded CHECK", await scenario.check(subject, added, recording(file)));
  if (verb === "GC") demand("recorded GC", await scenario.gc(subject, recording(file)));
  else demand("recorded DEL", await scenario.del(subject, "full", verb === "DEL" ? recording(file) : []));
  return faultsIn(file);
}

/**
 * Every case of a scenario: each fault of ADD on a host that was used before with each recovery, each on a fresh host
 * with DEL, and each fault of CHECK, DEL and GC. What follows a call that failed, and after which ADD itself left nothing, is
 * the same for every recovery.
 */
export async function casesOf(heddle: HeddleBinary, scenario: Scenario): Promise<readonly Case[]> {
  const [used, fresh, look, removal, collection] = await Promise.all([
    faultsOf(heddle, scenario, "ADD", false),
    faultsOf(heddle, scenario, "ADD", true),
    faultsOf(heddle, scenario, "CHECK", false),
    faultsOf(heddle, scenario, "DEL", false),
    faultsOf(heddle, scenario, "GC", false),
  ]);
  const children = scenario.name.includes("iptables") ? childFaults : [];
  const one = (fault: Fault, recovery: Recovery, fresh: boolean): Case => ({
    scenario,
    fault,
    recovery,
    fresh,
  });
  return [
    ...[...used, ...children].flatMap((f) =>
      (f.mode === "fail" ? (["each"] as const) : SIMPLE).map((r) => one(f, r, false)),
    ),
    ...fresh.map((f) => one(f, "DEL", true)),
    ...look.map((f) => one(f, "CHECK again", false)),
    ...[...removal, ...children].map((f) => one(f, "DEL again", false)),
    ...[...collection, ...children].map((f) => one(f, "GC again", false)),
  ];
}

const committed = (host: CniHost): boolean => {
  const dir = join(host.dir, "run/attachments");
  return existsSync(dir) && readdirSync(dir).some((name) => !name.endsWith(".pending"));
};

const SIMPLE = ["DEL", "ADD", "GC"] as const satisfies readonly Simple[];

async function recover({ scenario }: Case, recovery: Simple, on: Subject): Promise<void> {
  if (recovery === "DEL") demand("DEL", await scenario.del(on, "bare"));
  else if (recovery === "GC") demand("GC", await scenario.gc(on));
  else {
    const live = committed(on.host);
    const again = await scenario.add(on);
    // What the fault let pass is a live attachment, and is refused as one.
    if (again.code === 0) demand("CHECK", await scenario.check(on, again));
    else if (!(live && again.error === 101)) demand("second ADD", again);
    demand("DEL after the second ADD", await scenario.del(on, "full"));
  }
}

/** What a host is like that a case begins and ends with. */
interface Baseline {
  readonly bare: readonly string[];
  readonly prepared: readonly string[];
}

async function baselineOf(scenario: Scenario, on: Lane): Promise<Baseline> {
  await plain(scenario, on.subject);
  await plain(scenario, on.other);
  const bare = await snapshotOf(on);
  if (scenario.prepare === undefined) return { bare, prepared: bare };
  await scenario.prepare(on.subject);
  const prepared = await snapshotOf(on);
  await scenario.finish?.(on.subject);
  return { bare, prepared };
}

async function perform(c: Case, on: Lane, { prepared }: Baseline): Promise<void> {
  const { scenario, fault } = c;
  const { subject, other } = on;
  const under = injecting(fault, join(subject.host.dir, "faulted"));
  if (c.fresh) await wipe(on);
  await scenario.prepare?.(subject);
  if (c.recovery === "CHECK again") {
    const added = demand("ADD", await scenario.add(subject));
    const attached = await snapshotOf(on);
    await scenario.check(subject, added, under);
    const changed = difference(attached, await snapshotOf(on));
    if (changed.length > 0) throw new Error(`CHECK changed something\n${changed.join("\n")}`);
    demand("CHECK after the fault", await scenario.check(subject, added));
    demand("DEL", await scenario.del(subject, "full"));
  } else if (c.recovery === "DEL again") {
    demand("ADD", await scenario.add(subject));
    await scenario.del(subject, "full", under);
    demand("DEL after the fault", await scenario.del(subject, "bare"));
  } else if (c.recovery === "GC again") {
    demand("ADD", await scenario.add(subject));
    await scenario.gc(subject, under);
    demand("GC after the fault", await scenario.gc(subject));
  } else if (c.recovery === "each") {
    await scenario.add(subject, under);
    const nothingLeft = difference(prepared, await snapshotOf(on)).length === 0;
    await recover(c, "DEL", subject);
    for (const recovery of nothingLeft ? [] : (["ADD", "GC"] as const)) {
      await scenario.finish?.(subject);
      await scenario.prepare?.(subject);
      await scenario.add(subject, under);
      await recover(c, recovery, subject);
    }
  } else {
    await scenario.add(subject, under);
    await recover(c, c.recovery, subject);
  }
  await scenario.finish?.(subject);
  if (c.fresh) await plain(scenario, other);
}

const described = ({ scenario, fault, recovery, fresh }: Case): string =>
  `${scenario.name}${fresh ? " on a fresh host" : ""}: ${fault.mode} ${fault.call} ${fault.nth} ` +
  `(${fault.label}), recovered by ${recovery}`;

/**
 * Runs the cases of one scenario, two at a time, until `deadline` (of `performance.now`), and returns how many ran and a
 * description of each that failed. A host on which something was left is not used again.
 */
export async function runCases(
  heddle: HeddleBinary,
  cases: readonly Case[],
  deadline = Number.POSITIVE_INFINITY,
): Promise<{ readonly ran: number; readonly failures: readonly string[] }> {
  const failures: string[] = [];
  let ran = 0;
  const queue = [...cases];
  const work = async (): Promise<void> => {
    for (;;) {
      if (queue.length === 0 || failures.length >= MOST_FAILURES) return;
      await using on = await lane(heddle);
      let baseline: Baseline | undefined;
      for (let sound = true; sound;) {
        const next = queue.shift();
        if (next === undefined || performance.now() > deadline) return;
        ran++;
        try {
          baseline ??= await baselineOf(next.scenario, on);
          await perform(next, on, baseline);
          const left = difference(baseline.bare, await snapshotOf(on));
          if (left.length > 0) throw new Error(left.join("\n"));
        } catch (e) {
          failures.push(`${described(next)}\n${(e as Error).message}`);
          sound = false;
        }
      }
    }
  };
  await Promise.all([work(), work()]);
  return { ran, failures };
}

/** More would say the same again. */
const MOST_FAILURES = 8;

export function difference(before: readonly string[], after: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of before) counts.set(line, (counts.get(line) ?? 0) - 1);
  for (const line of after) counts.set(line, (counts.get(line) ?? 0) + 1);
  return [...counts].flatMap(([line, n]) => (n === 0 ? [] : [`${n > 0 ? "left" : "lost"}: ${line}`]));
}
