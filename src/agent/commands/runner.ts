/**
 * Brings what commands have done in line with a wish: one command at a time, in the order of the plan, what failed again after
 * a while. What was done is written down before the next command begins.
 */
import { type Known, nameOfStep, nextSteps, type Prepared, type Step } from "../../fabric/commands/plan.ts";
import {
  type CommandName,
  type CommandPeer,
  type CommandValues,
  type CommandWish,
  sameValues,
} from "../../fabric/commands/wish.ts";
import { expandWords } from "../../fabric/commands/words.ts";
import { makeAttempts } from "../../fabric/reconcile/attempts.ts";
import { SAID_LIMIT } from "../../fabric/transport/extension.ts";
import { jsonText } from "../../providers/flannel/lease-codec.ts";
import { type CommandRecord, openCommandRecord } from "./record.ts";
import { type CommandRun, type Ran, runCommand } from "./run-command.ts";

/** What is the matter with a command, for people. `node`: the peer that it is about, by its `id`. */
export interface CommandFailure {
  readonly text: string;
  readonly node?: string;
}

export interface CommandReport {
  /** What `PreStartupCommand` printed for this wish; absent: it has not succeeded yet. */
  readonly said?: string;
  /** `PostStartupCommand` was run for this wish. */
  readonly started: boolean;
  /** There are steps that were not tried yet. */
  readonly more: boolean;
  /** Nothing that commands have done is left. */
  readonly clear: boolean;
  /** What failed and is tried again. */
  readonly failures: readonly CommandFailure[];
  /** What is not tried again. */
  readonly givenUp: readonly CommandFailure[];
  /** When something is tried again, in milliseconds from now. */
  readonly retryInMs?: number;
}

/** What commands print and when they have run, for the log. */
export interface Heard {
  readonly kind: "line" | "done";
  readonly text: string;
  readonly node?: string;
}

export interface CommandRunner extends AsyncDisposable {
  /** Runs what is to be run for the wish; undefined: takes away what was done. Not twice at a time. */
  bring(wish: CommandWish | undefined): Promise<CommandReport>;
}

export interface RunnerSetup {
  /** Where it writes down what was done. */
  readonly dir: string;
  readonly heard: (heard: Heard) => void;
  /** Runs one command. */
  readonly run?: (run: CommandRun) => Promise<Ran>;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
}

/** After so long another wish is asked for, in milliseconds. */
const TURN_MS = 2_000;
/** How often a command is tried that takes something away. */
export const REMOVAL_TRIES = 3;

export function openCommandRunner({
  dir,
  heard,
  run = runCommand,
  now = () => performance.now(),
}: RunnerSetup): CommandRunner {
  let opened: CommandRecord | undefined;
  const tries = makeTries(now);
  const ending = new AbortController();
  let turn: Promise<unknown> = Promise.resolve();

  const bring = async (wish: CommandWish | undefined): Promise<CommandReport> => {
    const record = (opened ??= openCommandRecord(dir));
    const around = { record, run, signal: ending.signal, heard };
    const givenUp: CommandFailure[] = [];
    const until = now() + TURN_MS;
    const due = (): readonly Step[] => nextSteps(record.known(), wish).filter(tries.may);
    let inTurn = true;
    for (let steps = due(); inTurn && steps.length > 0; steps = due())
      for (const step of steps) {
        inTurn = now() < until && !ending.signal.aborted;
        if (!inTurn) break;
        const why = await performStep(step, around);
        if (why === undefined || ending.signal.aborted) tries.forget(step);
        else if (tries.failed(step, why)) {
          drop(step, record);
          if (isTold(step)) givenUp.push({ text: `${why}; it is given up`, ...nodeOf(step) });
        }
      }
    return reportOf(record.known(), wish, { tries, givenUp });
  };

  return {
    bring(wish) {
      const next = turn.then(() => bring(wish));
      turn = next.catch(() => {});
      return next;
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
      await turn;
    },
  };
}

function reportOf(
  known: Known,
  wish: CommandWish | undefined,
  { tries, givenUp }: { readonly tries: Tries; readonly givenUp: readonly CommandFailure[] },
): CommandReport {
  const { prepared } = known;
  const left = nextSteps(known, wish).map(nameOfStep);
  tries.keep(new Set(left));
  const wait = tries.wait();
  const isFor = prepared?.state === "prepared" && prepared.key === wish?.key;
  return {
    ...(isFor ? { said: prepared.said } : {}),
    started:
      isFor &&
      prepared.own !== undefined &&
      wish.own !== undefined &&
      sameValues(prepared.own, wish.own.values),
    more: left.some((name) => !tries.has(name)),
    clear: prepared === undefined,
    failures: tries.failures(),
    givenUp,
    ...(wait === undefined ? {} : { retryInMs: wait }),
  };
}

/** What fails, and when it is tried again. */
interface Tries {
  readonly may: (step: Step) => boolean;
  /** True if it is not to be tried again. */
  readonly failed: (step: Step, why: string) => boolean;
  readonly forget: (step: Step) => void;
  /** Those of other names are no longer to be done. */
  readonly keep: (names: ReadonlySet<string>) => void;
  readonly has: (name: string) => boolean;
  readonly failures: () => readonly CommandFailure[];
  readonly wait: () => number | undefined;
}

function makeTries(now: () => number): Tries {
  const attempts = makeAttempts(now);
  const failing = new Map<string, { readonly step: Step; readonly why: string; readonly tries: number }>();
  const forget = (name: string): void => {
    attempts.succeeded(name);
    failing.delete(name);
  };
  return {
    may: (step) => attempts.may(nameOfStep(step)),
    failed(step, why) {
      const name = nameOfStep(step);
      const tries = (failing.get(name)?.tries ?? 0) + 1;
      if (tries >= triesOf(step)) {
        forget(name);
        return true;
      }
      attempts.failed(name);
      failing.set(name, { step, why, tries });
      return false;
    },
    forget: (step) => forget(nameOfStep(step)),
    keep(names) {
      for (const name of failing.keys()) if (!names.has(name)) forget(name);
    },
    has: (name) => failing.has(name),
    failures: () =>
      [...failing.values()]
        .filter(({ step }) => isTold(step))
        .map(({ step, why }) => ({ text: why, ...nodeOf(step) })),
    wait: attempts.wait,
  };
}

/** What cannot be taken away is no longer known. */
function drop(step: Step, record: CommandRecord): void {
  if (step.kind === "remove") record.forget(step.key);
  if (step.kind === "shut-down") record.setHost(undefined);
}

/** What makes something is tried for ever. */
function triesOf(step: Step): number {
  return step.kind === "shut-down" || step.kind === "remove" ? REMOVAL_TRIES : Number.POSITIVE_INFINITY;
}

/** That something cannot be taken away that perhaps never was there is no news. */
const isTold = (step: Step): boolean => !("perhaps" in step && step.perhaps);

const nodeOf = (step: Step): { readonly node?: string } =>
  step.kind === "add" || step.kind === "remove" ? { node: step.peer.id } : {};

interface Around {
  readonly record: CommandRecord;
  readonly run: (run: CommandRun) => Promise<Ran>;
  readonly signal: AbortSignal;
  readonly heard: (heard: Heard) => void;
}

/** Writes down that it begins, runs it, and writes down that it is done. What it returns is why not. */
async function performStep(step: Step, around: Around): Promise<string | undefined> {
  const { record } = around;
  if (step.kind === "prepare") return prepare(step, around);
  const { prepared } = step;
  if (step.kind === "start") {
    const why = await command("PostStartupCommand", prepared, { values: step.own }, around);
    if (typeof why !== "string") record.setHost({ ...prepared, own: step.own });
    return whyNot(why);
  }
  if (step.kind === "shut-down") {
    const { own, ...host } = prepared;
    const values = own ?? host.host;
    if (!step.perhaps) record.setHost({ ...host, state: "ending" });
    const why = whyNot(await command("ShutdownCommand", prepared, { values }, around));
    if (why === undefined) record.setHost(undefined);
    return why;
  }
  const { peer, key } = step;
  if (step.kind === "remove") {
    if (!step.perhaps) record.setPeer(peer, "removing");
    const why = whyNot(await command("SubnetRemoveCommand", prepared, { values: peer.values, peer }, around));
    if (why === undefined) record.forget(key);
    return why;
  }
  if (step.again) await command("SubnetRemoveCommand", prepared, { values: peer.values, peer }, around);
  else record.setPeer(peer, "adding");
  const why = whyNot(await command("SubnetAddCommand", prepared, { values: peer.values, peer }, around));
  if (why === undefined) record.setPeer(peer, "added");
  return why;
}

const whyNot = (ran: Printed | string): string | undefined => (typeof ran === "string" ? ran : undefined);

async function prepare(
  { wish: { set, host, key }, again }: Extract<Step, { kind: "prepare" }>,
  around: Around,
): Promise<string | undefined> {
  if (again) await command("ShutdownCommand", { set }, { values: host }, around);
  else around.record.setHost({ state: "preparing", set, host, key, said: "" });
  const ran = await command("PreStartupCommand", { set }, { values: host }, around);
  if (typeof ran === "string") return ran;
  const said = ran.stdout.trim();
  if (jsonText(said).length > SAID_LIMIT)
    return `PreStartupCommand: printed more than can be announced, ${SAID_LIMIT} characters`;
  around.record.setHost({ state: "prepared", set, host, key, said });
  return undefined;
}

interface Printed {
  readonly stdout: string;
}

/** Runs a command if there is one. A string says why it failed. */
async function command(
  name: CommandName,
  { set }: Pick<Prepared, "set">,
  { values, peer }: { readonly values: CommandValues; readonly peer?: CommandPeer },
  { record, run, signal, heard }: Around,
): Promise<Printed | string> {
  const line = set[name];
  if (line === undefined) return { stdout: "" };
  const node = peer === undefined ? {} : { node: peer.id };
  const ran = await run({
    argv: expandWords(line, values),
    env: values,
    // As flanneld does: there is always a line to read.
    stdin: `${peer?.data ?? ""}\n`,
    signal,
    started: record.setRunning,
    heard: (text) => heard({ kind: "line", text: `${name}: ${text}`, ...node }),
  });
  if (!ran.ok) return `${name}: ${ran.why}`;
  heard({ kind: "done", text: name, ...node });
  return ran;
}
