/** A cluster whose nodes are the registry of a Flannel network, with the role that flanneld has in it. */
import { writeFileSync } from "node:fs";
import { parseKubeconfig } from "../../fabric/store/kubernetes/access.ts";
import { KUBE_TIMES, kubeClient, type KubeClient } from "../../fabric/store/kubernetes/client.ts";
import {
  type KubeRegistry,
  type KubeRegistryOptions,
  openKubeRegistry,
} from "../../providers/flannel/kube-registry.ts";
import { tempDir } from "../temp-dir.ts";
import { certificateAuthority } from "../x509.ts";
import { serviceAccount } from "./access.ts";
import { kubeconfig } from "./cluster.ts";
import { type JsonObject, objectAt, withMetadata } from "./json.ts";
import { type ApiServer, startApiServer } from "./server.ts";

/** What flanneld's own role allows, and nothing more. */
function allowFlannel(server: ApiServer): void {
  const group = "rbac.authorization.k8s.io";
  server.create(group, "clusterroles", {
    metadata: { name: "flannel" },
    rules: [
      { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
      { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
      { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
    ],
  });
  server.create(group, "clusterrolebindings", {
    metadata: { name: "flannel" },
    roleRef: { apiGroup: group, kind: "ClusterRole", name: "flannel" },
    subjects: [{ kind: "ServiceAccount", namespace: "kube-flannel", name: "flannel" }],
  });
}

export interface FlannelCluster extends AsyncDisposable {
  /** What the service account of the DaemonSet sees. */
  readonly client: KubeClient;
  readonly server: () => ApiServer;
  readonly node: (name: string) => JsonObject;
  readonly annotations: (name: string) => JsonObject;
  /** Writes as somebody who may do everything; `undefined` deletes. */
  readonly change: (name: string, how: (node: JsonObject) => JsonObject | undefined) => void;
  /** Changes the network's configuration, as the mounted file of a ConfigMap changes. */
  readonly configure: (text: string) => void;
  /** The registry as the host of that node sees it. */
  readonly open: (nodeName: string, more?: Partial<KubeRegistryOptions>) => KubeRegistry;
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
}

/** A cluster that can be taken away and brought back; `text` is the network's configuration. */
export async function flannelCluster(text: string): Promise<FlannelCluster> {
  const temp = tempDir("kube");
  const configure = (config: string): void => writeFileSync(temp.in("net-conf.json"), config);
  configure(text);
  const authority = await certificateAuthority();
  const options = {
    identity: await authority.server(["127.0.0.1"]),
    clientAuthority: authority.certificate,
    tokens: new Map([["of-the-pod", serviceAccount("kube-flannel", "flannel")]]),
  };
  let server = await startApiServer(options);
  allowFlannel(server);
  const { url, port, store } = server;
  const client = kubeClient(
    parseKubeconfig(kubeconfig(url, authority.certificate, { token: "of-the-pod" }), "/"),
    { ...KUBE_TIMES, answerMs: 5000 },
  );
  const registries: KubeRegistry[] = [];
  return {
    client,
    server: () => server,
    node: (name) => store.get(`/nodes//${name}`) ?? {},
    annotations: (name) => objectAt(store.get(`/nodes//${name}`), "metadata", "annotations"),
    change: (name, how) =>
      store.write(`/nodes//${name}`, (revision) => {
        const after = how(store.get(`/nodes//${name}`) ?? {});
        return after && withMetadata(after, { resourceVersion: String(revision) });
      }),
    configure,
    open: (nodeName, more = {}) => {
      const registry = openKubeRegistry({
        client,
        node: { name: nodeName },
        configPath: temp.in("net-conf.json"),
        backoff: { firstMs: 20, maxMs: 200 },
        ...more,
      });
      registries.push(registry);
      return registry;
    },
    stop: async () => server[Symbol.asyncDispose](),
    start: async () => {
      server = await startApiServer({ ...options, port, store });
    },
    [Symbol.asyncDispose]: async () => {
      for (const registry of registries) registry.close();
      await server[Symbol.asyncDispose]();
      temp[Symbol.dispose]();
    },
  };
}
