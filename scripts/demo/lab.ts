/**
 * The demo's second half: three hosts in a lab, joined by Flannel's agents, with everyone pinging everyone, a cable that is
 * pulled, and an agent that is killed.
 */
import { command } from "../command.ts";
import type { Screen } from "./screen.ts";

interface Stage {
  readonly screen: Screen;
  readonly heddle: string;
  step<T>(title: string, work: () => T | Promise<T>): Promise<T>;
  finding(ok: boolean, text: string): void;
}

const NAME = "heddle-demo";

export async function showLab({ screen, heddle, step, finding }: Stage): Promise<void> {
  const lab = (...words: readonly string[]): Promise<string> =>
    command([heddle, "lab", ...words, "--name", NAME]);
  const typed = (...words: readonly string[]): Promise<string> =>
    step(`heddle lab ${words.join(" ")}`, () => lab(...words));
  screen.part("Three hosts in a lab, joined by Flannel");
  await using stack = new AsyncDisposableStack();
  await typed("up", "--hosts", "3", "--provider", "flannel");
  let there = true;
  stack.defer(async () => {
    if (there) await lab("down");
  });
  screen.show(await lab("status"));
  screen.show(await typed("ping"), "dim");
  finding(true, "every host and container reaches every other one, and what is outside");
  await typed("fault", "cut", "host2");
  const cut = await step("heddle lab ping", () =>
    lab("ping", "--timeout", "300").catch((e: Error) => e.message),
  );
  finding(
    /reached, \d+ FAILED/.test(cut),
    "host2 and its container are reached by nobody now, and ping says so",
  );
  await typed("fault", "heal");
  await typed("fault", "kill", "host1", "agent");
  await typed("ping");
  finding(true, "the cable is back, and without its agent host1 goes on as it was");
  await typed("down");
  there = false;
}
