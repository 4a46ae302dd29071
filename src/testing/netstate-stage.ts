/**
 * Two namespaces that play a host and a container, and the interpreters of a state between them: for tests of single
 * kinds of objects on a real kernel.
 */
import type { NetObject } from "../netstate/model.ts";
import { snapshot } from "./host-snapshot.ts";
import { type TestNetns, testNetns } from "./netns.ts";
import { interpretIn, type Loan, type Step, type StepOutcome } from "./netstate-child.ts";
import { run } from "./run.ts";
import { inside } from "./traffic.ts";

/** The mark of what a stage makes. */
export const MARK = "heddle-test-0123456789ab-0123456789abcdef";

export interface Stage extends AsyncDisposable {
  readonly host: TestNetns;
  readonly container: TestNetns;
  do(verb: Step["verb"], objects: readonly NetObject[], borrowed?: readonly Loan[]): Promise<StepOutcome>;
  lines(): Promise<readonly string[]>;
}

export async function stage(): Promise<Stage> {
  const stack = new AsyncDisposableStack();
  const [host, container] = [stack.use(await testNetns()), stack.use(await testNetns())];
  await container.exec(["ip", "link", "set", "lo", "down"]);
  const on = {
    net: host.path,
    exec: (argv: readonly string[], options = {}) => run([...inside(host.path), ...argv], options),
    directories: [],
  };
  return {
    host,
    container,
    do: (verb, objects, borrowed) =>
      interpretIn(host.path, container.path, MARK, {
        verb,
        state: { objects },
        ...(borrowed ? { borrowed } : {}),
      }),
    lines: () => snapshot(on, [container.path]),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
