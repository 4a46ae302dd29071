/**
 * The interpreters of a state in a process of its own, which is started inside the namespace that plays the host: a test
 * process never enters a namespace. Steps go in and outcomes come out as text.
 */
import { NetError } from "../errors.ts";
import { openContext } from "../netstate/context.ts";
import { loadFirewalls } from "../netstate/firewalls.ts";
import { allOrNothing, apply, loadKinds, remove, RollbackFailed, verify } from "../netstate/interpret.ts";
import type { NetObject, NetState } from "../netstate/model.ts";
import { openSpaces } from "../netstate/spaces.ts";
import { parse, stringify } from "../netstate/state-json.ts";
import { plainEnv, run } from "./run.ts";
import { tempDir } from "./temp-dir.ts";
import { inside } from "./traffic.ts";

export interface Step {
  readonly verb: "apply" | "verify" | "remove";
  readonly state: NetState;
  /** For `remove`: what `apply` borrowed. */
  readonly borrowed?: readonly Loan[];
}
/** A value that was there before, and of which object of the state. */
export interface Loan {
  readonly object: number;
  readonly value: string;
}
export interface StepOutcome {
  /** The code of the failure and its message; undefined if there was none. */
  readonly failure?: { readonly code: string; readonly message: string };
  readonly borrowed: readonly Loan[];
}

/** Does one step with the mark in the host's namespace at `host`, and in the container's if there is one. */
export async function interpretIn(
  host: string,
  container: string | undefined,
  mark: string,
  step: Step,
): Promise<StepOutcome> {
  const argv = [...inside(host), process.execPath, import.meta.path, mark, container ?? ""];
  using runDir = tempDir("child");
  const env = { ...plainEnv, HEDDLE_RUN_DIR: runDir.path };
  const { stdout } = await run(argv, { stdin: stringify(step), env });
  return JSON.parse(stdout) as StepOutcome;
}

async function perform(mark: string, container: string | undefined, step: Step): Promise<StepOutcome> {
  using spaces = openSpaces(container);
  await loadKinds(step.state);
  using firewalls = await loadFirewalls(step.state);
  const context = openContext(mark, spaces, firewalls);
  const { objects } = step.state;
  const loans: Loan[] = [];
  const borrow = (object: NetObject, value: string): void =>
    void loans.push({ object: objects.indexOf(object), value });
  const borrowed = (object: NetObject): string | undefined =>
    step.borrowed?.find((b) => objects[b.object] === object)?.value;
  try {
    if (step.verb === "apply") await allOrNothing((undo) => apply(step.state, { ...context, borrow, undo }));
    else if (step.verb === "verify") verify(step.state, context);
    else for (const failure of remove(step.state, { ...context, borrowed })) throw failure;
    return { borrowed: loans };
  } catch (e) {
    const code = e instanceof RollbackFailed ? "rollback" : e instanceof NetError ? e.code : "other";
    return { borrowed: loans, failure: { code, message: (e as Error).message } };
  }
}

if (import.meta.main) {
  const [mark = "", container = ""] = process.argv.slice(2);
  const step = parse(await Bun.stdin.text()) as Step;
  process.stdout.write(JSON.stringify(await perform(mark, container === "" ? undefined : container, step)));
}
