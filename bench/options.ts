/** What the benchmark is asked for on its command line. */
import { caseNames, type CaseName } from "./cases.ts";

export interface Options {
  /** Measured ADDs and DELs of each player in each case. */
  readonly runs: number;
  /** Bursts of fifty in the case that measures them. */
  readonly bursts: number;
  /** Containers that are there already in the crowded case. */
  readonly others: number;
  readonly cases: readonly CaseName[];
  readonly seed: number;
  readonly json?: string;
  /** A missed target ends with code 1. */
  readonly check: boolean;
}

export const usage = `npm run bench -- [options]
  --runs N      runs of each player in each case (default 60)
  --quick       10 runs, 60 other containers: to see whether it works, not for numbers
  --case NAME   only this case; may be given several times. One of
                ${caseNames.join(", ")}
  --seed N      repeats an order of runs
  --json FILE   writes the numbers, every run included
  --check       ends with code 1 if a target is missed
npm run bench -- agent [--check]: what an idle agent takes of memory, with 3 and with 1,000 nodes
npm run bench -- fabric [options]: joining a fabric of 100, 1,000 and 5,000 nodes; --runs, --quick, --seed, --json, --check
npm run bench -- forwarder [options]: the user-space data path against one in C; its own --help`;

/** @throws Error with a line for people */
export function parseOptions(argv: readonly string[]): Options {
  const rest = [...argv];
  const cases: CaseName[] = [];
  let [runs, bursts, others] = [60, 5, 300];
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
  let json: string | undefined;
  let check = false;
  const flags: Readonly<Record<string, () => void>> = {
    "--runs": () => (runs = count("--runs", rest.shift())),
    "--seed": () => (seed = count("--seed", rest.shift())),
    "--json": () => (json = needed("--json", rest.shift())),
    "--case": () => cases.push(caseName(needed("--case", rest.shift()))),
    "--check": () => (check = true),
    "--quick": () => ([runs, bursts, others] = [10, 2, 60]),
  };
  for (let flag = rest.shift(); flag !== undefined; flag = rest.shift()) {
    const set = flags[flag];
    if (set === undefined) throw new Error(`unknown option ${flag}\n${usage}`);
    set();
  }
  const chosen = cases.length > 0 ? cases : caseNames;
  return { runs, bursts, others, cases: chosen, seed, check, ...(json === undefined ? {} : { json }) };
}

function needed(flag: string, value: string | undefined): string {
  if (value === undefined) throw new Error(`${flag} needs a value\n${usage}`);
  return value;
}

function count(flag: string, value: string | undefined): number {
  const n = Number(needed(flag, value));
  if (!Number.isInteger(n) || n < 1 || n > 0xffff_ffff)
    throw new Error(`${flag} ${value}: not a number from 1`);
  return n;
}

function caseName(name: string): CaseName {
  const found = caseNames.find((n) => n === name);
  if (found === undefined) throw new Error(`no case ${name}; there are ${caseNames.join(", ")}`);
  return found;
}
