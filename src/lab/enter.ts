/**
 * Small roles of this executable in a lab, each a process that begins with it (`main.ts`): `lab-make` makes the hosts of one and
 * ends, `lab-prepare` does in the router what a provider wants once, `lab-enter` goes into a host and becomes another program.
 */
import { existsSync } from "node:fs";
import { NetError } from "../errors.ts";
import { endWithParent, enterForGood, execute, type NamespaceKind } from "../sys/become.ts";
import { errnoOf, O, openFile } from "../sys/files.ts";
import { makeHosts } from "./make.ts";
import { hostNames } from "./model.ts";
import { labPaths } from "./paths.ts";
import { providerOf } from "./provider.ts";
import { findState, INSIDE } from "./state.ts";
import { planUnderlay, ROUTER } from "./underlay.ts";
import { wireLab } from "./wire.ts";

/** The words that make this executable one of the three. */
export const MAKE_COMMAND = "lab-make";
export const ENTER_COMMAND = "lab-enter";
export const PREPARE_COMMAND = "lab-prepare";

/** Makes the hosts of a lab whose state file is there, and joins them. `parent` is the number of who asked. */
export function runMake(lab: string, parent: number): void {
  if (!endWithParent(parent)) return;
  const state = findState(lab);
  if (state === undefined) throw new NetError("usage/invalid", { why: `there is no lab "${lab}"` });
  const paths = labPaths(lab);
  makeHosts(paths, [ROUTER, ...hostNames(state.spec)]);
  wireLab(paths, state.spec, planUnderlay(state));
}

/** Does what the lab's provider wants done once, in the router, where this process is. */
export async function runPrepare(lab: string): Promise<void> {
  const state = findState(lab);
  if (state === undefined) throw new NetError("usage/invalid", { why: `there is no lab "${lab}"` });
  const { shared } = labPaths(lab);
  await providerOf(state.spec).prepare?.({ spec: state.spec, underlay: planUnderlay(state), shared });
}

/** A host, or a named network namespace of one: `host1`, `host1/web`. */
export interface Place {
  readonly host: string;
  readonly container?: string;
}

export const placeOf = (word: string): Place => {
  const [host = "", container] = word.split("/", 2);
  return { host, ...(container === undefined ? {} : { container }) };
};

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Variables that lead to directories of the machine which a host has for itself, and those by which Bun would run other code. */
const NOT_FOR_HOSTS: readonly string[] = [
  ...["HEDDLE_RUN_DIR", "HEDDLE_STATE_DIR", "NETCONFPATH"],
  ...["BUN_OPTIONS", "BUN_BE_BUN"],
];

/** The environment of a program in a host: that of the caller, with this executable first in `PATH`, and its plugins. */
function environmentIn(
  lab: string,
  { host }: Place,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string | undefined>> {
  const { bin, plugins } = labPaths(lab);
  const kept = Object.entries(env).filter(([key]) => !NOT_FOR_HOSTS.includes(key));
  return {
    ...Object.fromEntries(kept),
    PATH: `${bin}:${env["PATH"] ?? PATH}`,
    CNI_PATH: env["CNI_PATH"] ?? plugins,
    [INSIDE.lab]: lab,
    [INSIDE.host]: host,
  };
}

/**
 * Turns this process into `argv` inside of the place. The working directory stays the same if the host has it.
 * @throws usage/invalid if there is no such place; program/failed if the program is not there or cannot be executed
 */
export function enterAndExecute(lab: string, place: Place, argv: readonly string[]): never {
  const { mnt, net, uts, netns } = labPaths(lab).host(place.host);
  const network = place.container === undefined ? net : `${netns}/${place.container}`;
  const opened = (
    [
      ["mnt", mnt],
      ["net", network],
      ["uts", uts],
    ] as const satisfies readonly (readonly [NamespaceKind, string])[]
  ).map(([kind, path]) => {
    if (existsSync(path)) return [kind, openFile(path, O.RDONLY)] as const;
    throw new NetError("usage/invalid", {
      why: `there is no ${place.container === undefined ? "" : `"${place.container}" in `}"${place.host}" in the lab "${lab}"`,
    });
  });
  const here = process.cwd();
  for (const [kind, fd] of opened) enterForGood(kind, fd.raw);
  process.chdir(existsSync(here) ? here : "/");
  const env = environmentIn(lab, place, process.env);
  const [program = ""] = argv;
  const file = program.includes("/") ? program : Bun.which(program, { PATH: env["PATH"] ?? PATH });
  if (file === null) throw new NetError("program/failed", { program, why: "is not in PATH" });
  try {
    return execute(file, argv, env);
  } catch (cause) {
    const why =
      errnoOf(cause) === "ENOENT"
        ? "is not there"
        : `cannot be executed (${errnoOf(cause) ?? String(cause)})`;
    throw new NetError("program/failed", { program, why }, { cause });
  }
}
