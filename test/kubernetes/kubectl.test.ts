/** The stand-in for the Kubernetes API server, judged by the real kubectl. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { authenticated, serviceAccount } from "../../src/testing/kubernetes/access.ts";
import {
  type Cluster,
  kubeconfig,
  nodeObject,
  startCluster,
  userOf,
} from "../../src/testing/kubernetes/cluster.ts";
import type { JsonObject } from "../../src/testing/kubernetes/json.ts";
import { type Kubectl, kubectlOf, kubectlProgram, type Said } from "../../src/testing/kubernetes/kubectl.ts";
import { lineLog } from "../../src/testing/line-log.ts";
import { describeWith } from "../../src/testing/needs.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { certificateAuthority } from "../../src/testing/x509.ts";

const found = await kubectlProgram();
const program = found ?? "";

interface Site extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly admin: Kubectl;
  /** kubectl of somebody else, perhaps with another authority. */
  readonly as: (user: JsonObject, authority?: string) => Kubectl;
  /** A file of that content, by its path. */
  readonly file: (content: JsonObject) => string;
}

async function site(): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(tempDir("kubectl"));
  const cluster = stack.use(await startCluster({ bookmarkEveryMs: 100 }));
  const as: Site["as"] = (user, authority = cluster.authority.certificate) =>
    kubectlOf(program, dir, kubeconfig(cluster.server.url, authority, user));
  for (const [i, name] of ["host1", "host2", "host3"].entries())
    cluster.server.create("", "nodes", nodeObject(name, [`10.244.${i}.0/24`]));
  const owned = stack.move();
  let files = 0;
  return {
    cluster,
    admin: as(userOf(cluster.admin)),
    as,
    file: (content) => {
      const path = dir.in(`${files++}.json`);
      writeFileSync(path, JSON.stringify(content));
      return path;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const fine = ({ code, out, err }: Said): string => {
  if (code !== 0) throw new Error(`kubectl ended with ${code}: ${err}${out}`);
  return out;
};
const refused = ({ code, out, err }: Said): string => {
  if (code === 0) throw new Error(`kubectl succeeded: ${out}`);
  return err;
};
const columns = (text: string): readonly (readonly string[])[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/ {2,}/));
const configMap = (data: JsonObject): JsonObject => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: "settings", namespace: "default" },
  data,
});

describeWith({ feature: found === undefined ? "needs kubectl" : true })("kubectl", () => {
  test("is the real one, and knows what it talks to", async () => {
    await using at = await site();
    const version = fine(await at.admin("version"));
    expect(version).toMatch(/Client Version: v1\.3\d\./);
    expect(version).toContain("Server Version: v1.36.0+stand-in");
    const kinds = fine(await at.admin("api-resources", "--no-headers"));
    expect(kinds).toMatch(/^nodes +no +v1 +false +Node$/m);
    expect(kinds).toMatch(/^daemonsets +ds +apps\/v1 +true +DaemonSet$/m);
  });

  test("gets tables, in pages, selected, and single fields", async () => {
    await using at = await site();
    const [table, wide, selected, field, paged, missing] = await Promise.all([
      at.admin("get", "nodes"),
      at.admin("get", "no", "-o", "wide"),
      at.admin("get", "nodes", "-l", "kubernetes.io/hostname in (host1,host3)", "-o", "name"),
      at.admin(
        "get",
        "nodes",
        "--field-selector",
        "metadata.name=host2",
        "-o",
        "jsonpath={.items[0].spec.podCIDR}",
      ),
      at.admin("get", "nodes", "--chunk-size=1", "-o", "name"),
      at.admin("get", "node", "host9"),
    ]);
    expect(columns(fine(table))[0]).toEqual(["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
    expect(columns(fine(table))[1]).toEqual([
      "host1",
      "Ready",
      "<none>",
      expect.stringMatching(/^\d+s$/),
      "v1.36.0",
    ]);
    expect(fine(wide)).toContain("KERNEL-VERSION");
    expect(fine(selected)).toBe("node/host1\nnode/host3\n");
    expect(fine(field)).toBe("10.244.1.0/24");
    expect(fine(paged)).toBe("node/host1\nnode/host2\nnode/host3\n");
    expect(at.cluster.server.asked.filter(({ url }) => url.includes("continue="))).toHaveLength(2);
    expect(refused(missing)).toBe('Error from server (NotFound): nodes "host9" not found\n');
  });

  test("patches in all three ways, labels, annotates, cordons", async () => {
    await using at = await site();
    const patch = (type: string, body: unknown, ...more: readonly string[]): Promise<Said> =>
      at.admin("patch", "node", "host1", `--type=${type}`, "-p", JSON.stringify(body), ...more);
    fine(await patch("json", [{ op: "add", path: "/metadata/labels/one", value: "json" }]));
    fine(await patch("merge", { metadata: { labels: { two: "merge" } } }));
    const conditions = [{ type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp" }];
    fine(await patch("strategic", { status: { conditions } }, "--subresource=status"));
    fine(await at.admin("label", "node", "host1", "three=label"));
    fine(await at.admin("annotate", "node", "host1", "test.io/four=annotation"));
    fine(await at.admin("cordon", "host1"));
    const node: unknown = JSON.parse(fine(await at.admin("get", "node", "host1", "-o", "json")));
    expect(node).toMatchObject({
      metadata: {
        labels: { one: "json", two: "merge", three: "label" },
        annotations: { "test.io/four": "annotation" },
      },
      spec: { podCIDR: "10.244.0.0/24", unschedulable: true },
      status: { conditions: [{ type: "Ready" }, { type: "NetworkUnavailable", reason: "FlannelIsUp" }] },
    });
    expect(fine(await patch("merge", { metadata: { labels: { two: "merge" } } }))).toContain("(no change)");
    expect(
      refused(await patch("json", [{ op: "test", path: "/metadata/labels/one", value: "x" }])),
    ).toContain("testing value /metadata/labels/one failed");
  });

  test("is refused what cannot be", async () => {
    await using at = await site();
    const patch = (body: unknown): Promise<Said> =>
      at.admin("patch", "node", "host1", "-p", JSON.stringify(body));
    const [subnet, version, type, unknown, dry, apply] = await Promise.all([
      patch({ spec: { podCIDRs: ["10.9.0.0/24"], podCIDR: "10.9.0.0/24" } }),
      patch({ metadata: { resourceVersion: "1", labels: { a: "b" } } }),
      patch({ spec: { unschedulable: "yes" } }),
      at.admin("create", "-f", at.file({ ...configMap({}), dat: {} })),
      at.admin("apply", "--dry-run=server", "-f", at.file(configMap({}))),
      at.admin("apply", "--server-side", "-f", at.file(configMap({}))),
    ]);
    expect(refused(subnet)).toContain('may not change podCIDR except from "" to valid');
    expect(refused(version)).toContain("(Conflict): Operation cannot be fulfilled on nodes");
    expect(refused(type)).toContain("(BadRequest)");
    expect(refused(unknown)).toContain('strict decoding error: unknown field "dat"');
    expect(refused(dry)).toContain("dryRun");
    expect(refused(apply)).toContain("Server-side apply not available on the server");
  });

  test("applies, applies again, and deletes", async () => {
    await using at = await site();
    const first = at.file(configMap({ a: "1", b: "2" }));
    expect(fine(await at.admin("apply", "-f", first))).toBe("configmap/settings created\n");
    expect(fine(await at.admin("apply", "-f", first))).toBe("configmap/settings unchanged\n");
    const second = at.file(configMap({ a: "3" }));
    expect(fine(await at.admin("apply", "-f", second))).toBe("configmap/settings configured\n");
    expect(fine(await at.admin("get", "cm", "settings", "-o", "jsonpath={.data}"))).toBe('{"a":"3"}');
    expect(refused(await at.admin("create", "-f", second))).toContain("(AlreadyExists)");
    fine(await at.admin("delete", "-f", second));
    expect(refused(await at.admin("delete", "cm", "settings"))).toContain("(NotFound)");
  });

  test("applies changes of lists that are joined by a key, in the order of the file", async () => {
    await using at = await site();
    const daemonSet = (env: readonly JsonObject[], volume: JsonObject): string =>
      at.file({
        apiVersion: "apps/v1",
        kind: "DaemonSet",
        metadata: { name: "agent", namespace: "default" },
        spec: {
          selector: { matchLabels: { app: "agent" } },
          template: {
            metadata: { labels: { app: "agent" } },
            spec: { containers: [{ name: "agent", image: "a", env }], volumes: [{ name: "v", ...volume }] },
          },
        },
      });
    const [a, b, c] = ["A", "B", "C"].map((name): JsonObject => ({ name, value: name.toLowerCase() }));
    if (a === undefined || b === undefined || c === undefined) throw new Error("three");
    fine(await at.admin("apply", "-f", daemonSet([a, b], { hostPath: { path: "/a" } })));
    fine(await at.admin("apply", "-f", daemonSet([c, { ...b, value: "2" }], { emptyDir: {} })));
    const found: unknown = JSON.parse(fine(await at.admin("get", "ds", "agent", "-o", "json")));
    expect(found).toMatchObject({
      metadata: { generation: 2 },
      spec: { template: { spec: { containers: [{ env: [c, { name: "B", value: "2" }] }] } } },
    });
    expect(fine(await at.admin("get", "ds", "agent", "-o", "jsonpath={.spec.template.spec.volumes}"))).toBe(
      '[{"emptyDir":{},"name":"v"}]',
    );
  });

  test("deletes a namespace with what is in it, and waits for what has to be finished", async () => {
    await using at = await site();
    const { server } = at.cluster;
    server.create("", "namespaces", { metadata: { name: "away" } });
    server.create("", "configmaps", { metadata: { name: "one", namespace: "away" } });
    fine(await at.admin("delete", "ns", "away"));
    expect(fine(await at.admin("get", "cm", "-A", "-o", "name"))).toBe("");
    server.create("", "nodes", nodeObject("host4", [], { finalizers: ["test.io/wait"] }));
    const deleting = at.admin("delete", "node", "host4");
    while (!server.asked.some(({ url }) => /watch=true.*host4|host4.*watch=true/.test(url)))
      await Bun.sleep(5);
    expect(
      fine(await at.admin("get", "node", "host4", "-o", "jsonpath={.metadata.deletionTimestamp}")),
    ).not.toBe("");
    fine(await at.admin("patch", "node", "host4", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'));
    fine(await deleting);
  });

  test("watches, with what it selected coming and going", async () => {
    await using at = await site();
    const { server } = at.cluster;
    const child = Bun.spawn(
      [program, "get", "nodes", "-l", "colour=red", "-w", "--output-watch-events", "--no-headers"],
      { env: at.admin.env, stdin: "ignore", stdout: "pipe", stderr: "inherit" },
    );
    try {
      const log = lineLog(child.stdout);
      while (!server.asked.some(({ url }) => url.includes("watch=true"))) await Bun.sleep(5);
      fine(await at.admin("label", "node", "host1", "colour=red"));
      await log.line((line) => /^ADDED +host1 /.test(line));
      fine(await at.admin("annotate", "node", "host1", "test.io/a=b"));
      await log.line((line) => /^MODIFIED +host1 /.test(line));
      fine(await at.admin("label", "node", "host1", "--overwrite", "colour=blue"));
      await log.line((line) => /^DELETED +host1 /.test(line));
    } finally {
      child.kill();
      await child.exited;
    }
  });

  test("waits for a condition", async () => {
    await using at = await site();
    const waiting = at.admin(
      "wait",
      "--for=condition=NetworkUnavailable=false",
      "node/host1",
      "--timeout=20s",
    );
    while (!at.cluster.server.asked.some(({ url }) => url.includes("watch=true"))) await Bun.sleep(5);
    const body = JSON.stringify({
      status: { conditions: [{ type: "NetworkUnavailable", status: "False" }] },
    });
    fine(await at.admin("patch", "node", "host1", "--subresource=status", "-p", body));
    expect(fine(await waiting)).toBe("node/host1 condition met\n");
  });
});

describeWith({ feature: found === undefined ? "needs kubectl" : true })("who calls", () => {
  test("is known by a certificate or a token, and may what roles allow", async () => {
    await using at = await site();
    at.cluster.tokens.set("of-jane", authenticated("jane", ["readers"]));
    at.cluster.tokens.set("of-the-pod", serviceAccount("kube-system", "agent"));
    const jane = at.as({ token: "of-jane" });
    const pod = at.as({ token: "of-the-pod" });
    expect(fine(await at.admin("auth", "whoami"))).toContain("system:masters");
    expect(refused(await jane("get", "nodes"))).toBe(
      'Error from server (Forbidden): nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope\n',
    );
    expect((await jane("auth", "can-i", "list", "nodes")).out).toBe("no\n");
    const rbac = "rbac.authorization.k8s.io";
    const role = {
      apiVersion: `${rbac}/v1`,
      kind: "ClusterRole",
      metadata: { name: "reader" },
      rules: [{ apiGroups: [""], resources: ["nodes"], verbs: ["get", "list"] }],
    };
    const binding = {
      apiVersion: `${rbac}/v1`,
      kind: "ClusterRoleBinding",
      metadata: { name: "reader" },
      roleRef: { apiGroup: rbac, kind: "ClusterRole", name: "reader" },
      subjects: [
        { kind: "Group", apiGroup: rbac, name: "readers" },
        { kind: "ServiceAccount", namespace: "kube-system", name: "agent" },
      ],
    };
    fine(await at.admin("apply", "-f", at.file(role), "-f", at.file(binding)));
    for (const who of [jane, pod]) {
      expect((await who("auth", "can-i", "list", "nodes")).out).toBe("yes\n");
      expect((await who("auth", "can-i", "patch", "nodes", "--subresource=status")).out).toBe("no\n");
      expect(fine(await who("get", "nodes", "-o", "name"))).toContain("node/host1");
      expect(refused(await who("label", "node", "host1", "a=b"))).toContain('cannot patch resource "nodes"');
    }
  });

  test("with a wrong token or a foreign certificate is not let in", async () => {
    await using at = await site();
    const foreign = await (await certificateAuthority()).client("admin", ["system:masters"]);
    for (const user of [{ token: "wrong" }, userOf(foreign)])
      expect(refused(await at.as(user)("get", "nodes"))).toContain("You must be logged in to the server");
  });

  test("does not trust a server of a foreign authority", async () => {
    await using at = await site();
    const other = await certificateAuthority();
    expect(refused(await at.as(userOf(at.cluster.admin), other.certificate)("get", "nodes"))).toContain(
      "certificate signed by unknown authority",
    );
  });
});
