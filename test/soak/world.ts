/** All that goes on in a soak, for those who start, stop, disturb and look. */
import type { Gate } from "./gate.ts";
import type { Ledger } from "./ledger.ts";
import type { Container, Driver, RuntimeName } from "./model.ts";
import type { Prober } from "./prober.ts";
import type { Site } from "./site.ts";

export interface World {
  readonly site: Site;
  readonly drivers: ReadonlyMap<RuntimeName, Driver>;
  readonly ledger: Ledger;
  readonly prober: Prober;
  readonly containers: Map<string, Container>;
  /** Host ports that nobody has. */
  readonly ports: number[];
  /** Operations go on together; who looks at everything at rest does it alone. */
  readonly work: Gate;
  /** Containers are asked together; who takes the rules away and puts them back does it alone. */
  readonly rules: Gate;
  readonly seed: number;
  /** Ends the coming and going. */
  readonly signal: AbortSignal;
}

/** What went wrong, without the words by which every program comes onto the ground. */
export const messageOf = (e: unknown): string =>
  (e instanceof Error ? e.message : String(e)).replaceAll(/^sh -ec .* --cgroup -- /gm, "");

/** Containers in this state. */
export const inState = ({ containers }: World, ...states: readonly Container["state"][]): Container[] =>
  [...containers.values()].filter(({ state }) => states.includes(state));

/** From now on the container need not serve, and its address may become another's. */
export function doom({ addresses, note }: Ledger, one: Container): void {
  one.state = "doomed";
  addresses.giveBack(one);
  note(`${one.name} need not serve any more`);
}

/** Waits so long, or until the soak is to end. */
export async function pause({ signal }: World, ms: number): Promise<void> {
  if (signal.aborted) return;
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  signal.addEventListener("abort", () => over.resolve(), { once: true });
  await over.promise;
  clearTimeout(timer);
}

/** Asks a container for its page, by its address and by its host port. One that has to serve and does not is a violation. */
export function serves(world: World, of: Container): Promise<void> {
  const { ledger, prober, rules } = world;
  const { started, port } = of;
  if (started === undefined) return Promise.resolve();
  const places = [
    ...started.addresses.map((address) => [address, 80] as const),
    ...(port === undefined ? [] : [["127.0.0.1", port] as const]),
  ];
  return rules.together(async () => {
    for (const [address, number] of places) {
      if (of.state !== "live") return;
      const answer = await prober.ask(address, number);
      if ("text" in answer && answer.text === started.page) ledger.sawAnswer();
      // What was taken from it meanwhile explains it.
      else if (of.state === "live")
        ledger.violation(`${of.name} does not serve at ${address}:${number}`, JSON.stringify(answer));
    }
  });
}
