/**
 * The one error class of the project: a closed set of codes, a detail type for each, and one table of
 * sentences that the compiler keeps complete. An expected condition is a value or a `NetError`; a
 * programmer's mistake is an assertion and is never caught below `main`.
 */

/** What went wrong, by code. A new code needs a sentence below, a CNI number and a line in docs/errors.md. */
export interface Detail {
  /** A system call failed. `errno` is the name, for example `ENOENT`. */
  "sys/call": { call: string; on: string; errno: string };
  /** The kernel refused a netlink request. `extack` is the kernel's own explanation, when it gave one. */
  "netlink/refused": { request: string; errno: string; extack?: string };
  /** Multicast events were lost; whoever keeps a picture of the kernel must list again. */
  "netlink/overrun": { groups: readonly string[] };
  /** A dump was interrupted by changes every time it was tried. */
  "netlink/interrupted": { request: string; tries: number };
  /** Bytes or text that are not what their format says. */
  "decode/malformed": { what: string; why: string };
  /** A value in the network configuration is wrong. `field` is the path of the key. */
  "config/invalid": { field: string; why: string };
  /** A key of the configuration asks for something this plugin cannot do. */
  "config/unsupported": { field: string; value: string; why: string };
  /** No configuration of that name, or none at all, in the directory or store. `next`: what a person can do about it. */
  "config/not-found": { what: string; where: string; next?: string };
  /** The configuration or the result speaks a version that this program does not, or one without this verb. */
  "version/incompatible": { wanted: string; supported: readonly string[]; verb?: string };
  /** A result cannot be expressed in the asked version. */
  "version/conversion": { from: string; to: string; why: string };
  /** An environment variable that the call needs is missing or malformed. */
  "env/invalid": { variables: readonly string[]; why: string };
  /** The caller named no container. */
  "container/unknown": { why: string };
  /** The path is not a network namespace, cannot be opened, or is the plugin's own. */
  "netns/invalid": { path: string; why: string };
  /** A plugin's executable is not where it should be. */
  "plugin/not-found": { type: string; path: readonly string[] };
  /** Another plugin failed; its own message and code are passed on. */
  "plugin/failed": { type: string; command: string; code: number; msg: string; details: string };
  /** A previous result is missing or does not fit this attachment. */
  "prev-result/invalid": { why: string };
  /** The attachment exists and is alive; ADD would harm it. `type`: the plugin that found it, if others had run before it. */
  "attachment/live": { containerId: string; ifname: string; network: string; type?: string };
  /** Something that ADD has to create exists already and belongs to somebody else. */
  "resource/exists": { what: string; where: string };
  /** CHECK found the kernel different from what ADD made. */
  "check/differs": { what: string; wanted: string; found: string };
  /** No free address is left. */
  "ipam/exhausted": { pool: string };
  /** The asked address or owner is already reserved. */
  "ipam/taken": { address: string; owner: string };
  /** A host port belongs to another live attachment. */
  "port/taken": { port: string; owner: string };
  /** A program that is needed on this host is missing or failed. */
  "program/failed": { program: string; why: string };
  /** The kernel or the host lacks a feature. */
  "feature/missing": { feature: string; needs: string };
  /** The plugin cannot serve ADD now (STATUS), or the agent does not run. `next`: what a person can do about it. */
  "status/unavailable": { why: string; next?: string };
  /** The plugin cannot serve ADD now, and existing containers may have limited connectivity (STATUS). */
  "status/limited": { why: string };
  /** The store of a fabric cannot be reached, or what it answers cannot be used. What is known stays in force. */
  "store/unavailable": { store: string; why: string };
  /** The store no longer has the changes since `since`; whoever follows them must list again. */
  "store/compacted": { store: string; since: string };
  /** The store does not accept who asks, or what is asked. */
  "store/denied": { store: string; why: string };
  /** What failed can succeed when tried again. */
  "try-again": { why: string; next?: string };
  /** The caller of the command line asked for something that does not exist. */
  "usage/invalid": { why: string };
}
export type ErrorCode = keyof Detail;

const sentence: { [C in ErrorCode]: (d: Detail[C]) => string } = {
  "sys/call": (d) => `${d.call} ${d.on}: ${d.errno}`,
  "netlink/refused": (d) => `${d.request}: ${d.errno}${d.extack ? ` (${d.extack})` : ""}`,
  "netlink/overrun": (d) => `events lost on ${d.groups.join(", ")}; the state must be listed again`,
  "netlink/interrupted": (d) => `${d.request}: the list changed while it was read, ${d.tries} times in a row`,
  "decode/malformed": (d) => `${d.what}: ${d.why}`,
  "config/invalid": (d) => `${d.field}: ${d.why}`,
  "config/unsupported": (d) => `${d.field} = ${d.value}: ${d.why}`,
  "config/not-found": (d) => `no ${d.what} in ${d.where}`,
  "version/incompatible": (d) =>
    d.verb === undefined
      ? `CNI version "${d.wanted}" is not supported; supported are ${d.supported.join(", ")}`
      : `CNI version "${d.wanted}" has no ${d.verb}; those that have it are ${d.supported.join(", ")}`,
  "version/conversion": (d) => `cannot convert the result from ${d.from} to ${d.to}: ${d.why}`,
  "env/invalid": (d) => `${d.variables.join(", ")}: ${d.why}`,
  "container/unknown": (d) => d.why,
  "netns/invalid": (d) => `${d.path}: ${d.why}`,
  "plugin/not-found": (d) => `no plugin "${d.type}" in ${d.path.join(":") || "an empty CNI_PATH"}`,
  "plugin/failed": (d) => `plugin ${d.type} failed (${d.command}): ${d.msg}`,
  "prev-result/invalid": (d) => `prevResult: ${d.why}`,
  "attachment/live": (d) =>
    `container ${d.containerId} is already attached to network ${d.network} by ${d.ifname}` +
    (d.type === undefined
      ? ""
      : `; if the list has ${d.type} twice, join the two entries: a plugin runs once for an interface`),
  "resource/exists": (d) => `${d.what} already exists in ${d.where}`,
  "check/differs": (d) => `${d.what}: want ${d.wanted}, found ${d.found}`,
  "ipam/exhausted": (d) => `no IP addresses available in range set: ${d.pool}`,
  "ipam/taken": (d) => `address ${d.address} is already reserved for ${d.owner}`,
  "port/taken": (d) => `host port ${d.port} is taken by ${d.owner}`,
  "program/failed": (d) => `${d.program}: ${d.why}`,
  "feature/missing": (d) => `${d.feature} is not available: needs ${d.needs}`,
  "status/unavailable": (d) => d.why,
  "status/limited": (d) => d.why,
  "store/unavailable": (d) => `${d.store}: ${d.why}`,
  "store/compacted": (d) => `${d.store}: changes since ${d.since} are no longer kept; list again`,
  "store/denied": (d) => `${d.store} refuses: ${d.why}`,
  "try-again": (d) => d.why,
  "usage/invalid": (d) => d.why,
};

/** An expected failure. `message` says what was tried, on what, and what happened; `cause` keeps the chain. */
export class NetError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "NetError";
  readonly code: C;
  readonly detail: Detail[C];
  constructor(code: C, detail: Detail[C], options?: ErrorOptions) {
    super(sentence[code](detail), options);
    this.code = code;
    this.detail = detail;
  }
  is<K extends ErrorCode>(code: K): this is NetError<K> {
    const own: ErrorCode = this.code;
    return own === code;
  }
}

/** True if `e` is a `NetError` of that code. */
export const isNetError = <K extends ErrorCode>(e: unknown, code: K): e is NetError<K> =>
  e instanceof NetError && e.is(code);

/** A failed call of `node:fs`, which names the call and the error, as `sys/call`; everything else as it is. */
export function fromSystem(e: unknown): unknown {
  if (e instanceof NetError || !(e instanceof Error) || !("code" in e) || !("syscall" in e)) return e;
  const on = "path" in e ? String(e.path) : "a descriptor";
  return new NetError("sys/call", { call: String(e.syscall), on, errno: String(e.code) }, { cause: e });
}

/** What `work` fails with, for those who do several things and report every failure. */
export async function failureOf(work: () => Promise<unknown>): Promise<Error | undefined> {
  try {
    await work();
    return undefined;
  } catch (e) {
    return e as Error;
  }
}
