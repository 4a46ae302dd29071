/**
 * The child's side: one task from standard input, done inside the container's namespace, its answer on standard output.
 * The process lives for one exchange, since a socket or a thread left in a namespace keeps a dead container's alive.
 */
import { errorText } from "../cni/errors.ts";
import { readStdin, writeAll } from "../cni/executable.ts";
import { decodeAs, parseJson } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { acquire4, release4, renew4 } from "./exchange4.ts";
import { acquire6, release6, renew6 } from "./exchange6.ts";
import { freshLink, Gone, heldLink, inside, type Place, prefixOf, withdraw } from "./place.ts";
import { type Answer, type HeldTask, readTask, type Task } from "./task.ts";

/** Runs the task of this process. Never throws: what went wrong is an answer. */
export function runChild(): void {
  let answer: Answer;
  try {
    const task = decodeAs("task", readTask, parseJson(readStdin(), "task"));
    answer = inside(task.netns, (socket) =>
      task.kind === "acquire"
        ? acquire(task, freshLink(socket, task.ifname))
        : upkeep(task, heldLink(socket, task.link)),
    );
  } catch (e) {
    const own = e instanceof NetError ? { code: e.code, detail: e.detail } : {};
    answer =
      e instanceof Gone ? { kind: "gone", why: e.message } : { kind: "failed", why: errorText(e), ...own };
  }
  writeAll(1, JSON.stringify(answer));
}

const acquire = (task: Task & { readonly kind: "acquire" }, place: Place): Answer =>
  task.family === 4 ? acquire4(task, place) : acquire6(task, place);

function upkeep(task: HeldTask, place: Place): Answer {
  const { terms } = task;
  switch (task.kind) {
    case "renew":
    case "rebind":
      return terms.family === 4 ? renew4(task, terms, place) : renew6(task, terms, place);
    case "release":
      return terms.family === 4 ? release4(task, terms, place) : release6(task, terms, place);
    case "withdraw":
      withdraw(place, prefixOf(terms.address));
      return { kind: "done" };
    case "probe":
      return { kind: "done" };
  }
}
