/** The child's side: one task from standard input, its answer on standard output. */
import { errnoBehind, errorText } from "../cni/errors.ts";
import { readStdin, writeAll } from "../cni/executable.ts";
import { decodeAs, parseJson } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { type Answer, readTask } from "./task.ts";
import { work } from "./work.ts";

/** Runs the task of this process. Never throws: what went wrong is an answer. */
export async function runChild(): Promise<void> {
  let answer: Answer;
  try {
    answer = await work(decodeAs("task", readTask, parseJson(readStdin(), "task")));
  } catch (e) {
    const own = e instanceof NetError ? { code: e.code, detail: e.detail } : {};
    const errno = errnoBehind(e);
    answer = { kind: "failed", why: errorText(e), ...own, ...(errno === undefined ? {} : { errno }) };
  }
  writeAll(1, JSON.stringify(answer));
}
