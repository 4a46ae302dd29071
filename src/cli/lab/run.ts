/** What the commands of `heddle lab` do: they ask the lab and print what it says. */
import { NetError } from "../../errors.ts";
import { attach, detach } from "../../lab/attach.ts";
import { capture } from "../../lab/capture.ts";
import { removeLab } from "../../lab/down.ts";
import { enterAndExecute, placeOf } from "../../lab/enter.ts";
import { addFault, heal, moveAddress } from "../../lab/fault.ts";
import { lookAtLab } from "../../lab/look.ts";
import { allReached, drawMatrix } from "../../lab/matrix.ts";
import { type Fault, hostNames, type LabState } from "../../lab/model.ts";
import { openOutput } from "../../lab/output-file.ts";
import { drawLab, headline } from "../../lab/picture.ts";
import { isExpected, partiesOf, pingAll } from "../../lab/ping.ts";
import { signalProgram, startAgain } from "../../lab/processes.ts";
import { providerOf } from "../../lab/provider.ts";
import { findState, listLabs, openLab, requireHost } from "../../lab/state.ts";
import { drawSvg } from "../../lab/svg.ts";
import { familiesOf, planUnderlay, ROUTER } from "../../lab/underlay.ts";
import { makeLab } from "../../lab/up.ts";
import { writeText } from "../../sys/files.ts";
import { ownProgram } from "../daemon.ts";
import { complain, print } from "../output.ts";
import { progress, terminal } from "../terminal.ts";
import type { UpOptions } from "./command.ts";

interface Named {
  readonly name: string;
}
interface Json {
  readonly json?: boolean;
}
const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2));
const runnerOf = (lab: string) => ({ lab, program: ownProgram() });

/** How many attachments are made at a time: each takes a processor. */
const AT_A_TIME = 4;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Aborted by a signal that asks this process to end. */
function stopped(): AbortSignal {
  const stop = new AbortController();
  for (const signal of SIGNALS) process.once(signal, () => stop.abort(new Error(`received ${signal}`)));
  return stop.signal;
}

/** A host, or the router, which has programs and links too. */
const requirePlace = (state: LabState, host: string): void =>
  requireHost(state, host, [ROUTER, ...hostNames(state.spec)]);

function requireRoot(): void {
  if (process.platform !== "linux")
    throw new NetError("feature/missing", { feature: "heddle lab", needs: "Linux" });
  if (process.geteuid?.() !== 0)
    throw new NetError("usage/invalid", { why: "a lab is made of namespaces, which only root may make" });
}

export async function up({
  name,
  hosts,
  containers,
  subnets,
  mtu,
  offload,
  backend,
  json,
  ...rest
}: UpOptions): Promise<void> {
  const { defaultBackend, check } = providerOf(rest);
  if (backend !== undefined && defaultBackend === "")
    throw new NetError("usage/invalid", {
      why: `--backend: --provider ${rest.provider} has none; add --provider flannel`,
    });
  const spec = {
    ...rest,
    name,
    hosts,
    subnets: rest.underlay === "flat" ? 1 : Math.min(subnets, hosts),
    mtuBytes: mtu,
    offload: offload === "on",
    backend: backend ?? defaultBackend,
  };
  await check?.(spec);
  requireRoot();
  const signal = stopped();
  const told = progress(`lab ${name}:`);
  const program = ownProgram();
  try {
    const state = await makeLab(spec, { program, signal, step: told.step, warn: complain });
    try {
      await attachAll(state, containers, signal, told.at);
    } catch (e) {
      await removeLab(name);
      throw e;
    }
    told.done();
    if (json === true) printJson(lookAtLab(state));
    else print(headline(state));
  } finally {
    told.done();
  }
}

/** The containers c1, c2, … of every host, several at a time and one after another in each. */
async function attachAll(
  { spec }: LabState,
  containers: number,
  signal: AbortSignal,
  tell: (done: number, of: number) => void,
): Promise<void> {
  const hosts = hostNames(spec);
  const waiting = [...hosts];
  let done = 0;
  const work = async (): Promise<void> => {
    for (let host = waiting.shift(); host !== undefined; host = waiting.shift())
      for (let i = 1; i <= containers; i++) {
        signal.throwIfAborted();
        await attach(runnerOf(spec.name), host, `c${i}`);
        tell(++done, hosts.length * containers);
      }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
}

export function list({ json }: Json): void {
  const labs = listLabs().map((name) => ({ name, state: stateOf(name) }));
  if (json === true)
    return printJson(
      labs.map(({ name, state }) => ({
        name,
        complete: state?.complete === true,
        spec: state?.spec ?? null,
      })),
    );
  for (const { name, state } of labs)
    print(
      state?.complete === true
        ? headline(state)
        : `lab ${name}: half made; heddle lab down --name ${name} removes it`,
    );
}

/** One whose state file cannot be read is as good as half made. */
function stateOf(name: string): LabState | undefined {
  try {
    return findState(name);
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}

/** Lines of this many characters where no terminal says otherwise. */
const WIDTH = 100;

export function status({ name, svg, json }: Named & Json & { readonly svg?: string }): void {
  const seen = lookAtLab(openLab(name));
  if (svg !== undefined) {
    using file = openOutput(svg, 0o666);
    writeText(file.raw, drawSvg(seen), svg);
  }
  if (json === true) return printJson(seen);
  if (svg === undefined) print(drawLab(seen, terminal().columns ?? WIDTH).join("\n"));
}

/** Becomes the program. `words` may begin with the two dashes that end our own options. */
export function exec(host: string, words: readonly string[], { name }: Named): void {
  const state = openLab(name);
  const place = placeOf(host);
  requirePlace(state, place.host);
  const argv = words[0] === "--" ? words.slice(1) : words;
  try {
    enterAndExecute(name, place, argv.length > 0 ? argv : [process.env["SHELL"] ?? "/bin/sh"]);
  } catch (e) {
    if (!(e instanceof NetError && e.is("program/failed"))) throw e;
    complain(`heddle: ${e.message}`);
    process.exitCode = NOT_FOUND;
  }
}

/** As shells have it. */
const NOT_FOUND = 127;

export async function attachContainer(
  host: string,
  container: string,
  { name, network, json }: Named & Json & { readonly network?: string },
): Promise<void> {
  const state = openLab(name);
  requireHost(state, host, hostNames(state.spec));
  printAddresses(await attach(runnerOf(name), host, container, network), json);
}

function printAddresses(addresses: readonly string[], json: boolean | undefined): void {
  if (json === true) printJson({ addresses });
  else print(addresses.join("\n"));
}

export async function detachContainer(host: string, container: string, { name }: Named): Promise<void> {
  const state = openLab(name);
  requireHost(state, host, hostNames(state.spec));
  await detach(runnerOf(name), host, container);
}

export function ping({
  name,
  count,
  timeout,
  json,
}: Named & Json & { readonly count: number; readonly timeout: number }): void {
  const state = openLab(name);
  const parties = partiesOf(lookAtLab(state));
  const { joinsHosts } = providerOf(state.spec);
  const families = familiesOf(state.spec);
  const pinged = families.flatMap((family) =>
    pingAll(parties, family, (from, to) => isExpected(from, to, joinsHosts), { count, timeoutMs: timeout }),
  );
  if (json === true) printJson(pinged);
  else print(families.map((family) => drawMatrix(parties, pinged, family).join("\n")).join("\n\n"));
  if (!allReached(pinged)) process.exitCode = 1;
}

export async function captureLink(
  host: string,
  link: string,
  file: string,
  { name, count }: Named & { readonly count?: number },
): Promise<void> {
  const state = openLab(name);
  const place = placeOf(host);
  requirePlace(state, place.host);
  const { packets, dropped } = await capture(name, place, link, file, {
    signal: stopped(),
    ready: () => complain(`capturing ${link} of ${host} into ${file}; Ctrl-C ends it`),
    ...(count === undefined ? {} : { count }),
  });
  complain(`${packets} packets${dropped > 0 ? `, and ${dropped} that passed unseen` : ""}`);
}

export const fault = (what: Fault, { name }: Named): void => void addFault(openLab(name), what);
export const healFaults = (host: string | undefined, { name }: Named): void => void heal(openLab(name), host);

export function move(host: string, { name, json }: Named & Json): void {
  const underlay = planUnderlay(moveAddress(openLab(name), host));
  const plan = underlay.hosts.find((h) => h.name === host);
  printAddresses(
    (plan?.addresses ?? []).map((p) => p.text),
    json,
  );
}

export function signalTo(
  host: string,
  program: string,
  signal: Parameters<typeof signalProgram>[3],
  { name }: Named,
): void {
  requirePlace(openLab(name), host);
  signalProgram(name, host, program, signal);
}

export function start(host: string, program: string, { name }: Named): void {
  requirePlace(openLab(name), host);
  startAgain(runnerOf(name), host, program);
}

export async function down({ name, all, json }: Named & Json & { readonly all?: boolean }): Promise<void> {
  const gone = [];
  for (const lab of all === true ? listLabs() : [name]) {
    const removed = await removeLab(lab);
    if (removed === undefined) throw new NetError("usage/invalid", { why: `there is no lab "${lab}"` });
    const ended = removed.ended.map(({ id, host, program }) => ({ host, program, pid: id.pid }));
    gone.push({ name: lab, ended });
    const n = ended.length;
    if (n > 0 && json !== true) print(`lab ${lab}: ended ${n} program${n === 1 ? "" : "s"}`);
  }
  if (json === true) printJson(gone);
}
