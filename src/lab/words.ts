/**
 * Words by which this executable is started again for a lab, each a short process: `lab-make` makes the hosts of one, `lab-netns`
 * a container's namespace in a host, `lab-prepare` does what a provider wants once, `lab-enter` goes into a host and becomes another
 * program.
 */
import { errorText } from "../cni/errors.ts";
import { writeAll } from "../cni/executable.ts";
import { isNetError } from "../errors.ts";
import { NETNS_COMMAND, runNetns } from "./attach.ts";
import {
  ENTER_COMMAND,
  enterAndExecute,
  MAKE_COMMAND,
  placeOf,
  PREPARE_COMMAND,
  runMake,
  runPrepare,
} from "./enter.ts";

const words: Readonly<Record<string, (rest: readonly string[]) => void | Promise<void>>> = {
  [MAKE_COMMAND]: ([lab = "", parent = ""]) => runMake(lab, Number(parent)),
  [NETNS_COMMAND]: ([lab = "", host = "", name = "", parent = ""]) =>
    runNetns(lab, host, name, Number(parent)),
  [PREPARE_COMMAND]: ([lab = ""]) => runPrepare(lab),
  [ENTER_COMMAND]: ([lab = "", place = "", ...argv]) => enterAndExecute(lab, placeOf(place), argv),
};

/** As shells have it: a program that is not there, and everything else. */
const NOT_FOUND = 127;
const FAILED = 1;

/** Does what the word says and returns the exit code; a program that this process becomes has its own. */
export async function runLabWord(word: string, rest: readonly string[]): Promise<number> {
  try {
    await words[word]?.(rest);
    return 0;
  } catch (e) {
    writeAll(2, `heddle lab: ${errorText(e)}\n`);
    return isNetError(e, "program/failed") ? NOT_FOUND : FAILED;
  }
}
