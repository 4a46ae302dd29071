/**
 * Removes a lab, whole or half made, and whoever was killed at what: its processes are ended, and then its directory is
 * unmounted, with which every pinned namespace goes, and with those all links, addresses, rules and mounts.
 */
import { existsSync, rmdirSync } from "node:fs";
import { NetError } from "../errors.ts";
import { detachMount } from "../sys/mounts.ts";
import { type Found, namespacesOf, processesIn, signal, stateOf } from "./ids.ts";
import { labPaths } from "./paths.ts";
import { findState, refuseInside } from "./state.ts";

export interface Removed {
  /** Processes that were ended. */
  readonly ended: readonly Found[];
}

/** What a process may take to end after SIGKILL, and a mount to be free. */
const LIMIT_MS = 10_000;
const STEP_MS = 5;
/** Mounts on one another, of makings that were killed. */
const MOST_MOUNTS = 100;

/** Removes it; undefined if there is nothing of that name. */
export async function removeLab(lab: string): Promise<Removed | undefined> {
  refuseInside(lab);
  const paths = labPaths(lab);
  if (!existsSync(paths.dir)) return undefined;
  const maker = makerOf(lab);
  // First, so that nothing is made while the rest goes.
  if (maker !== undefined && maker.pid !== process.pid) signal(maker, "SIGKILL");
  const namespaces = namespacesOf(paths);
  const ended = await endAll(() => processesIn(namespaces));
  for (let i = 0; i < MOST_MOUNTS && detachMount(paths.dir); i++);
  rmdirSync(paths.dir);
  return { ended };
}

/** Who is making it, if that is so; a state file that nobody can read is no reason to keep a lab. */
function makerOf(lab: string) {
  try {
    const state = findState(lab);
    return state?.complete === false && stateOf(state.maker) !== undefined ? state.maker : undefined;
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}

/** Ends what `look` finds, as pulling the plug does, until it finds nothing. */
async function endAll(look: () => readonly Found[]): Promise<readonly Found[]> {
  const ended = new Map<string, Found>();
  for (const deadline = performance.now() + LIMIT_MS; ; await Bun.sleep(STEP_MS)) {
    const found = look().filter(({ id }) => stateOf(id) !== undefined);
    if (found.length === 0) return [...ended.values()];
    for (const one of found) {
      ended.set(`${one.id.pid} ${one.id.start}`, one);
      signal(one.id, "SIGKILL");
    }
    if (performance.now() > deadline)
      throw new NetError("try-again", {
        why: `${found.map(({ program, id }) => `${program} (${id.pid})`).join(", ")} cannot be ended`,
      });
  }
}
