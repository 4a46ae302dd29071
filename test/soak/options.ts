/** What a soak is asked for on its command line. */
import { type RuntimeName, runtimeNames } from "./model.ts";

export interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly runtimes: readonly RuntimeName[];
  readonly json?: string;
  readonly log?: string;
}

export const usage = `npm run soak -- [options]
  --minutes N      how long containers come and go, 0.1 to 1440 (default 10)
  --seed N         repeats the choices of an earlier run; not their timing
  --runtime NAME   only this runtime; may be given several times. One of
                   ${runtimeNames.join(", ")}
  --json FILE      writes the numbers
  --log FILE       writes all that was done, a line each`;

/** @throws Error with a line for people */
export function parseOptions(argv: readonly string[]): Options {
  const rest = [...argv];
  const runtimes: RuntimeName[] = [];
  let minutes = 10;
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
  let json: string | undefined;
  let log: string | undefined;
  const flags: Readonly<Record<string, (value: string) => void>> = {
    "--minutes": (value) => (minutes = number("--minutes", value, 0.1, 1440)),
    "--seed": (value) => (seed = whole("--seed", value)),
    "--runtime": (value) => runtimes.push(runtimeName(value)),
    "--json": (value) => (json = value),
    "--log": (value) => (log = value),
  };
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [flag = "", joined] = word.split(/=(.*)/s);
    const set = flags[flag];
    if (set === undefined) throw new Error(`unknown option ${word}\n${usage}`);
    const value = joined ?? rest.shift();
    if (value === undefined || value === "") throw new Error(`${flag} needs a value\n${usage}`);
    set(value);
  }
  return {
    minutes,
    seed,
    runtimes: runtimes.length > 0 ? runtimes : runtimeNames,
    ...(json === undefined ? {} : { json }),
    ...(log === undefined ? {} : { log }),
  };
}

function number(flag: string, value: string, least: number, most: number): number {
  const n = Number(value);
  if (!(n >= least && n <= most)) throw new Error(`${flag} ${value}: not a number from ${least} to ${most}`);
  return n;
}

function whole(flag: string, value: string): number {
  const n = number(flag, value, 1, 0xffff_ffff);
  if (!Number.isInteger(n)) throw new Error(`${flag} ${value}: not a whole number`);
  return n;
}

function runtimeName(value: string): RuntimeName {
  const found = runtimeNames.find((name) => name === value);
  if (found === undefined)
    throw new Error(`--runtime ${value}: there is none; there are ${runtimeNames.join(", ")}`);
  return found;
}
