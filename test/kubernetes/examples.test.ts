/** The manifests in examples/kubernetes/, applied by the real kubectl, and what they allow to whom they name. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { projectDir } from "../../scripts/paths.ts";
import { parseNetworkList } from "../../src/cni/list.ts";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { parseNetworkConfig } from "../../src/providers/flannel/config.ts";
import { type KubeRegistry, kubeRegistryOf } from "../../src/providers/flannel/kube-registry.ts";
import { parseFlanneld } from "../../src/providers/flannel/options.ts";
import { serviceAccount } from "../../src/testing/kubernetes/access.ts";
import { kubeconfig, nodeObject, startCluster, userOf } from "../../src/testing/kubernetes/cluster.ts";
import { type JsonObject, listAt, objectAt, plain, textAt } from "../../src/testing/kubernetes/json.ts";
import { type Kubectl, kubectlOf, kubectlProgram } from "../../src/testing/kubernetes/kubectl.ts";
import { describeWith } from "../../src/testing/needs.ts";
import { announcementOf, Told } from "../../src/testing/registry-contract.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import packageJson from "../../package.json";

const program = await kubectlProgram();
const MANIFEST = join(projectDir, "examples/kubernetes/heddle-flannel.yaml");
const NAMESPACE = "kube-flannel";

/** A cluster, and what was applied to it. */
async function applied() {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(tempDir("kubectl"));
  const cluster = stack.use(await startCluster());
  const { url, store } = cluster.server;
  const ca = cluster.authority.certificate;
  const admin: Kubectl = kubectlOf(program ?? "", dir, kubeconfig(url, ca, userOf(cluster.admin)));
  const { code, err } = await admin("apply", "-f", MANIFEST);
  if (code !== 0) throw new Error(err);
  const owned = stack.move();
  return {
    dir,
    cluster,
    admin,
    object: (key: string): JsonObject => store.get(key) ?? {},
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const wordsOf = (value: JsonObject, key: string): readonly string[] => listAt(value, key).map(plain);

describeWith({ feature: program === undefined ? "needs kubectl" : true })("the manifest", () => {
  test("is valid, and applying it again changes nothing", async () => {
    await using at = await applied();
    const again = await at.admin("apply", "-f", MANIFEST);
    expect(again.out.trimEnd().split("\n")).toEqual(
      Array<string>(6).fill(expect.stringMatching(/ unchanged$/) as string),
    );
    const dry = await at.admin("apply", "--dry-run=client", "-f", MANIFEST);
    expect([dry.code, dry.err]).toEqual([0, ""]);
    const sets = await at.admin("get", "daemonsets", "-n", NAMESPACE, "-o", "name");
    expect(sets.out).toBe("daemonset.apps/heddle-flannel\n");
  });

  test("has configurations that Heddle reads, with plugins that it has", async () => {
    await using at = await applied();
    const data = objectAt(at.object(`/configmaps/${NAMESPACE}/kube-flannel-cfg`), "data");
    const list = parseNetworkList(textAt(data, "cni-conf.json"), "cni-conf.json", () => []);
    expect(list.plugins.map(({ type }) => pluginTypes.some((own) => own === type))).toEqual([true, true]);
    expect(parseNetworkConfig(textAt(data, "net-conf.json")).v4?.network.text).toBe("10.244.0.0/16");
  });

  test("starts this version, with flags that exist, mounting what they name", async () => {
    await using at = await applied();
    const pod = objectAt(
      at.object(`apps/daemonsets/${NAMESPACE}/heddle-flannel`),
      "spec",
      "template",
      "spec",
    );
    const containers = [
      ...listAt(pod, "initContainers"),
      ...listAt(pod, "containers"),
    ] as readonly JsonObject[];
    expect(containers.map((c) => textAt(c, "image"))).toEqual(
      Array<string>(2).fill(`heddle.invalid/heddle:${packageJson.version}`),
    );
    const daemon = containers[1] ?? {};
    expect(wordsOf(daemon, "command")).toEqual(["/opt/cni/bin/heddle", "flanneld"]);
    const call = parseFlanneld(wordsOf(daemon, "args"), { POD_NAME: "a", POD_NAMESPACE: NAMESPACE });
    if (call.kind !== "run" || call.options.store.kind !== "kubernetes")
      throw new Error("starts something else");
    expect(call.notes).toEqual([]);
    const mounts = listAt(daemon, "volumeMounts").map((mount) => textAt(mount as JsonObject, "mountPath"));
    const files = [call.options.store.netConfigPath, call.options.subnetFile];
    for (const file of files) expect(mounts.some((mount) => file.startsWith(`${mount}/`))).toBe(true);
    expect(call.options.health?.port).toBe(8081);
  });

  test("allows the agent what it does, and nothing else", async () => {
    await using at = await applied();
    const { server, tokens } = at.cluster;
    tokens.set("of-the-pod", serviceAccount(NAMESPACE, "flannel"));
    mkdirSync(at.dir.in("sa"));
    writeFileSync(
      at.dir.in("config"),
      kubeconfig(server.url, at.cluster.authority.certificate, { token: "of-the-pod" }),
    );
    writeFileSync(
      at.dir.in("net-conf.json"),
      textAt(at.object(`/configmaps/${NAMESPACE}/kube-flannel-cfg`), "data", "net-conf.json"),
    );
    server.create("", "nodes", nodeObject("host1", ["10.244.1.0/24"]));
    const metadata = { name: "heddle-flannel-x", namespace: NAMESPACE };
    server.create("", "pods", { metadata, spec: { nodeName: "host1", containers: [{ name: "flannel" }] } });
    const registry: KubeRegistry = kubeRegistryOf(
      {
        kind: "kubernetes",
        kubeconfigFile: at.dir.in("config"),
        annotationPrefix: "flannel.alpha.coreos.com",
        netConfigPath: at.dir.in("net-conf.json"),
        setNodeNetworkUnavailable: true,
        node: { pod: metadata.name, namespace: metadata.namespace },
      },
      {},
    );
    const from = server.asked.length;
    const lease = await registry.acquire(announcementOf(0), undefined);
    await using held = new Told((signal) => registry.hold(lease, signal));
    await using nodes = new Told((signal) => registry.nodes(signal));
    await nodes.first(({ kind }) => kind === "all");
    const isAvailable = async (): Promise<boolean> => {
      const { out } = await at.admin("get", "node", "host1", "-o", "jsonpath={.status.conditions[*].reason}");
      return out.includes("FlannelIsUp");
    };
    while (!(await isAvailable())) expect(held.news).toEqual([]);
    const used = new Set(
      server.asked
        .slice(from)
        .filter(({ user }) => user === `system:serviceaccount:${NAMESPACE}:flannel`)
        .map(({ method, url }) => useOf(method, url)),
    );
    await registry.release(lease);
    registry.close();
    const rules = listAt(
      at.object("rbac.authorization.k8s.io/clusterroles//flannel"),
      "rules",
    ) as readonly JsonObject[];
    const allowed = rules.flatMap((rule) =>
      wordsOf(rule, "resources").flatMap((resource) =>
        wordsOf(rule, "verbs").map((verb) => `${verb} ${resource}`),
      ),
    );
    expect([...used].toSorted()).toEqual(allowed.toSorted());
  });
});

/** What a request is to a role. */
function useOf(method: string, url: string): string {
  const { pathname, searchParams } = new URL(url, "https://server");
  const [resource = "", name, subresource] = pathname
    .replace(/^\/api\/v1\/(?:namespaces\/[^/]+\/)?/, "")
    .split("/");
  const read = searchParams.has("watch") ? "watch" : name === undefined ? "list" : "get";
  const verb = method === "GET" ? read : method.toLowerCase();
  return `${verb} ${subresource === undefined ? resource : `${resource}/${subresource}`}`;
}
