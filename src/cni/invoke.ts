/**
 * Runs a plugin by its type: finds its file in `CNI_PATH`, runs it in this process if the file is this very
 * program, else executes it, and turns what it prints into a result or an error.
 */
import { statPath } from "../sys/files.ts";
import { NetError } from "../errors.ts";
import { INTERNAL } from "./errors.ts";
import { type Env, type FileId, type Host, sameFile } from "./host.ts";
import { decodeAs, integer, list, object, parseJson, text } from "./json.ts";
import { parseResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import { serve } from "./serve.ts";
import { newestVersion, type Version } from "./version.ts";

export interface Invocation {
  readonly type: string;
  readonly command: string;
  /** The variables of this process and of the call; `CNI_PATH` says where to look. `CNI_COMMAND` is replaced. */
  readonly env: Env;
  readonly stdin: string;
  /** Takes what the plugin writes to standard error. */
  readonly log?: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** The directories of `CNI_PATH`; empty parts would mean the working directory and are left out. */
export const splitPath = (path: string | undefined): readonly string[] =>
  (path ?? "").split(":").filter((dir) => dir !== "");

interface Found {
  readonly file: string;
  readonly id: FileId;
}

/**
 * The first regular file of that name in the directories.
 * @throws config/invalid if the name could leave the directories, env/invalid if one is relative, plugin/not-found
 */
export function findPlugin(type: string, path: readonly string[]): Found {
  if (type === "") throw new NetError("config/invalid", { field: "type", why: "the plugin type is missing" });
  if (/[/\\\0]/.test(type))
    throw new NetError("config/invalid", {
      field: "type",
      why: `plugin type "${type}" contains a path separator`,
    });
  const relative = path.find((dir) => !dir.startsWith("/"));
  if (relative !== undefined)
    throw new NetError("env/invalid", {
      variables: ["CNI_PATH"],
      why: `"${relative}" is not an absolute path: what stands there depends on the working directory`,
    });
  for (const dir of path) {
    const file = `${dir}/${type}`;
    const id = regularFile(file);
    if (id) return { file, id };
  }
  throw new NetError("plugin/not-found", { type, path });
}

/**
 * As `findPlugin`; undefined if there is no such file and this program's own plugin stands in for it.
 * @throws as `findPlugin`
 */
export function findOrOwn(type: string, path: readonly string[], host: Host): Found | undefined {
  try {
    return findPlugin(type, path);
  } catch (e) {
    if (host.standsIn?.(type) && e instanceof NetError && e.is("plugin/not-found")) return undefined;
    throw e;
  }
}

function regularFile(path: string): FileId | undefined {
  try {
    const found = statPath(path);
    return found?.isFile ? { dev: found.dev, ino: found.ino } : undefined;
  } catch {
    return undefined; // absent, or out of reach: the next directory may have it
  }
}

/**
 * Runs the plugin and gives what it printed.
 * @throws config/invalid, plugin/not-found, plugin/failed with the plugin's own code, program/failed
 */
export async function invoke(call: Invocation, host: Host): Promise<string> {
  const found = findOrOwn(call.type, splitPath(call.env["CNI_PATH"]), host);
  const env = { ...call.env, CNI_COMMAND: call.command };
  const own = found === undefined || (host.inProcess && sameFile(found.id, host.self));
  const plugin = own ? await host.load(call.type) : undefined;
  if (plugin) {
    const { code, stdout, stderr } = await serve(plugin, {
      env,
      stdin: call.stdin,
      host,
      ...(call.signal ? { signal: call.signal } : {}),
    });
    if (stderr !== "") call.log?.(stderr);
    if (code !== 0) throw pluginError(call, code, stdout, stderr);
    return stdout;
  }
  const { execPlugin } = await import("./exec.ts");
  const options = call.signal ? { signal: call.signal } : {};
  const { file } = found ?? findPlugin(call.type, splitPath(call.env["CNI_PATH"]));
  const { status, stdout, stderr } = await execPlugin({ file, env, stdin: call.stdin, ...options });
  if (stderr !== "") call.log?.(stderr);
  if (status !== 0) throw pluginError(call, status, stdout, stderr);
  return stdout;
}

/** Most of a plugin's output that goes into a message, in characters. Its end says more than its beginning. */
const QUOTE_LIMIT = 400;
function quoted(output: string): string {
  const words = output.trim();
  return JSON.stringify(words.length > QUOTE_LIMIT ? `…${words.slice(-QUOTE_LIMIT)}` : words);
}

const errorFields = object({ code: integer({ min: 0 }), msg: text, details: text });

/** The error that a plugin's output and end amount to. */
export function pluginError(
  { type, command }: Pick<Invocation, "type" | "command">,
  status: number | string,
  stdout: string,
  stderr: string,
): NetError<"plugin/failed"> {
  const failed = (msg: string, code = INTERNAL, details = ""): NetError<"plugin/failed"> =>
    new NetError("plugin/failed", { type, command: command.toLowerCase(), code, msg, details });
  const ended = typeof status === "number" ? `exit code ${status}` : `ended by ${status}`;
  if (stdout.trim() === "")
    return failed(stderr.trim() === "" ? `no error message, ${ended}` : `${ended}: ${quoted(stderr)}`);
  try {
    const { code, msg, details } = decodeAs("error object", errorFields, parseJson(stdout, "error object"));
    return failed(
      msg ?? `no error message, ${ended}`,
      code === undefined || code === 0 ? INTERNAL : code,
      details,
    );
  } catch (e) {
    return failed(
      `${ended}, and its error message cannot be read (${(e as Error).message}): ${quoted(stdout)}`,
    );
  }
}

/**
 * What a plugin printed after ADD, as a result. Nothing at all is an error; a result without a version has the
 * configuration's.
 * @throws plugin/failed
 */
export function resultOfPlugin(type: string, stdout: string, configVersion: Version): Result {
  try {
    return parseResult(stdout, configVersion);
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    const msg = `its result cannot be read: ${e.message}`;
    throw new NetError("plugin/failed", { type, command: "add", code: 6, msg, details: "" }, { cause: e });
  }
}

const versionFields = object({ cniVersion: text, supportedVersions: list(text) });

/**
 * The versions that a plugin says it supports, as text: it may know newer ones than we do. Plugins from before
 * VERSION support 0.1.0; those that answer for 0.2.0 without a list support 0.1.0 and 0.2.0.
 * @throws as `invoke`, and decode/malformed
 */
export async function pluginVersions(
  call: Omit<Invocation, "command" | "stdin">,
  host: Host,
): Promise<readonly string[]> {
  // Plugins from before 0.2.0 look at these first and would complain about them instead of the command.
  const dummies = { CNI_NETNS: "dummy", CNI_IFNAME: "dummy", CNI_CONTAINERID: "dummy", CNI_ARGS: "" };
  const env = { ...call.env, ...dummies };
  let printed: string;
  try {
    const stdin = JSON.stringify({ cniVersion: newestVersion });
    printed = await invoke({ ...call, env, command: "VERSION", stdin }, host);
  } catch (e) {
    if (e instanceof NetError && e.is("plugin/failed") && e.detail.msg === "unknown CNI_COMMAND: VERSION")
      return ["0.1.0"];
    throw e;
  }
  return decodeVersions(printed, call.type);
}

function decodeVersions(printed: string, type: string): readonly string[] {
  const what = `VERSION reply of ${type}`;
  const { cniVersion, supportedVersions = [] } = decodeAs(what, versionFields, parseJson(printed, what));
  if (cniVersion === undefined || cniVersion === "")
    throw new NetError("decode/malformed", { what, why: "cniVersion is missing" });
  if (supportedVersions.length > 0) return supportedVersions;
  if (cniVersion === "0.2.0") return ["0.1.0", "0.2.0"];
  throw new NetError("decode/malformed", { what, why: "supportedVersions is missing" });
}
