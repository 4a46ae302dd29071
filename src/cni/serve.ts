/**
 * The plugin kit: one call of one plugin, from environment and standard input to output and exit code, in the
 * order of work that runtimes know. It does no input and output of its own, so the same function serves an
 * executable, a delegate in the same process, and a test. `executable.ts` gives it a process.
 */
import { type ErrorCode, fromSystem, NetError } from "../errors.ts";
import { prevResultOf, readConf, type UncheckedConf, validAttachmentsOf } from "./conf.ts";
import { errorText, toErrorJson } from "./errors.ts";
import { emptyHost, type Env, fileId, type Host, sameFile } from "./host.ts";
import { withoutKeys } from "./json.ts";
import type { Delegate, NetConf, Plugin } from "./plugin.ts";
import { printResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import { checkContainerId, checkIfName } from "./validate.ts";
import {
  atLeast,
  compareVersionNumbers,
  knownVersion,
  newestVersion,
  parseVersion,
  reconcile,
  type Version,
  versions,
} from "./version.ts";

export interface ServeInput {
  readonly env: Env;
  /** The text of standard input, or how to read it: VERSION reads nothing. */
  readonly stdin: string | (() => string);
  /** Where delegates come from; without one every delegate is executed. */
  readonly host?: Host;
  /** Ends delegates that run as processes, DEL excepted. */
  readonly signal?: AbortSignal;
}
export interface ServeOutput {
  readonly code: 0 | 1;
  readonly stdout: string;
  /** Warnings and what delegates logged. */
  readonly stderr: string;
  /** The name of the network, if the configuration was understood so far. */
  readonly network?: string;
  /** What `stdout` tells of a failed call, as it was thrown. */
  readonly failure?: unknown;
}

type Verb = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS";

const attachmentVariables: { readonly [V in Verb]: readonly string[] } = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  GC: [],
  STATUS: [],
};
const since: { readonly [V in Verb]: Version } = {
  ADD: "0.1.0",
  DEL: "0.1.0",
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};
const isVerb = (command: string): command is Verb => Object.hasOwn(since, command);

/**
 * Serves one call. Never rejects: a failure is the error object of the specification on `stdout` and code 1.
 *
 * `CNI_PATH` may be missing, as the specification allows for most commands; a delegate that needs it then fails.
 */
export async function serve(plugin: Plugin, input: ServeInput): Promise<ServeOutput> {
  const command = input.env["CNI_COMMAND"] ?? "";
  const supported = plugin.versions ?? versions;
  const logged: string[] = [];
  let network: string | undefined;
  const done = (code: 0 | 1, stdout: string, failure?: unknown): ServeOutput => ({
    code,
    stdout,
    stderr: logged.join(""),
    ...(network === undefined ? {} : { network }),
    ...(failure === undefined ? {} : { failure }),
  });
  if (command === "") {
    logged.push(`${plugin.about}\nCNI protocol versions supported: ${supported.join(", ")}\n`);
    return done(0, "");
  }
  if (command === "VERSION")
    return done(0, `${JSON.stringify({ cniVersion: newestVersion, supportedVersions: supported })}\n`);
  let spoken: Version = newestVersion;
  try {
    if (isVerb(command)) checkEnvironment(command, input.env);
    const stdin = typeof input.stdin === "string" ? input.stdin : input.stdin();
    const unchecked = readConf(stdin);
    spoken = knownVersion(unchecked.cniVersion) ?? newestVersion;
    network = unchecked.name;
    if (!isVerb(command))
      throw new NetError("env/invalid", {
        variables: ["CNI_COMMAND"],
        why: `unknown CNI_COMMAND: ${command}`,
      });
    const conf = negotiate(command, unchecked, supported);
    checkNetns(command, input.env);
    const log = (message: string): void =>
      void logged.push(message.endsWith("\n") ? message : `${message}\n`);
    const { env, host = emptyHost, signal } = input;
    const context = { env, stdin, host, conf, log, ...(signal ? { signal } : {}) };
    return done(0, await perform(plugin, command, context));
  } catch (thrown) {
    const e = fromSystem(thrown);
    if (!(e instanceof NetError) && e instanceof Error) logged.push(`${e.stack ?? e.message}\n`);
    return done(1, JSON.stringify(toErrorJson(e, spoken), undefined, 4), e);
  }
}

function checkEnvironment(verb: Verb, env: Env): void {
  const missing: string[] = [];
  for (const name of attachmentVariables[verb]) {
    const value = env[name] ?? "";
    if (value === "") missing.push(name);
    else if (name === "CNI_CONTAINERID") checkContainerId(value);
    else if (name === "CNI_IFNAME") checkIfName(value);
  }
  if (missing.length > 0)
    throw new NetError("env/invalid", { variables: missing, why: `required for ${verb} but missing` });
}

function negotiate(verb: Verb, conf: UncheckedConf, supported: readonly Version[]): NetConf {
  const numbers = parseVersion(conf.cniVersion);
  const least = parseVersion(since[verb]);
  if (since[verb] !== "0.1.0") {
    if (!numbers.ok) throw new NetError("decode/malformed", { what: "cniVersion", why: numbers.why });
    if (least.ok && compareVersionNumbers(numbers.value, least.value) < 0)
      throw new NetError("version/incompatible", {
        verb,
        wanted: conf.cniVersion,
        supported: supported.filter((v) => atLeast(v, since[verb])),
      });
  }
  return { ...conf, cniVersion: reconcile(conf.cniVersion, supported) };
}

// Before the plugin has done anything: a plugin that works on its own namespace would change the host.
function checkNetns(verb: Verb, env: Env): void {
  const path = env["CNI_NETNS"] ?? "";
  if (path === "" || verb === "GC" || verb === "STATUS") return;
  const override = env["CNI_NETNS_OVERRIDE"] ?? "";
  if (override === "1" || override.toLowerCase() === "true") return;
  if (sameFile(fileId(path), fileId("/proc/self/ns/net")))
    throw new NetError("netns/invalid", { path, why: "is the network namespace of the plugin itself" });
}

interface Context {
  readonly env: Env;
  readonly stdin: string;
  readonly host: Host;
  readonly conf: NetConf;
  readonly log: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** Runs the verb's function and gives what goes to standard output. */
async function perform(plugin: Plugin, verb: Verb, context: Context): Promise<string> {
  const { env, conf } = context;
  const call = {
    conf,
    path: (env["CNI_PATH"] ?? "").split(":").filter((dir) => dir !== ""),
    args: env["CNI_ARGS"] ?? "",
    delegate: delegateOf(context),
    log: context.log,
  };
  const attachment = { containerId: env["CNI_CONTAINERID"] ?? "", ifname: env["CNI_IFNAME"] ?? "" };
  const netns = env["CNI_NETNS"] ?? "";
  switch (verb) {
    case "ADD": {
      const prev = optionalPrev(prevResultOf(conf));
      const add = { ...call, ...attachment, ...prev, netns, config: plugin.parse(conf) };
      const result = await plugin.add(add);
      return printed(plugin, result, add);
    }
    case "CHECK":
      if (plugin.check) {
        const prev = optionalPrev(prevResultOf(conf));
        await plugin.check({ ...call, ...attachment, ...prev, netns, config: plugin.parse(conf) });
      }
      return "";
    case "DEL": {
      const prev = optionalPrev(tolerantPrev(context));
      const where = netns === "" ? {} : { netns };
      await plugin.del({ ...call, ...attachment, ...prev, ...where, config: parseForRemoval(plugin, conf) });
      return "";
    }
    case "GC":
      if (plugin.gc)
        await plugin.gc({ ...call, valid: validAttachmentsOf(conf), config: parseForRemoval(plugin, conf) });
      return "";
    case "STATUS":
      if (plugin.status) await plugin.status({ ...call, config: plugin.parse(conf) });
      return "";
  }
}

const optionalPrev = (prevResult: Result | undefined): { readonly prevResult?: Result } =>
  prevResult === undefined ? {} : { prevResult };

const parseForRemoval = (plugin: Plugin, conf: NetConf): unknown =>
  plugin.parseForRemoval ? plugin.parseForRemoval(conf) : plugin.parse(conf);

/** DEL cleans up as well as it can: a previous result that cannot be read is as good as none. */
function tolerantPrev({ conf, log }: Context): Result | undefined {
  try {
    return prevResultOf(conf);
  } catch (e) {
    log(`DEL goes on without the previous result: ${errorText(e)}`);
    return undefined;
  }
}

/** A result that the configuration's version cannot express fails ADD, so what ADD made must go again. */
async function printed(plugin: Plugin, result: Result, call: Parameters<Plugin["add"]>[0]): Promise<string> {
  try {
    return printResult(result, call.conf.cniVersion);
  } catch (e) {
    try {
      await plugin.del(call);
    } catch (undo) {
      call.log(`taking back the failed ADD: ${errorText(undo)}`);
    }
    throw e;
  }
}

/** Of an invocation: its plugin was not found. One that ran and failed is `plugin/failed`. */
const NOT_STARTED: ReadonlySet<ErrorCode> = new Set(["env/invalid", "config/invalid", "plugin/not-found"]);

/** What finds and runs other plugins is loaded when the first delegate is called. */
function delegateOf({ env, stdin, host, conf, log, signal }: Context): Delegate {
  const run: Delegate["run"] = async (type, command, text) => {
    if ((env["CNI_PATH"] ?? "") === "" && !host.standsIn?.(type))
      throw new NetError("env/invalid", {
        variables: ["CNI_PATH"],
        why: `required to find the plugin "${type}"`,
      });
    if (signal?.aborted && command !== "DEL")
      throw new NetError(
        "program/failed",
        { program: type, why: "not started, because the caller gave up" },
        { cause: signal.reason },
      );
    const { invoke } = await import("./invoke.ts");
    const ended = signal && command !== "DEL" ? { signal } : {};
    return invoke({ type, command, env, stdin: text, log, ...ended }, host);
  };
  const silent =
    (command: Verb) =>
    async (type: string): Promise<void> =>
      void (await run(type, command, stdin));
  // What could not be found has reserved nothing, so rolling back does not have to find it.
  const neverRan = new Set<string>();
  return {
    async add(type) {
      const stdout = await run(type, "ADD", stdin).catch((e: unknown) => {
        if (e instanceof NetError && NOT_STARTED.has(e.code)) neverRan.add(type);
        throw e;
      });
      const { resultOfPlugin } = await import("./invoke.ts");
      return resultOfPlugin(type, stdout, conf.cniVersion);
    },
    del: async (type, ipam) => {
      if (neverRan.has(type)) return;
      const text = ipam === undefined ? stdin : JSON.stringify({ ...withoutKeys(conf.raw, ["ipam"]), ipam });
      await run(type, "DEL", text);
    },
    check: silent("CHECK"),
    gc: silent("GC"),
    status: silent("STATUS"),
    run,
  };
}
