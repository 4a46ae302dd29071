/**
 * How a failure looks to a person: one line, a hint, where to read more. With `--debug` the chain of causes with its
 * stacks follows. Also decides the exit code.
 */
import { errorText } from "../cni/errors.ts";
import { NetError } from "../errors.ts";
import { hint, manualOf } from "./hints.ts";

export interface Failure {
  /** 1, or 2 for a command line that cannot be understood. */
  readonly exitCode: 1 | 2;
  readonly text: string;
}

/** Describes an error for a person. `program` is the name that they typed. */
export function describeFailure(program: string, error: unknown, debug: boolean): Failure {
  const leading = leadingNetError(error);
  const lines = [`${program}: ${errorText(error)}`];
  if (leading?.is("usage/invalid") === true) lines.push(`  hint: see ${program} --help`);
  else if (leading) lines.push(`  hint: ${hint[leading.code]}`, `  more: ${manualOf(leading.code)}`);
  else if (!debug)
    lines.push("  hint: this is a fault of the program; run it again with --debug and report it");
  if (debug) lines.push(...causes(error));
  return { exitCode: leading?.is("usage/invalid") === true ? 2 : 1, text: lines.join("\n") };
}

function leadingNetError(error: unknown): NetError | undefined {
  if (error instanceof NetError) return error;
  if (!(error instanceof AggregateError)) return undefined;
  const inner: readonly unknown[] = error.errors;
  return inner.map(leadingNetError).find((e) => e !== undefined);
}

/** The error and what caused it, each with its stack; the depth is bounded because causes may go in a circle. */
function causes(error: unknown, depth = 0): readonly string[] {
  if (depth > 8 || error === undefined) return [];
  const indent = "  ".repeat(depth + 1);
  const own = error instanceof Error ? (error.stack ?? error.message) : errorText(error);
  const detail = error instanceof NetError ? [`${indent}${error.code} ${JSON.stringify(error.detail)}`] : [];
  const inner: readonly unknown[] = error instanceof AggregateError ? error.errors : [];
  return [
    ...detail,
    ...own.split("\n").map((line) => indent + line.trimEnd()),
    ...[...inner, error instanceof Error ? error.cause : undefined].flatMap((e) => causes(e, depth + 1)),
  ];
}
