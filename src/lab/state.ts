/** The state file of a lab, and which labs there are. */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { decodeAs, parseJson } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { type LabState, parseLabName, readLabState } from "./model.ts";
import { LABS, labPaths } from "./paths.ts";

/** Writes the state file; whoever reads it meanwhile finds the old one or the new one. */
export function writeState(state: LabState): void {
  const { state: file } = labPaths(state.spec.name);
  writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}

/** Undefined: there is no such lab, or one that was ended before its state file was written. */
export function findState(lab: string): LabState | undefined {
  const { state: file } = labPaths(lab);
  if (!existsSync(file)) return undefined;
  return decodeAs(file, readLabState, parseJson(readFileSync(file, "utf8"), file));
}

/** Every lab that there is anything of, sorted. */
export const listLabs = (): readonly string[] =>
  existsSync(LABS)
    ? readdirSync(LABS)
        .filter((name) => parseLabName(name).ok)
        .toSorted()
    : [];

/**
 * The state of a lab that runs.
 * @throws usage/invalid if there is none of that name, or one that is half made
 */
export function openLab(lab: string): LabState {
  refuseInside(lab);
  const state = findState(lab);
  const there = state !== undefined || listLabs().includes(lab);
  if (!there)
    throw new NetError("usage/invalid", { why: `there is no lab "${lab}"; heddle lab up makes one` });
  if (state?.complete !== true)
    throw new NetError("usage/invalid", {
      why: `the lab "${lab}" is being made, or its making was ended: heddle lab down --name ${lab} removes it`,
    });
  return state;
}

/** Set for every program in a host. */
export const INSIDE = { lab: "HEDDLE_LAB", host: "HEDDLE_LAB_HOST" } as const;

/** A host sees the files of its lab and not the lab. */
export function refuseInside(lab: string): void {
  if (process.env[INSIDE.lab] === lab)
    throw new NetError("usage/invalid", {
      why: `this is ${process.env[INSIDE.host] ?? "a host"} of the lab "${lab}"; leave it first`,
    });
}

/** @throws usage/invalid if the lab has no host of that name */
export function requireHost({ spec }: Pick<LabState, "spec">, host: string, hosts: readonly string[]): void {
  if (!hosts.includes(host))
    throw new NetError("usage/invalid", {
      why: `the lab "${spec.name}" has no host "${host}"; it has ${hosts.join(", ")}`,
    });
}
