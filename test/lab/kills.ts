/** Labs whose making is killed at moments that nobody chose, and what `down` leaves of them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { labCalled, labName } from "../../src/testing/lab.ts";
import { plainEnv, run } from "../../src/testing/run.ts";

/** Numbers of processes whose command line has the lab's name. */
const processesOf = (name: string): readonly string[] =>
  readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(name);
    } catch {
      return false; // It has just ended.
    }
  });

/**
 * Begins to make a lab, kills that after `afterMs`, and removes it. Returns everything that is left, in words; `stage` is how
 * far it came.
 */
export async function killAndRemove(
  heddle: HeddleBinary,
  afterMs: number,
): Promise<{ readonly left: readonly string[]; readonly stage: string }> {
  const name = await labName(heddle);
  const lab = labCalled(heddle, name);
  const up = Bun.spawn([heddle.path, "lab", "up", "--name", name, "--hosts", "3", "--containers", "1"], {
    env: { ...plainEnv },
    stdio: ["ignore", "ignore", "ignore"],
  });
  await Bun.sleep(afterMs);
  up.kill("SIGKILL");
  await up.exited;
  const begun = existsSync(lab.paths.dir);
  const stage = !begun
    ? "nothing"
    : existsSync(lab.paths.state)
      ? readFileSync(lab.paths.state, "utf8").includes('"complete": true')
        ? "whole"
        : "half"
      : "empty";
  if (begun) await run([heddle.path, "lab", "down", "--name", name]);
  // What the killed one had just started ends by itself.
  for (let i = 0; i < 400 && processesOf(name).length > 0; i++) await Bun.sleep(5);
  const left = [
    ...(existsSync(lab.paths.dir) ? ["its directory"] : []),
    ...(readFileSync("/proc/self/mountinfo", "utf8").includes(`/${name}`) ? ["mounts"] : []),
    ...processesOf(name).map((pid) => `process ${pid}`),
  ];
  return { left, stage };
}
