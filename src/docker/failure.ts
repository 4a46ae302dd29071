/** From an error to the sentence that Docker prints, what went wrong and what to do about it, and to what the journal is told. */
import { errnoBehind, errorText } from "../cni/errors.ts";
import type { ToldFailure } from "../cni/journal.ts";
import { type ErrorCode, NetError } from "../errors.ts";
import type { Answer } from "./task.ts";

/** What a child failed with. */
class TaskFailed extends Error {
  override readonly name = "TaskFailed";
  readonly code: string | undefined;
  readonly errno: string | undefined;
  constructor({ why, code, errno }: Answer & { readonly kind: "failed" }) {
    super(why);
    this.code = code;
    this.errno = errno;
  }
}

/** The answer of a child that did its task. @throws TaskFailed for one that did not */
export async function done(answer: Promise<Answer>): Promise<Answer & { readonly kind: "done" }> {
  const got = await answer;
  if (got.kind === "failed") throw new TaskFailed(got);
  return got;
}

/** What to do, where the sentence itself does not say it. */
const advice: { readonly [C in ErrorCode]?: string } = {
  "sys/call": "look whether the plugin runs as root and the disk has room",
  "netlink/refused": "the kernel's own words are in brackets, if it gave any",
  "resource/exists": "remove it, or choose another name",
  "feature/missing": "load that kernel module, or choose another mode",
  "program/failed": "install the program, or repair what it complains about",
  "port/taken": "choose another host port, or remove the container that has it",
  "try-again": "try again",
};

const codeOf = (e: unknown): string | undefined =>
  e instanceof NetError || e instanceof TaskFailed ? e.code : undefined;

export const toldFailure = (e: unknown): ToldFailure => ({
  why: failureText(e),
  step: codeOf(e),
  errno: e instanceof TaskFailed ? e.errno : errnoBehind(e),
});

/** One line. */
export function failureText(e: unknown): string {
  const code = codeOf(e) as ErrorCode | undefined;
  const what = errorText(e).replaceAll(/\s+/g, " ");
  const hint = code === undefined ? undefined : advice[code];
  return hint === undefined || what.includes("; ") ? what : `${what}; ${hint}`;
}
