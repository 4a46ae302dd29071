/** Makes a lab: its directory and state file first, then hosts and underlay in a child, then what its provider wants. */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { isCompiled } from "../build-info.ts";
import { NetError } from "../errors.ts";
import { pluginTypes } from "../plugins/registry.ts";
import { errnoOf } from "../sys/files.ts";
import { removeLab } from "./down.ts";
import { MAKE_COMMAND, PREPARE_COMMAND } from "./enter.ts";
import { self } from "./ids.ts";
import { makeLabDirectory } from "./make.ts";
import type { LabSpec, LabState } from "./model.ts";
import { type LabPaths, LABS, labPaths } from "./paths.ts";
import { type LabRunner, listProcesses, logOf, runIn, startProcess } from "./processes.ts";
import { providerOf, type Setup } from "./provider.ts";
import { findState, refuseInside, writeState } from "./state.ts";
import { planUnderlay, ROUTER } from "./underlay.ts";

/** What making the hosts takes at most, and what a provider may take to be ready. */
const MAKE_LIMIT_MS = 60_000;
const READY_LIMIT_MS = 30_000;
/** What hosts may take to hear of each other. */
const JOIN_LIMIT_MS = 10_000;
const STEP_MS = 10;

export interface UpOptions {
  readonly program: LabRunner["program"];
  /** Ends the making; what is there goes again. */
  readonly signal?: AbortSignal;
  /** Tells what comes next. */
  readonly step?: (text: string) => void;
  /** Tells what is not as it should be, though the lab is there. */
  readonly warn?: (text: string) => void;
}

/**
 * Makes the lab and returns when containers can be attached. A failure takes everything back.
 * @throws usage/invalid if there is one of that name, whole or not
 */
export async function makeLab(spec: LabSpec, options: UpOptions): Promise<LabState> {
  refuseInside(spec.name);
  const paths = labPaths(spec.name);
  takeDirectory(spec.name, paths);
  try {
    return await build(spec, paths, options);
  } catch (e) {
    await removeLab(spec.name);
    throw e;
  }
}

function takeDirectory(lab: string, { dir }: LabPaths): void {
  // As records of attachments have it.
  mkdirSync(dirname(LABS), { recursive: true, mode: 0o700 });
  mkdirSync(LABS, { recursive: true, mode: 0o755 });
  try {
    mkdirSync(dir, { mode: 0o755 });
  } catch (e) {
    if (errnoOf(e) !== "EEXIST") throw e;
    const half = findState(lab)?.complete === true ? "" : " that is being made, or whose making was ended";
    const what = `a lab "${lab}"${half} (heddle lab down --name ${lab} removes it)`;
    throw new NetError("resource/exists", { what, where: LABS }, { cause: e });
  }
}

async function build(spec: LabSpec, paths: LabPaths, options: UpOptions): Promise<LabState> {
  const { program, signal, step = () => undefined } = options;
  const state: LabState = { spec, complete: false, maker: self(), faults: [], moved: {} };
  makeLabDirectory(paths, () => writeState(state));
  placeExecutable(paths);
  step(`${spec.hosts} hosts and their underlay`);
  await makeHostsInChild(spec.name, program, signal);
  await startProvider(state, paths, options);
  signal?.throwIfAborted();
  const complete = { ...state, complete: true };
  writeState(complete);
  return complete;
}

/** Programs in a host find this executable by its names, and its plugins by theirs: one of them is called as a program of iproute2. */
function placeExecutable({ bin, plugins }: LabPaths): void {
  mkdirSync(bin);
  mkdirSync(plugins);
  if (!isCompiled) return;
  for (const name of ["heddle", "cnitool"]) symlinkSync(process.execPath, `${bin}/${name}`);
  for (const name of pluginTypes) symlinkSync(process.execPath, `${plugins}/${name}`);
}

async function makeHostsInChild(
  lab: string,
  program: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const child = Bun.spawn([...program, MAKE_COMMAND, lab, String(process.pid)], {
    argv0: "heddle",
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: MAKE_LIMIT_MS,
    killSignal: "SIGKILL",
    ...(signal === undefined ? {} : { signal }),
  });
  const [said, code] = await Promise.all([child.stderr.text(), child.exited]);
  signal?.throwIfAborted();
  if (code !== 0)
    throw new NetError("program/failed", {
      program: MAKE_COMMAND,
      why: said.trim() || `ended by ${child.signalCode ?? code}`,
    });
}

async function startProvider(
  { spec, moved }: LabState,
  paths: LabPaths,
  { program, signal, step = () => undefined, warn = () => undefined }: UpOptions,
): Promise<void> {
  const underlay = planUnderlay({ spec, moved });
  const provider = providerOf(spec);
  const runner = { lab: spec.name, program };
  const input = { spec, underlay, shared: paths.shared };
  step(`provider ${spec.provider}`);
  const start = (host: string, { files, programs }: Setup): void => {
    for (const [file, content] of Object.entries(files)) writeFileSync(paths.host(host).file(file), content);
    for (const { name, argv } of programs) startProcess(runner, host, name, ownWords(argv, program));
  };
  const atRouter = provider.router?.(input);
  if (atRouter !== undefined) {
    start(ROUTER, atRouter);
    await waitUntilReady(spec.name, ROUTER, atRouter, signal);
  }
  if (provider.prepare !== undefined) await prepareInRouter(runner, signal);
  const setups = underlay.hosts.map((host, i) => ({
    host: host.name,
    setup: provider.setup({ ...input, host, number: i + 1 }),
  }));
  for (const { host, setup } of setups) start(host, setup);
  await Promise.all(setups.map(({ host, setup }) => waitUntilReady(spec.name, host, setup, signal)));
  const joined = await Promise.all(
    setups.map(({ host, setup }) => waitUntilJoined(runner, host, setup, signal)),
  );
  const late = setups.flatMap(({ host }, i) => (joined[i] === true ? [] : [host]));
  if (late.length > 0) warn(`${late.join(", ")}: not every other host is known there yet`);
}

/** Whether a host knows all others within the time. A backend that this kernel lacks, or that is meant to fail, is no reason to have no lab. */
async function waitUntilJoined(
  runner: LabRunner,
  host: string,
  { joined }: Setup,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (joined === undefined) return true;
  const argv = ownWords(joined.argv, runner.program);
  for (
    const deadline = performance.now() + JOIN_LIMIT_MS;
    performance.now() < deadline;
    await Bun.sleep(STEP_MS)
  ) {
    signal?.throwIfAborted();
    const { code, stdout } = await runIn(runner, host, argv);
    if (code === 0 && joined.isSo(stdout)) return true;
  }
  return false;
}

async function prepareInRouter(runner: LabRunner, signal: AbortSignal | undefined): Promise<void> {
  const words = [...runner.program, PREPARE_COMMAND, runner.lab];
  const { code, stderr } = await runIn(runner, ROUTER, words, { timeoutMs: MAKE_LIMIT_MS });
  signal?.throwIfAborted();
  if (code !== 0) throw new NetError("program/failed", { program: PREPARE_COMMAND, why: stderr.trim() });
}

const ownWords = ([first = "", ...rest]: readonly string[], program: readonly string[]): readonly string[] =>
  first === "heddle" ? [...program, ...rest] : [first, ...rest];

async function waitUntilReady(
  lab: string,
  host: string,
  { programs, readyWhen }: Setup,
  signal: AbortSignal | undefined,
): Promise<void> {
  const paths = labPaths(lab).host(host);
  const missing = (): string | undefined => readyWhen.find((file) => !existsSync(paths.file(file)));
  for (
    const deadline = performance.now() + READY_LIMIT_MS;
    missing() !== undefined;
    await Bun.sleep(STEP_MS)
  ) {
    signal?.throwIfAborted();
    const ended = listProcesses(lab, host).find((p) => p.state === undefined);
    const late = performance.now() > deadline;
    if (ended === undefined && !late) continue;
    const name = ended?.name ?? programs.at(-1)?.name ?? "";
    throw new NetError("program/failed", {
      program: `${name} in ${host}`,
      why: `${ended === undefined ? `${missing() ?? ""} is not there after ${READY_LIMIT_MS / 1000} s` : "has ended"}: ${lastLines(logOf(lab, host, name))}`,
    });
  }
}

/** What a person reads of a log in an error. */
const LAST_CHARACTERS = 600;
const lastLines = (file: string): string =>
  existsSync(file) ? readFileSync(file, "utf8").trim().slice(-LAST_CHARACTERS) : "";
