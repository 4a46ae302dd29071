/**
 * The executables that are compared, held still for the whole run: copies, since a build beside the benchmark replaces
 * `dist/heddle`, and since what was just written lies otherwise in memory than what was read piece by piece as it ran.
 * The empty program is compiled with the same options as ours.
 */
import { copyFileSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compileOptions, ensureBuilt } from "../scripts/build.ts";
import { command } from "../scripts/command.ts";
import { peerDir } from "../scripts/peer.ts";
import { pluginTypes } from "../src/plugins/registry.ts";
import { cases, type CaseName } from "./cases.ts";
import type { Places } from "./players.ts";

/** Prepares everything below `dir`; gives the places for a player of a case. */
export async function preparePrograms(dir: string): Promise<(name: CaseName, player: number) => Places> {
  const executable = join(dir, "heddle-copy");
  copyFileSync(await ensureBuilt(), executable);
  const heddle = join(dir, "cni");
  mkdirSync(heddle);
  for (const name of ["heddle", ...pluginTypes]) symlinkSync(executable, join(heddle, name));
  const empty = join(dir, "empty");
  writeFileSync(`${empty}.ts`, "process.exitCode = 0;\n");
  await command([process.execPath, "build", ...compileOptions, `${empty}.ts`, `--outfile=${empty}`]);
  const reference = join(dir, "reference");
  cpSync(await peerDir(), reference, { recursive: true });
  return (name, player) => {
    const confDir = join(dir, "conf", `${name}-${player}`);
    mkdirSync(confDir, { recursive: true });
    const list = cases[name].players[player]?.list;
    writeFileSync(join(confDir, "10-bench.conflist"), JSON.stringify(list));
    return { heddle, reference, empty, confDir };
  };
}
