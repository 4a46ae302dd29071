/** What goes wrong on the host of a soak, one thing after another, in an order of the seed. */
import { diceOf } from "../../src/testing/seed.ts";
import { type Container, runtimeNames, type RuntimeName, type TroubleName } from "./model.ts";
import { lookAtRest } from "./rest.ts";
import { beginning, type Found, killNow, running } from "./victims.ts";
import { doom, inState, messageOf, pause, serves, type World } from "./world.ts";

type Roll = (below: number) => number;

/** How often each comes, of all together. */
const weights: Readonly<Record<TroubleName, number>> = {
  "plugin killed": 10,
  "client killed": 2,
  "keeper killed": 2,
  "daemon killed": 2,
  "daemon restarted": 2,
  "rules flushed": 4,
  "namespace deleted": 3,
  "heddle gc": 2,
};
const [LEAST_MS, MORE_MS] = [300, 2_200];
/** After so many of them everything is looked at, at rest. */
const LOOK_EVERY = 20;
/** How long a process to be killed is waited for, and lives. */
const [WAIT_MS, LIVES_MS] = [5_000, 25];

const works: Readonly<Record<TroubleName, (world: World, roll: Roll) => Promise<void>>> = {
  "plugin killed": (world, roll) => killBeginning(world, roll, "plugin killed", isPlugin),
  "client killed": (world, roll) =>
    killBeginning(world, roll, "client killed", (words) => /^(?:podman (?:run|rm)|ctr run) /.test(words)),
  "keeper killed": killKeeper,
  "daemon killed": (world, roll) => restart(world, roll, "daemon killed", "SIGKILL"),
  "daemon restarted": (world, roll) => restart(world, roll, "daemon restarted", "SIGTERM"),
  "rules flushed": flush,
  "namespace deleted": deleteNamespace,
  "heddle gc": collect,
};

/** Until the soak is to end. */
export async function trouble(world: World): Promise<void> {
  const roll = diceOf(world.seed, "trouble");
  const hat = Object.entries(weights).flatMap(([name, n]) => Array<TroubleName>(n).fill(name as TroubleName));
  for (let nth = 1; !world.signal.aborted; nth++) {
    await pause(world, LEAST_MS + roll(MORE_MS));
    const what = hat[roll(hat.length)] ?? "heddle gc";
    try {
      await works[what](world, roll);
      if (nth % LOOK_EVERY === 0) await lookAtRest(world);
    } catch (e) {
      world.ledger.violation(`${what}: the host did not take it`, messageOf(e));
    }
  }
}

/** A plugin, a call of the runtime of ours, or a child of the plugin of Docker. */
const isPlugin = (words: string): boolean =>
  /\bheddle docker-task\b|\/heddle cni (?:add|del) /.test(words) || / CNI_COMMAND=(?:ADD|DEL)\b/.test(words);

/** Whose operation fails when this process dies. */
export function touchedBy(words: string): {
  readonly runtimes: readonly RuntimeName[];
  readonly container?: string;
} {
  const container = /\bsoak-\w+-\d+\b/.exec(words)?.[0];
  if (container !== undefined) return { runtimes: [], container };
  if (words.includes("docker-task")) return { runtimes: ["docker"] };
  return { runtimes: ["podman", "pods", "ctr"] };
}

async function killBeginning(
  world: World,
  roll: Roll,
  what: TroubleName,
  fits: (words: string) => boolean,
): Promise<void> {
  const lives = roll(what === "client killed" ? 40 * LIVES_MS : LIVES_MS);
  const found = await beginning(world.site.on, fits, WAIT_MS);
  if (found === undefined) return;
  await Bun.sleep(lives);
  if (isThere(found)) kill(world, what, found);
}

/** Before it is killed, so that nothing fails unexplained. */
function kill(world: World, what: TroubleName, found: Found): void {
  const known = world.ledger.trouble(what, touchedBy(found.words));
  killNow(found);
  known.end();
}

function isThere({ pid }: Found): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** One that has to serve; from now on it need not. */
function doomOne(world: World, roll: Roll, fits: (of: Container) => boolean): Container | undefined {
  const all = inState(world, "live").filter(fits);
  const one = all[roll(Math.max(1, all.length))];
  if (one === undefined) return undefined;
  doom(world.ledger, one);
  return one;
}

async function killKeeper(world: World, roll: Roll): Promise<void> {
  const { site, drivers, ledger } = world;
  const one = doomOne(world, roll, ({ runtime }) => drivers.get(runtime)?.keeper !== undefined);
  const keeper = one && drivers.get(one.runtime)?.keeper;
  if (one === undefined || keeper === undefined) return;
  const id = one.started?.id ?? "";
  const found = running(
    site.on,
    (words) => words.split("\n")[0]?.includes(keeper) === true && words.includes(id),
  );
  if (found === undefined) throw new Error(`${one.name} has no ${keeper}`);
  const known = ledger.trouble("keeper killed", { runtimes: [], container: one.name });
  killNow(found);
  known.end();
}

async function restart(
  world: World,
  roll: Roll,
  what: TroubleName,
  signal: "SIGTERM" | "SIGKILL",
): Promise<void> {
  const { site, ledger, drivers } = world;
  const daemons = Object.entries(site.daemons);
  const [, daemon] = daemons[roll(Math.max(1, daemons.length))] ?? [];
  if (daemon === undefined) return;
  const known = ledger.trouble(what, { runtimes: daemon.runtimes });
  for (const one of inState(world, "live"))
    if (daemon.runtimes.includes(one.runtime) && drivers.get(one.runtime)?.livesWithDaemon) doom(ledger, one);
  await daemon.restart(signal);
  known.end();
}

/** No operation may fail because of it, and afterwards everything serves. */
async function flush(world: World): Promise<void> {
  const { site, ledger, rules } = world;
  await rules.alone(async () => {
    ledger.trouble("rules flushed", { runtimes: [] }).end();
    await site.on.exec(["nft", "flush", "ruleset"]);
    const began = performance.now();
    const argv = ["heddle", "reload", "--json"];
    const { stdout, stderr } = await site.on.exec(argv, { mustSucceed: false, timeoutMs: 60_000 });
    ledger.took("heddle reload", performance.now() - began);
    const done = JSON.parse(stdout === "" ? "[]" : stdout) as readonly Reloaded[];
    const failed = done.filter(({ ok }) => !ok);
    // What a killed DEL has left of an attachment cannot be whole.
    const half = inState(world, "unsure", "stopping").length > 0;
    if (stderr !== "" || (failed.length > 0 && !half))
      ledger.violation("heddle reload failed", `${stderr}${JSON.stringify(failed)}`);
  });
  await Promise.all(inState(world, "live").map((one) => serves(world, one)));
}

async function collect({ site, ledger }: World): Promise<void> {
  ledger.trouble("heddle gc", { runtimes: [] }).end();
  const began = performance.now();
  await site.on.exec(["heddle", "gc"], { timeoutMs: 60_000 });
  ledger.took("heddle gc", performance.now() - began);
}

async function deleteNamespace(world: World, roll: Roll): Promise<void> {
  const { site, ledger } = world;
  const one = doomOne(world, roll, ({ runtime }) => runtimeNames.includes(runtime));
  if (one === undefined) return;
  const path = await namespaceOf(world, one);
  // Who stops it meanwhile may be at work on it; what is gone by then is gone.
  if (path === undefined) return;
  const known = ledger.trouble("namespace deleted", { runtimes: [], container: one.name });
  for (const argv of [
    ["umount", "--lazy", path],
    ["rm", "-f", path],
  ])
    await site.on.exec(argv, { mustSucceed: false });
  known.end();
}

/** The path of its namespace, as Heddle was told it. */
async function namespaceOf(
  { site, drivers }: World,
  { name, runtime, started }: Container,
): Promise<string | undefined> {
  const own = await drivers.get(runtime)?.namespace?.(name);
  if (own !== undefined) return own;
  const { stdout } = await site.on.exec(["heddle", "ps", "--json"]);
  const entries = JSON.parse(stdout) as readonly Listed[];
  const entry = entries.find(({ addresses }) =>
    addresses.some((address) => started?.addresses.includes(address.split("/")[0] ?? "")),
  );
  return entry?.netns ?? undefined;
}

/** An entry of `heddle reload --json`. */
interface Reloaded {
  readonly ok: boolean;
}

/** Of an entry of `heddle ps --json`, what the soak looks at. */
interface Listed {
  readonly netns: string | null;
  readonly addresses: readonly string[];
}
