/**
 * What tests of IPAM plugins share: calls as the kit would make them, in a directory of the test's own, and file
 * operations that stop at a chosen change.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AddCall, AttachmentKey, CheckCall, Delegate, NetConf, Plugin } from "../cni/plugin.ts";
import type { Result } from "../cni/result.ts";
import type { Version } from "../cni/version.ts";
import type { Files } from "../plugins/ipam/host-local/files.ts";
import { parseIp } from "../net/ip.ts";

const refuse = (): Promise<never> => Promise.reject(new Error("an IPAM plugin delegates nothing"));
const delegate: Delegate = {
  add: refuse,
  del: refuse,
  check: refuse,
  gc: refuse,
  status: refuse,
  run: refuse,
};

export interface Setup {
  readonly cniVersion?: Version;
  readonly name?: string;
  /** Keys beside `ipam`. */
  readonly more?: Readonly<Record<string, unknown>>;
  readonly args?: string;
}

export function confOf(ipam: unknown, setup: Setup = {}): NetConf {
  const { cniVersion = "1.1.0", name = "net", more = {} } = setup;
  return { cniVersion, name, type: "bridge", raw: { cniVersion, name, type: "bridge", ...more, ipam } };
}

export const key = (containerId: string, ifname = "eth0"): AttachmentKey => ({ containerId, ifname });

/** The verbs of one plugin with one configuration. */
export function verbs<C>(plugin: Plugin<C>, ipam: unknown, setup: Setup = {}) {
  const conf = confOf(ipam, setup);
  const call = { conf, path: [], args: setup.args ?? "", delegate, log: () => {} };
  const config = (): C => plugin.parse(conf);
  const removal = (): C => (plugin.parseForRemoval ?? plugin.parse)(conf);
  const attached = (k: AttachmentKey): AddCall<C> => ({
    ...call,
    ...k,
    config: config(),
    netns: "/run/netns/x",
  });
  return {
    conf,
    add: async (k: AttachmentKey, args = call.args): Promise<Result> => plugin.add({ ...attached(k), args }),
    del: async (k: AttachmentKey): Promise<void> => plugin.del({ ...call, ...k, config: removal() }),
    check: async (k: AttachmentKey, prevResult?: Result): Promise<void> => {
      const c: CheckCall<C> = prevResult ? { ...attached(k), prevResult } : attached(k);
      await plugin.check?.(c);
    },
    gc: async (valid: readonly AttachmentKey[]): Promise<void> =>
      plugin.gc?.({ ...call, config: removal(), valid }),
    status: async (): Promise<void> => plugin.status?.({ ...call, config: config() }),
  };
}

/** The addresses of a result as text, with their prefix lengths. */
export const addresses = (r: Result): string[] => r.ips.map((i) => i.address.text);

/** A directory for one test, gone with it. */
export interface DataDir extends Disposable {
  readonly path: string;
  /** Every name in a network's directory, sorted. */
  names(network?: string): string[];
  /** Reservation files: address to content. */
  reservations(network?: string): Record<string, string>;
  read(file: string, network?: string): string;
  write(file: string, text: string, network?: string): void;
}

export function makeDataDir(): DataDir {
  const path = mkdtempSync(join(tmpdir(), "heddle-ipam-"));
  const names = (network = "net"): string[] => readdirSync(join(path, network)).toSorted();
  const read = (file: string, network = "net"): string => readFileSync(join(path, network, file), "utf8");
  return {
    path,
    names,
    read,
    reservations: (network = "net") =>
      Object.fromEntries(
        names(network)
          .filter((n) => parseIp(n).ok)
          .map((n) => [n, read(n, network)]),
      ),
    write: (file, text, network = "net") => writeFileSync(join(path, network, file), text),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** Stands for the end of the process: nothing catches it. */
export class Killed extends Error {}

export interface Stopping {
  readonly files: Files;
  /** How many changes were asked for. */
  count(): number;
}

/** Each operation of `files`, counted, with `around` in its place; `n` starts at 1. */
function counted(files: Files, around: (n: number, run: () => void) => void): Stopping {
  let n = 0;
  const wrap =
    <A extends unknown[]>(f: (...args: A) => void) =>
    (...args: A): void =>
      around(++n, () => f(...args));
  return {
    count: () => n,
    files: {
      makeDir: wrap(files.makeDir),
      create: wrap(files.create),
      write: wrap(files.write),
      append: wrap(files.append),
      link: wrap(files.link),
      unlink: wrap(files.unlink),
      setTime: wrap(files.setTime),
    },
  };
}

/** The process dies at change `at`, before or after it is made; nothing changes any more then. */
export const dyingAt = (files: Files, at: number, when: "before" | "after"): Stopping =>
  counted(files, (n, run) => {
    if (n < at) run();
    else {
      if (n === at && when === "after") run();
      throw new Killed(`${when} change ${at}`);
    }
  });

/** Change `at` alone fails with EIO. */
export const failingAt = (files: Files, at: number): Stopping =>
  counted(files, (n, run) => {
    if (n === at) throw Object.assign(new Error("EIO"), { code: "EIO", syscall: "write", path: "test" });
    run();
  });

/** What a promise was rejected with; fails the test if it was not. */
export async function failure(p: Promise<unknown>): Promise<unknown> {
  return p.then(
    () => {
      throw new Error("expected a failure");
    },
    (e: unknown) => e,
  );
}
