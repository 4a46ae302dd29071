/** The manifests in examples/kubernetes/, applied by the real kubectl, and what they allow to whom they name. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { projectDir } from "../../scripts/paths.ts";
import { memoryDir } from "../../src/agent/memory-file.ts";
import { DEFAULT_SOCKET } from "../../src/agent/settings.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { parseNetworkList } from "../../src/cni/list.ts";
import { stateDir } from "../../src/dhcp/store.ts";
import { runDir } from "../../src/netstate/record.ts";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { parseNetworkConfig } from "../../src/providers/flannel/config.ts";
import { type KubeRegistry, kubeRegistryOf } from "../../src/providers/flannel/kube-registry.ts";
import { parseFlanneld } from "../../src/providers/flannel/options.ts";
import { TUN_DEVICE } from "../../src/sys/tun.ts";
import { serviceAccount } from "../../src/testing/kubernetes/access.ts";
import { kubeconfig, nodeObject, startCluster, userOf } from "../../src/testing/kubernetes/cluster.ts";
import { type JsonObject, listAt, objectAt, plain, textAt } from "../../src/testing/kubernetes/json.ts";
import { type Kubectl, kubectlOf, kubectlProgram } from "../../src/testing/kubernetes/kubectl.ts";
import { describeWith } from "../../src/testing/needs.ts";
import { unit } from "../../src/testing/systemd-unit.ts";
import { announcementOf, Told } from "../../src/testing/registry-contract.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import packageJson from "../../package.json";

const program = await kubectlProgram();
const MANIFEST = join(projectDir, "examples/kubernetes/heddle-flannel.yaml");
const NAMESPACE = "kube-flannel";
const ACCOUNT = "heddle-flannel";

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

  test("allows the agent what it does, and nothing else", async () => {
    await using at = await applied();
    const { server, tokens } = at.cluster;
    tokens.set("of-the-pod", serviceAccount(NAMESPACE, ACCOUNT));
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
    const registry: KubeRegistry = kubeRegistryOf(
      {
        kind: "kubernetes",
        kubeconfigFile: at.dir.in("config"),
        annotationPrefix: "flannel.alpha.coreos.com",
        netConfigPath: at.dir.in("net-conf.json"),
        setNodeNetworkUnavailable: true,
        node: { name: "host1" },
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
        .filter(({ user }) => user === `system:serviceaccount:${NAMESPACE}:${ACCOUNT}`)
        .map(({ method, url }) => useOf(method, url)),
    );
    await registry.release(lease);
    registry.close();
    const rules = listAt(
      at.object(`rbac.authorization.k8s.io/clusterroles//${ACCOUNT}`),
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

/** The only object of that kind, as the file has it. */
function inFile(kind: string): JsonObject {
  const all = Bun.YAML.parse(readFileSync(MANIFEST, "utf8")) as readonly JsonObject[];
  const [found, ...others] = all.filter((object) => object["kind"] === kind);
  if (found === undefined || others.length > 0) throw new Error(`${others.length} more of ${kind}`);
  return found;
}
const listOf = (value: JsonObject, ...path: readonly string[]): readonly JsonObject[] =>
  listAt(value, ...path) as readonly JsonObject[];
const pod = objectAt(inFile("DaemonSet"), "spec", "template", "spec");
const [installer = {}] = listOf(pod, "initContainers");
const [daemon = {}] = listOf(pod, "containers");
const mountsOf = (container: JsonObject): readonly string[] =>
  listOf(container, "volumeMounts").map((mount) => textAt(mount, "mountPath"));

describe("the manifest's pod", () => {
  const call = parseFlanneld(wordsOf(daemon, "args"), { NODE_NAME: "a" });
  if (call.kind !== "run" || call.options.store.kind !== "kubernetes")
    throw new Error("starts something else");
  const { store, subnetFile, health } = call.options;

  test("starts this version, with flags and variables that exist, where probes ask", () => {
    expect([installer, daemon].map((container) => textAt(container, "image"))).toEqual(
      Array<string>(2).fill(`heddle.invalid/heddle:${packageJson.version}`),
    );
    expect(wordsOf(daemon, "command")).toEqual(["/opt/cni/bin/heddle", "flanneld"]);
    expect(call.notes).toEqual([]);
    expect(
      listOf(daemon, "env").map((one) => [one["name"], textAt(one, "valueFrom", "fieldRef", "fieldPath")]),
    ).toEqual([["NODE_NAME", "spec.nodeName"]]);
    expect(listOf(daemon, "ports").map((port) => port["containerPort"])).toEqual([health?.port ?? 0]);
  });

  test("mounts every place that the agent uses, from the same place of the host, and no other", () => {
    const used = [
      dirname(subnetFile),
      dirname(store.netConfigPath),
      dirname(DEFAULT_SOCKET),
      memoryDir(stateDir({})),
      runDir({}),
      TUN_DEVICE,
    ];
    expect(mountsOf(daemon).toSorted()).toEqual(used.toSorted());
    const hostPaths = new Map(listOf(pod, "volumes").map((v) => [v["name"], textAt(v, "hostPath", "path")]));
    for (const { name, mountPath } of listOf(daemon, "volumeMounts"))
      if (mountPath !== dirname(store.netConfigPath)) expect(hostPaths.get(name)).toBe(plain(mountPath));
    const mounted = [...listOf(installer, "volumeMounts"), ...listOf(daemon, "volumeMounts")];
    expect([...new Set(mounted.map(({ name }) => name))].toSorted()).toEqual(
      [...hostPaths.keys()].toSorted(),
    );
  });

  test("installs into directories of the host, with options that the command has", () => {
    const [program, ...words] = [...wordsOf(installer, "command"), ...wordsOf(installer, "args")];
    const command = makeProgram("heddle").commands.find((one) => one.name() === words[0]);
    const { operands, unknown } = command?.parseOptions(words.slice(1)) ?? {};
    expect([program, operands, unknown]).toEqual(["/opt/cni/bin/heddle", [], []]);
    const { cniBinDir, conflist, conflistTo } = command?.opts() ?? {};
    expect(mountsOf(installer)).toEqual([cniBinDir, dirname(String(conflistTo)), dirname(String(conflist))]);
  });

  test("may what the unit of systemd lets the agent, and no more", () => {
    const bounds = unit("heddle-agent.service").get("Service")?.get("CapabilityBoundingSet") ?? [];
    const { securityContext } = daemon;
    expect(securityContext).toEqual({
      privileged: false,
      allowPrivilegeEscalation: false,
      capabilities: {
        drop: ["ALL"],
        add: bounds.flatMap((words) => words.split(" ")).map((word) => word.replace(/^CAP_/, "")),
      },
    });
  });

  test("comes to every node before its other pods, and is not sent away from it", () => {
    expect(pod).toMatchObject({
      hostNetwork: true,
      priorityClassName: "system-node-critical",
      serviceAccountName: ACCOUNT,
      tolerations: [{ operator: "Exists" }],
    });
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
