/** The registry that flanneld's flags for etcd name. */
import { openEtcd } from "../../fabric/store/etcd.ts";
import { openKvRegistry } from "./kv-registry.ts";
import type { EtcdOptions } from "./options.ts";
import type { Registry } from "./registry.ts";

/**
 * Asks nothing yet.
 * @throws config/invalid if an endpoint or a file is not what it should be
 */
export function etcdRegistryOf(options: EtcdOptions, renewMarginMinutes: number): Registry {
  const { endpoints, prefix, client, caFile, login } = options;
  const kv = openEtcd({
    endpoints,
    tls: { ...client, ...(caFile === undefined ? {} : { caFile }) },
    ...(login === undefined ? {} : { user: { name: login.username, password: login.password } }),
  });
  return openKvRegistry({
    kv,
    prefix,
    renewMarginSeconds: renewMarginMinutes * 60,
    howToPut: (key) => `put it there with etcdctl put ${key} < net-conf.json`,
  });
}
