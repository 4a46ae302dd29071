/** A directory whose keys are the registry of a Flannel network, and stores as they are to somebody who is unlucky. */
import { renameSync } from "node:fs";
import { NetError } from "../errors.ts";
import { openFileStore } from "../fabric/store/file.ts";
import type { Kv } from "../fabric/store/kv.ts";
import { type KvRegistryOptions, openKvRegistry } from "../providers/flannel/kv-registry.ts";
import type { Registry } from "../providers/flannel/registry.ts";
import { tempDir } from "./temp-dir.ts";

export const NETWORK = '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}';

export interface FlannelStore extends AsyncDisposable {
  /** Writes what others would. */
  readonly kv: Kv;
  /** The same store once more. `now`: its clock, in milliseconds since 1970. */
  readonly another: (now?: () => number) => Kv;
  /** The key of that name below the network's subnets. */
  readonly key: (name: string) => string;
  readonly open: (options?: Partial<KvRegistryOptions>) => Promise<Registry>;
  readonly stop: () => void;
  readonly start: () => void;
}

/** `text` is the network's configuration. */
export function flannelStore(text = NETWORK): FlannelStore {
  const temp = tempDir("registry");
  const dir = temp.in("store");
  const kv = openFileStore({ dir });
  const ready = kv.put("/coreos.com/network/config", text);
  const registries: Registry[] = [];
  return {
    kv,
    another: (now) => openFileStore({ dir, ...(now && { now }) }),
    key: (name) => `/coreos.com/network/subnets/${name}`,
    open: async (options = {}) => {
      await ready;
      const registry = openKvRegistry({ kv: openFileStore({ dir }), checkSeconds: 0.2, ...options });
      registries.push(registry);
      return registry;
    },
    stop: () => renameSync(dir, temp.in("away")),
    start: () => renameSync(temp.in("away"), dir),
    [Symbol.asyncDispose]: async () => {
      for (const registry of registries) registry.close();
      kv.close();
      temp[Symbol.dispose]();
    },
  };
}

/** The store as it is to somebody who, after his first list, is stopped while another does his work. */
export function interrupted(kv: Kv, work: () => Promise<unknown>): Kv {
  let isFirst = true;
  const list: Kv["list"] = async (prefix) => {
    const listing = await kv.list(prefix);
    if (isFirst) await work();
    isFirst = false;
    return listing;
  };
  return Object.assign(Object.create(kv) as Kv, { list });
}

/** The store as it is to somebody who does not hear that his write of that number, from 1, was done. */
export function deaf(kv: Kv, number: number): Kv {
  let writes = 0;
  const put: Kv["put"] = async (...args) => {
    const revision = await kv.put(...args);
    if (++writes === number) throw new NetError("store/unavailable", { store: "test", why: "no answer" });
    return revision;
  };
  return Object.assign(Object.create(kv) as Kv, { put });
}

/** The store as it is to somebody whose next call of that kind, once it is armed, waits before it is asked. */
export function slowOnce(kv: Kv, call: "list" | "grant" | "put") {
  const asked = Promise.withResolvers<void>();
  const may = Promise.withResolvers<void>();
  let isArmed = false;
  const slow = async (...args: readonly never[]): Promise<unknown> => {
    if (isArmed) {
      isArmed = false;
      asked.resolve();
      await may.promise;
    }
    return (kv[call] as (...args: readonly never[]) => Promise<unknown>).apply(kv, [...args]);
  };
  return {
    kv: Object.assign(Object.create(kv) as Kv, { [call]: slow }),
    arm: (): void => void (isArmed = true),
    asked: asked.promise,
    go: may.resolve,
  };
}
