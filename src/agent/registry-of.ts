/** The registry that an agent's settings name. Each kind is loaded when it is asked for. */
import type { Publics } from "../fabric/model.ts";
import type { Registry } from "../providers/flannel/registry.ts";
import type { AgentSettings } from "./settings.ts";

export interface OpenedRegistry {
  readonly registry: Registry;
  /** What somebody has written into the store for this host to announce, in place of what it finds. */
  readonly told?: () => Promise<Publics>;
  /** The id of this host's node, where that is known before it has a subnet; undefined: not yet. */
  readonly ownId?: () => string | undefined;
}

export interface RegistryNeeds {
  /** Resolves when this host can take containers. */
  readonly ready: Promise<unknown>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Nothing is asked of the store yet. @throws NetError for settings that cannot be used */
export async function openRegistry(
  { flannel }: AgentSettings,
  { ready, env }: RegistryNeeds,
): Promise<OpenedRegistry> {
  const { store, renewMarginMinutes } = flannel;
  switch (store.kind) {
    case "kubernetes": {
      const { kubeRegistryOf } = await import("../providers/flannel/kube-registry.ts");
      const registry = kubeRegistryOf(store, env, ready);
      return { registry, told: () => registry.nodePublics(), ownId: () => registry.nodeName };
    }
    case "etcd": {
      const { etcdRegistryOf } = await import("../providers/flannel/etcd-registry.ts");
      return { registry: etcdRegistryOf(store, renewMarginMinutes) };
    }
    case "file": {
      const { openFileStore } = await import("../fabric/store/file.ts");
      const { openKvRegistry } = await import("../providers/flannel/kv-registry.ts");
      const kv = openFileStore({ dir: store.dir });
      return {
        registry: openKvRegistry({ kv, prefix: store.prefix, renewMarginSeconds: renewMarginMinutes * 60 }),
      };
    }
  }
}
