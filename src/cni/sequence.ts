/**
 * Plugins that run one after another on the same attachment: the order, previous results, rollback, what to do when
 * one fails. The runtime runs a list this way and `heddle-chain` the plugins of its entry; how one plugin is called is
 * theirs. Remembers nothing.
 */
import { NetError } from "../errors.ts";
import { openNetlink } from "../netlink/socket.ts";
import { findLink } from "../rtnl/link.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { ATTACHMENT_LIVE, cniCode, errorText } from "./errors.ts";
import { resultOfPlugin } from "./invoke.ts";
import type { PluginConf, RequestExtras } from "./list.ts";
import type { AttachmentKey } from "./plugin.ts";
import { decodeResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import { atLeast, type Version } from "./version.ts";

export interface Sequence {
  readonly cniVersion: Version;
  /** In the order of ADD. */
  readonly plugins: readonly PluginConf[];
  /** Throws if the plugin cannot be started now; then it has nothing to take back. */
  ready(plugin: PluginConf): void;
  /** Runs one plugin and gives what it printed. */
  run(plugin: PluginConf, command: string, extras: RunExtras): Promise<string>;
}

interface RunExtras extends Pick<RequestExtras, "prevResult" | "valid"> {
  /** True for DEL after an ADD that failed. */
  readonly undoing?: boolean;
}

export interface Start {
  /** The result of what ran before the sequence. */
  readonly prevResult?: Result;
  /** True if the container had the interface before anything ran. */
  readonly occupied: boolean;
}

const optional = (prevResult: Result | undefined): { readonly prevResult?: Result } =>
  prevResult === undefined ? {} : { prevResult };

/**
 * Runs ADD of every plugin with the result of the one before, then `commit`, and gives the last result. When one of
 * them fails, every plugin that ran is detached again, the failing one included, in reverse order; what fails in doing
 * so is reported with the first error in an `AggregateError`. An attachment that lives is not touched.
 * @throws as `run` and `commit`
 */
export async function addAll(
  sequence: Sequence,
  { prevResult: before, occupied }: Start,
  commit: (result: Result) => void = () => {},
): Promise<Result> {
  const { plugins, cniVersion } = sequence;
  const ran: PluginConf[] = [];
  let prevResult = before;
  try {
    for (const plugin of plugins) {
      sequence.ready(plugin);
      ran.unshift(plugin);
      const stdout = await sequence.run(plugin, "ADD", optional(prevResult));
      prevResult = resultOfPlugin(plugin.type, stdout, cniVersion);
    }
    const result = prevResult ?? decodeResult(undefined, cniVersion);
    commit(result);
    return result;
  } catch (e) {
    // The plugin that finds the attachment alive has made nothing; the first to find it means none has.
    // Nor may a first plugin that met an interface which nobody remembers take that interface away.
    const untouched = cniCode(e) === ATTACHMENT_LIVE || (occupied && ran.length === 1);
    const undone = await detach(sequence, untouched ? ran.slice(1) : ran, { prevResult, undoing: true });
    // What stopped ADD (a namespace that is none) often stops DEL in the same words: saying it once is enough.
    const failures = undone.filter((f) => reasonOf(f) !== reasonOf(e));
    if (failures.length === 0) throw e;
    throw new AggregateError([e, ...failures], `${errorText(e)}; taking it back failed too`, { cause: e });
  }
}

/** The plugin's own words, without the verb in which it failed. */
const reasonOf = (e: unknown): string =>
  e instanceof NetError && e.is("plugin/failed") ? `${e.detail.type}: ${e.detail.msg}` : errorText(e);

/** True if the container has the interface already, whoever made it. */
export function hasInterface({
  netns: path,
  ifname,
}: {
  readonly netns?: string;
  readonly ifname: string;
}): boolean {
  if (path === undefined) return false;
  try {
    using netns = openNetns(path);
    using socket = inNetns(netns, () => openNetlink("route"));
    return findLink(socket, { name: ifname }) !== undefined;
  } catch {
    return false; // The plugin says what is wrong with the namespace.
  }
}

interface Detaching {
  readonly prevResult: Result | undefined;
  readonly undoing: boolean;
}

/** Runs DEL of the plugins in the given order, all of them, and gives what failed. */
async function detach(
  { cniVersion, run }: Sequence,
  plugins: readonly PluginConf[],
  { prevResult, undoing }: Detaching,
): Promise<readonly unknown[]> {
  const failures: unknown[] = [];
  const attempt = attempting(failures);
  const prev = atLeast(cniVersion, "0.4.0") ? optional(prevResult) : {};
  for (const plugin of plugins) await attempt(() => run(plugin, "DEL", { ...prev, undoing }));
  return failures;
}

/** Runs DEL of every plugin in reverse order, whatever fails, and gives what failed. */
export const delAll = (sequence: Sequence, prevResult: Result | undefined): Promise<readonly unknown[]> =>
  detach(sequence, sequence.plugins.toReversed(), { prevResult, undoing: false });

/** Runs CHECK or STATUS of every plugin in order, up to the first that fails. */
export async function runEach(
  { plugins, run }: Sequence,
  command: "CHECK" | "STATUS",
  extras: { readonly prevResult?: Result } = {},
): Promise<void> {
  for (const plugin of plugins) await run(plugin, command, extras);
}

/** Runs GC of every plugin in order, whatever fails, and gives what failed. */
export async function gcAll(
  { plugins, run }: Sequence,
  valid: readonly AttachmentKey[] | undefined,
): Promise<readonly unknown[]> {
  const failures: unknown[] = [];
  const attempt = attempting(failures);
  for (const plugin of plugins) await attempt(() => run(plugin, "GC", valid ? { valid } : {}));
  return failures;
}

/** Runs something and puts what it fails with among the failures. */
export const attempting =
  (failures: unknown[]) =>
  async (run: () => Promise<unknown>): Promise<void> => {
    try {
      await run();
    } catch (e) {
      failures.push(e);
    }
  };

/** Throws the one failure, or all of them as one error; does nothing if there is none. */
export function throwAll(failures: readonly unknown[]): void {
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(errorText).join("; "));
}
