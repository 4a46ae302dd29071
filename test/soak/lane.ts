/** Who starts containers of one runtime, stops them, and asks them for their pages, in an order of the seed. */
import { diceOf } from "../../src/testing/seed.ts";
import type { Container, Driver, RuntimeName } from "./model.ts";
import { doom, messageOf, pause, serves, type World } from "./world.ts";

/** Until the soak is to end. */
export async function lane(world: World, runtime: RuntimeName, nth: number): Promise<void> {
  const driver = world.drivers.get(runtime);
  if (driver === undefined) return;
  const roll = diceOf(world.seed, `${runtime} ${nth}`);
  while (!world.signal.aborted) {
    const failures = world.ledger.failures();
    await world.work.together(() => step(world, runtime, driver, roll));
    // As a runtime's caller does that was told to try again.
    await pause(world, roll(world.ledger.failures() > failures ? 2_000 : 100));
  }
}

async function step(
  world: World,
  runtime: RuntimeName,
  driver: Driver,
  roll: (below: number) => number,
): Promise<void> {
  const all = [...world.containers.values()].filter((of) => of.runtime === runtime);
  const what = roll(10);
  if (all.length < 2 || (what < 5 && all.length < driver.most)) return start(world, runtime, driver, roll);
  const still = all.filter(({ state }) => state !== "starting" && state !== "stopping");
  const one = still[roll(Math.max(1, still.length))];
  if (one === undefined) return;
  if (what < 8 || one.state !== "live") await stop(world, driver, one);
  else await serves(world, one);
}

let made = 0;

async function start(
  world: World,
  runtime: RuntimeName,
  driver: Driver,
  roll: (below: number) => number,
): Promise<void> {
  const { ledger, containers, ports } = world;
  const name = `soak-${runtime}-${++made}`;
  const port = driver.ports && roll(2) === 0 ? ports.shift() : undefined;
  const one: Container = { name, runtime, port, state: "starting", started: undefined };
  containers.set(name, one);
  const operation = ledger.begin("start", one);
  try {
    one.started = await driver.start(name, port);
    ledger.succeeded(operation);
    ledger.addresses.take(one);
    one.state = "live";
    if (driver.livesWithDaemon && ledger.wasAway(operation)) doom(ledger, one);
  } catch (e) {
    ledger.failed(operation, messageOf(e));
    one.state = "unsure";
    return;
  }
  await serves(world, one);
}

/** Stops a container and forgets it, or keeps it as `unsure`. Returns whether it could be stopped. */
export async function stop(world: World, driver: Driver, one: Container): Promise<boolean> {
  const { ledger, containers, ports } = world;
  one.state = "stopping";
  // While the runtime is at work on it, the address may be another's already.
  ledger.addresses.giveBack(one);
  const operation = ledger.begin("stop", one);
  try {
    await driver.stop(one.name);
  } catch (e) {
    ledger.failed(operation, messageOf(e));
    one.state = "unsure";
    return false;
  }
  ledger.succeeded(operation);
  containers.delete(one.name);
  if (one.port !== undefined) ports.push(one.port);
  return true;
}
