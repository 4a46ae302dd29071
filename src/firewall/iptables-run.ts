import { existsSync } from "node:fs";
import { NetError } from "../errors.ts";
import type { Family } from "../net/ip.ts";
import { parseSave, type SavedTable } from "./iptables-save.ts";

/**
 * Runs iptables-save and iptables-restore: one process for a whole table, never one for a rule, and never through a
 * shell. Both the legacy programs and those over nftables are meant; the host's administrator chooses between them.
 */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program of that name; undefined if the host does not have it. The descriptor `held` stays open in it: a lock
 * is then free only when the program has ended, also if its parent is killed before.
 */
export type Run = (
  program: string,
  args: readonly string[],
  stdin: string,
  held?: number,
) => Output | undefined;

/** Only root writes to these. `PATH` is the caller's, and a plugin runs as root. */
const TRUSTED = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/** A program that hangs must not hang the container runtime; the lock of iptables is waited for half as long. */
const PROGRAM_MS = 60_000;
const LOCK_SECONDS = 30;
/** RESOURCE_PROBLEM of iptables: another process holds the lock, or the kernel's tables changed meanwhile. */
const RESOURCE_PROBLEM = 4;
/** Other programs change the tables, too: what was read can be old when it is used. */
const TRIES = 4;

const pathOf = (program: string): string | undefined =>
  TRUSTED.map((folder) => `${folder}/${program}`).find((p) => existsSync(p));

/** Whether the host has the programs of that family. */
export const hasPrograms = (family: Family): boolean =>
  ["save", "restore"].every((verb) => pathOf(`${prefix(family)}-${verb}`) !== undefined);

export const runProgram: Run = (program, args, stdin, held) => {
  const path = pathOf(program);
  if (path === undefined) return undefined;
  const child = Bun.spawnSync([path, ...args], {
    stdio: [Buffer.from(stdin), "pipe", "pipe", ...(held === undefined ? [] : [held])],
    env: { PATH: TRUSTED.join(":"), LC_ALL: "C" },
    cwd: "/",
    timeout: PROGRAM_MS,
  });
  return {
    code: child.exitCode ?? -1,
    stdout: child.stdout?.toString() ?? "",
    stderr: child.exitCode === null ? `ended by ${child.signalCode}` : (child.stderr?.toString() ?? ""),
  };
};

/**
 * The programs over nftables, or the older ones, by their own names, since the usual names may be those of the other
 * kind. A host without these names has one kind alone.
 */
export const variant =
  (run: Run, kind: "nft" | "legacy"): Run =>
  (program, args, stdin) =>
    run(program.replace("tables-", `tables-${kind}-`), args, stdin) ?? run(program, args, stdin);

const prefix = (family: Family): string => (family === 4 ? "iptables" : "ip6tables");

/**
 * What iptables-save prints, of one table or of all; undefined if the program is not installed. Throws
 * `program/failed`.
 */
export function save(run: Run, family: Family, table?: string): string | undefined {
  const program = `${prefix(family)}-save`;
  const output = run(program, table === undefined ? [] : ["-t", table], "");
  if (output !== undefined && output.code !== 0) throw failure(program, output);
  return output?.stdout;
}

/** As `save`, read into its tables. */
export function savedTables(
  run: Run,
  family: Family,
  table?: string,
): ReadonlyMap<string, SavedTable> | undefined {
  const program = `${prefix(family)}-save`;
  const output = run(program, table === undefined ? [] : ["-t", table], "");
  if (output === undefined) return undefined;
  if (output.code !== 0) throw failure(program, output);
  const known = readings.get(output);
  if (known !== undefined) return known;
  const tables = parseSave(output.stdout);
  readings.set(output, tables);
  return tables;
}

/** Who compares many attachments gives the same output again and again. */
const readings = new WeakMap<Output, ReadonlyMap<string, SavedTable>>();

/** Loads the text without clearing what it does not name; each table of it wholly or not at all. Undefined: done. */
export function restore(run: Run, family: Family, text: string): NetError | undefined {
  const program = `${prefix(family)}-restore`;
  const output = run(program, ["--noflush", `--wait=${LOCK_SECONDS}`], text);
  if (output === undefined) return missing(family);
  return output.code === 0 ? undefined : failure(program, output);
}

/**
 * Loads what `plan` makes of the tables as they are. If that is refused and the tables have changed since, the plan
 * is made anew; if they have not, the refusal is thrown.
 */
export function settle(run: Run, family: Family, plan: () => string): void {
  let before: string | undefined;
  let refused: NetError | undefined;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const text = plan();
    if (text === "") return;
    if (refused !== undefined && text === before) throw refused;
    refused = restore(run, family, text);
    if (refused === undefined) return;
    before = text;
  }
  throw refused ?? new TypeError("settle ended without a reason");
}

export const missing = (family: Family): NetError<"feature/missing"> =>
  new NetError("feature/missing", {
    feature: `the iptables backend for IPv${family}`,
    needs: `${prefix(family)}-restore in ${TRUSTED.join(", ")} (package iptables)`,
  });

function failure(program: string, output: Output): NetError {
  const why = output.stderr.trim().split("\n").slice(0, 3).join("; ") || `exit status ${output.code}`;
  return output.code === RESOURCE_PROBLEM
    ? new NetError("try-again", { why: `${program}: ${why}` })
    : new NetError("program/failed", { program, why });
}
