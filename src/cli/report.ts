/**
 * How a failure looks to a person: one line, a hint, where to read more. With `--debug` the chain of causes with its
 * stacks follows. Also decides the exit code.
 */
import { errorText } from "../cni/errors.ts";
import { whyDenied } from "../cni/rights.ts";
import { type ErrorCode, NetError } from "../errors.ts";
import { hint, hintOfErrno, manualOf } from "./hints.ts";

export interface Failure {
  /** 1, or 2 for a command line that cannot be understood. */
  readonly exitCode: 1 | 2;
  readonly text: string;
}

export interface ReportOptions {
  /** Show the chain of causes. */
  readonly debug: boolean;
  /** The command that was meant, whose help is named; `program` if absent. */
  readonly command?: string;
}

/** Describes an error for a person. `program` is the name that they typed. */
export function describeFailure(program: string, error: unknown, options: ReportOptions): Failure {
  const { debug, command = program } = options;
  const leading = leadingNetError(error);
  const lines = [`${program}: ${errorText(error)}`];
  const denied = whyDenied(error);
  if (leading?.is("usage/invalid") === true) lines.push(`  hint: see ${command} --help`);
  else if (leading) {
    const code = codeOf(leading);
    lines.push(`  hint: ${denied ?? nextOf(leading) ?? hint[code]}`, `  more: ${manualOf(code)}`);
  }
  if (leading === undefined && !debug)
    lines.push("  hint: this is a fault of the program; run it again with --debug and report it");
  if (debug) lines.push(...causes(error));
  return { exitCode: leading?.is("usage/invalid") === true ? 2 : 1, text: lines.join("\n") };
}

/** What the error itself says can be done, where that depends on more than its code. */
function nextOf(error: NetError): string | undefined {
  if (error.is("sys/call")) return hintOfErrno[error.detail.errno];
  return "next" in error.detail ? error.detail.next : undefined;
}

/** What a person can act on: of a plugin of ours that failed, its own code, with which its details begin. */
function codeOf(error: NetError): ErrorCode {
  if (!error.is("plugin/failed")) return error.code;
  const [own = ""] = error.detail.details.split(" ", 1);
  return Object.hasOwn(hint, own) ? (own as ErrorCode) : error.code;
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
