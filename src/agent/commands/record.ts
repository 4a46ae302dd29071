/**
 * What commands have done, in a directory, so that the next agent undoes what is no longer wanted, and nothing twice: a file for
 * this host, one for each peer. Before a command begins it says so: a peer's is `KEY.adding` or `KEY.removing` as long as
 * nobody knows what was done, and `KEY` while it is there. A file takes the place of another at once; none is synced, since what
 * commands did does not outlive the kernel.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import {
  decodeAs,
  integer,
  type Decode,
  invalid,
  object,
  oneOf,
  parseJson,
  refined,
  required,
  text,
} from "../../cni/json.ts";
import { isNetError } from "../../errors.ts";
import type { Known, KnownPeer, Prepared } from "../../fabric/commands/plan.ts";
import {
  commandNames,
  type CommandPeer,
  type CommandSet,
  type CommandValues,
  keyOfPeer,
  readCommands,
  textsOf,
  variableNames,
} from "../../fabric/commands/wish.ts";
import { requireTrusted } from "../../netstate/trusted-dir.ts";
import { unlessErrno } from "../../sys/files.ts";
import { endGroup, type ProcessGroup } from "./process-group.ts";

export interface CommandRecord {
  readonly known: () => Known;
  /** This host is as this says; undefined: nothing is left of it. */
  readonly setHost: (prepared: Prepared | undefined) => void;
  /** What is done to a peer, or was. */
  readonly setPeer: (peer: CommandPeer, state: KnownPeer["state"]) => void;
  readonly forget: (key: string) => void;
  /** The command that runs. */
  readonly setRunning: (group: ProcessGroup) => void;
}

const HOST = "host.json";
const RUNNING = "running.json";
const PEER = /^([0-9a-f]{32})(?:\.(adding|removing))?$/;
const nameOf = (key: string, state: KnownPeer["state"]): string =>
  state === "added" ? key : `${key}.${state}`;

const eachOf = <K extends string, T>(names: readonly K[], value: T): Readonly<Record<K, T>> =>
  Object.fromEntries(names.map((name) => [name, value])) as Record<K, T>;
const readValues: Decode<CommandValues> = object(eachOf(variableNames, required(text)));
const readSet: Decode<CommandSet> = refined(object(eachOf(commandNames, text)), (texts, at) =>
  readCommands(texts, (name, why) => invalid(`${at}.${name}`, why)),
);
const readHost = object({
  boot: required(text),
  state: required(oneOf("preparing", "prepared", "ending")),
  set: required(readSet),
  host: required(readValues),
  key: required(text),
  said: required(text),
  own: readValues,
});
const readGroup: Decode<ProcessGroup> = object({
  pid: required(integer({ min: 2 })),
  start: required(text),
});
const readPeer: Decode<CommandPeer> = object({
  id: required(text),
  values: required(readValues),
  data: required(text),
});

/** The number of the kernel's start: what was done before it is gone. */
const thisBoot = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

/** True if an earlier agent has left something there. */
export const hasRecord = (dir: string): boolean => namesIn(dir).length > 0;

const namesIn = (dir: string): readonly string[] =>
  unlessErrno(["ENOENT", "ENOTDIR"], () => readdirSync(dir)) ?? [];

/**
 * Opens what is there, and ends a command that an agent which was killed has left. What cannot be read, and what is of an earlier
 * start of the kernel, is as good as gone, and is removed.
 * @throws env/invalid if others may write there, who could have their own commands run
 */
export function openCommandRecord(dir: string, boot = thisBoot()): CommandRecord {
  requireTrusted(dir, "HEDDLE_RUN_DIR");
  const { prepared: before, peers } = readAll(dir, boot);
  let prepared = before;
  const put = (name: string, content: object): void => {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    writeFileSync(`${dir}/${name}.new`, JSON.stringify(content), { mode: 0o600 });
    renameSync(`${dir}/${name}.new`, `${dir}/${name}`);
  };
  return {
    known: () => ({ peers, ...(prepared === undefined ? {} : { prepared }) }),
    setHost(now) {
      prepared = now;
      if (now !== undefined) return put(HOST, { ...now, set: textsOf(now.set), boot });
      for (const name of [HOST, RUNNING]) rmSync(`${dir}/${name}`, { force: true });
      unlessErrno(["ENOENT", "ENOTEMPTY"], () => rmdirSync(dir));
    },
    setPeer(peer, state) {
      const key = keyOfPeer(peer);
      const before = peers.get(key)?.state;
      if (before === undefined) put(nameOf(key, state), peer);
      else renameSync(`${dir}/${nameOf(key, before)}`, `${dir}/${nameOf(key, state)}`);
      peers.set(key, { peer, state });
    },
    forget(key) {
      const state = peers.get(key)?.state;
      if (state !== undefined) rmSync(`${dir}/${nameOf(key, state)}`, { force: true });
      peers.delete(key);
    },
    setRunning: (group) => put(RUNNING, group),
  };
}

interface Read {
  readonly prepared: Prepared | undefined;
  readonly peers: Map<string, KnownPeer>;
}

function readAll(dir: string, boot: string): Read {
  const names = namesIn(dir);
  const remove = (name: string): void => rmSync(`${dir}/${name}`, { force: true, recursive: true });
  const found = names.includes(HOST) ? readFile(`${dir}/${HOST}`, readHost) : undefined;
  if (found === undefined || found.boot !== boot) {
    names.forEach(remove);
    return { prepared: undefined, peers: new Map() };
  }
  const running = names.includes(RUNNING) ? readFile(`${dir}/${RUNNING}`, readGroup) : undefined;
  if (running !== undefined) endGroup(running);
  const peers = new Map<string, KnownPeer>();
  for (const name of names) {
    if (name === HOST || name === RUNNING) continue;
    const [, key = "", state] = PEER.exec(name) ?? [];
    const peer = key === "" ? undefined : readFile(`${dir}/${name}`, readPeer);
    if (peer === undefined || keyOfPeer(peer) !== key) remove(name);
    else peers.set(key, { peer, state: state === "adding" || state === "removing" ? state : "added" });
  }
  const { boot: _, ...prepared } = found;
  return { prepared, peers };
}

/** Undefined if it is not what an agent writes. */
function readFile<T>(path: string, decode: Decode<T>): T | undefined {
  try {
    return decodeAs(path, decode, parseJson(readFileSync(path, "utf8"), path));
  } catch (e) {
    if (!isNetError(e, "decode/malformed")) throw e;
    return undefined;
  }
}
