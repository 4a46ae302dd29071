import { describe, expect, test } from "bun:test";
import type { Publics } from "../../fabric/model.ts";
import { cidr, ip } from "../../testing/address.ts";
import { failureOf } from "../../testing/failure.ts";
import { nodeObject } from "../../testing/kubernetes/cluster.ts";
import { flannelCluster } from "../../testing/kubernetes/flannel-cluster.ts";
import { type JsonObject, objectAt, withMetadata } from "../../testing/kubernetes/json.ts";
import {
  announcementOf,
  nodesAfter,
  type RegistrySite,
  registryContract,
  Told,
} from "../../testing/registry-contract.ts";
import { ANNOTATION_PREFIX, annotationNames } from "./kube-annotations.ts";
import type { KubeRegistryOptions } from "./kube-registry.ts";
import type { LeaseNews } from "./registry.ts";

const names = annotationNames(ANNOTATION_PREFIX);
const config = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';
const dual = '{"EnableIPv6":true,"Network":"10.244.0.0/16","IPv6Network":"fd00:10:244::/48"}';

async function contractSite(): Promise<RegistrySite> {
  const s = await flannelCluster(config);
  for (const n of [0, 1, 2, 3]) s.server().create("", "nodes", nodeObject(`host${n}`, [`10.244.${n}.0/24`]));
  return {
    config,
    network: cidr("10.244.0.0/16"),
    open: (n) => s.open(`host${n}`),
    spoil: async () => {
      const annotations = { [names.managed]: "true", [names.public4]: "10.0.0.256" };
      s.server().create("", "nodes", nodeObject("spoilt", ["10.244.99.0/24"], { annotations }));
      return "spoilt";
    },
    stop: s.stop,
    start: s.start,
    [Symbol.asyncDispose]: s[Symbol.asyncDispose],
  };
}

registryContract("Kubernetes", contractSite);

const dualPublics: Publics = { v4: ip("192.0.2.1"), v6: ip("2001:db8::1") };

describe("acquiring the node's subnet", () => {
  test("writes the annotations of flanneld, by a strategic merge patch of the status", async () => {
    await using s = await flannelCluster(config);
    s.server().create(
      "",
      "nodes",
      nodeObject("host0", ["10.244.3.0/24"], { annotations: { "of.others/a": "b" } }),
    );
    const { node, expires } = await s.open("host0").acquire(announcementOf(0), undefined);
    expect([node.id, node.subnets.v4?.text, node.publics.v4?.text, expires]).toEqual([
      "host0",
      "10.244.3.0/24",
      "192.0.2.1",
      undefined,
    ]);
    expect(s.annotations("host0")).toEqual({
      "of.others/a": "b",
      "flannel.alpha.coreos.com/kube-subnet-manager": "true",
      "flannel.alpha.coreos.com/backend-type": "vxlan",
      "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:00"}',
      "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
    });
    const writes = s.server().asked.filter(({ method }) => method === "PATCH");
    expect(writes.map(({ url }) => url)).toEqual(["/api/v1/nodes/host0/status"]);
  });

  test("writes nothing if all is there", async () => {
    await using s = await flannelCluster(config);
    s.server().create("", "nodes", nodeObject("host0", ["10.244.3.0/24"]));
    await s.open("host0").acquire(announcementOf(0), undefined);
    const before = s.server().store.revision();
    await s.open("host0").acquire(announcementOf(0), undefined);
    expect(s.server().store.revision()).toBe(before);
  });

  test("takes one prefix of each family that the network has", async () => {
    await using s = await flannelCluster(dual);
    const both = nodeObject("host0", ["fd00:10:244:3::/64", "10.244.3.0/24"]);
    s.server().create("", "nodes", both);
    const wanted = { publics: dualPublics, backend: { type: "vxlan", v4: { a: 1 }, v6: { b: 2 } } };
    const { node } = await s.open("host0").acquire(wanted, undefined);
    expect([node.subnets.v4?.text, node.subnets.v6?.text]).toEqual(["10.244.3.0/24", "fd00:10:244:3::/64"]);
    expect(s.annotations("host0")).toMatchObject({
      [names.data6]: '{"b":2}',
      [names.public6]: "2001:db8::1",
    });
    await using four = await flannelCluster(config);
    four.server().create("", "nodes", both);
    const lease = await four.open("host0").acquire(announcementOf(0), undefined);
    expect(Object.keys(lease.node.subnets)).toEqual(["v4"]);
  });

  test("waits for what the cluster has not given yet, and says for what", async () => {
    await using s = await flannelCluster(config);
    const registry = s.open("host0");
    const missing = await failureOf(registry.acquire(announcementOf(0), undefined));
    expect([missing.code, missing.message]).toEqual([
      "try-again",
      expect.stringContaining("no node called host0"),
    ]);
    s.server().create("", "nodes", nodeObject("host0", []));
    const without = await failureOf(registry.acquire(announcementOf(0), undefined));
    expect([without.code, without.message]).toEqual([
      "try-again",
      expect.stringContaining("has no podCIDR yet"),
    ]);
    s.change("host0", (node) => ({ ...node, spec: { podCIDR: "10.244.7.0/24" } }));
    expect((await registry.acquire(announcementOf(0), undefined)).node.subnets.v4?.text).toBe(
      "10.244.7.0/24",
    );
  });

  test("refuses what the network does not hold", async () => {
    await using s = await flannelCluster(config);
    s.server().create("", "nodes", nodeObject("host0", ["10.99.0.0/24"]));
    const error = await failureOf(s.open("host0").acquire(announcementOf(0), undefined));
    expect([error.code, error.message]).toEqual([
      "config/invalid",
      "Network: 10.244.0.0/16 does not hold 10.99.0.0/24, the podCIDR of node host0; it has to be the cluster's --cluster-cidr",
    ]);
  });

  test("tells a missing configuration", async () => {
    await using s = await flannelCluster(config);
    const error = await failureOf(
      s.open("host0", { configPath: "/nowhere" }).acquire(announcementOf(0), undefined),
    );
    expect(error.code).toBe("config/not-found");
    expect(error).toHaveProperty("detail.next", expect.stringContaining("ConfigMap"));
  });

  test("announces the address that somebody has written on the node", async () => {
    await using s = await flannelCluster(config);
    const annotations = { [names.overwrite4]: "203.0.113.9", [names.node4]: "192.0.2.77" };
    s.server().create("", "nodes", nodeObject("host0", ["10.244.3.0/24"], { annotations }));
    const registry = s.open("host0");
    expect((await registry.nodePublics()).v4?.text).toBe("192.0.2.77");
    await s.stop();
    expect((await registry.nodePublics()).v4?.text).toBe("192.0.2.77");
    expect((await failureOf(s.open("host0").nodePublics())).code).toBe("store/unavailable");
    await s.start();
    const { node } = await registry.acquire(announcementOf(0), undefined);
    expect(node.publics.v4?.text).toBe("203.0.113.9");
    expect(s.annotations("host0")).toMatchObject({ ...annotations, [names.public4]: "203.0.113.9" });
    s.change("host0", (n) => withMetadata(n, { annotations: { [names.node4]: "192.0.2.77" } }));
    expect((await registry.acquire(announcementOf(0), undefined)).node.publics.v4?.text).toBe("192.0.2.77");
    s.change("host0", (n) => withMetadata(n, { annotations: { [names.overwrite4]: "nonsense" } }));
    expect((await failureOf(registry.acquire(announcementOf(0), undefined))).message).toContain(
      'annotation flannel.alpha.coreos.com/public-ip-overwrite: "nonsense"',
    );
  });
});

describe("holding it", () => {
  async function held(more: Partial<KubeRegistryOptions> = {}) {
    const s = await flannelCluster(config);
    s.server().create("", "nodes", nodeObject("host0", ["10.244.3.0/24"]));
    const registry = s.open("host0", more);
    const lease = await registry.acquire(announcementOf(0), undefined);
    const told = new Told<LeaseNews>((signal) => registry.hold(lease, signal));
    const until = async (fits: () => boolean): Promise<void> => {
      while (!fits()) await Bun.sleep(2);
    };
    const dispose = async (): Promise<void> => {
      await told[Symbol.asyncDispose]();
      await s[Symbol.asyncDispose]();
    };
    return { s, registry, lease, told, until, [Symbol.asyncDispose]: dispose };
  }
  const condition = (node: JsonObject): unknown =>
    (objectAt(node, "status")["conditions"] as readonly JsonObject[]).find(
      (c) => c["type"] === "NetworkUnavailable",
    );

  test("says that the network is there once it is", async () => {
    const ready = Promise.withResolvers<void>();
    await using h = await held({ ready: ready.promise });
    await h.until(() => h.s.server().asked.some(({ url }) => url.includes("watch=true")));
    expect(condition(h.s.node("host0"))).toBeUndefined();
    ready.resolve();
    await h.until(() => condition(h.s.node("host0")) !== undefined);
    expect(condition(h.s.node("host0"))).toMatchObject({
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
      lastTransitionTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    });
    expect(h.told.news).toEqual([]);
  });

  test("does not say so if it was not asked to", async () => {
    await using h = await held({ setNetworkUnavailable: false });
    h.s.change("host0", (node) => withMetadata(node, { annotations: {} }));
    await h.until(() => h.s.annotations("host0")[names.managed] === "true");
    expect(condition(h.s.node("host0"))).toBeUndefined();
  });

  test("writes again what somebody takes away", async () => {
    await using h = await held();
    const before = h.s.annotations("host0");
    await h.until(() => condition(h.s.node("host0")) !== undefined);
    h.s.change("host0", (node) => withMetadata(node, { annotations: { "of.others/a": "b" } }));
    await h.until(() => h.s.annotations("host0")[names.managed] === "true");
    expect(h.s.annotations("host0")).toEqual({ ...before, "of.others/a": "b" });
    expect(h.told.news).toEqual([]);
  });

  test("does not fight for ever with somebody who writes something else", async () => {
    await using h = await held();
    await h.until(() => condition(h.s.node("host0")) !== undefined);
    const spoil = (): void => {
      if (h.s.annotations("host0")[names.public4] === "192.0.2.1")
        h.s.change("host0", (node) =>
          withMetadata(node, {
            annotations: { ...h.s.annotations("host0"), [names.public4]: "192.0.2.200" },
          }),
        );
    };
    const spoiling = setInterval(spoil, 1);
    const failing = await h.told.first(({ kind }) => kind === "failing");
    clearInterval(spoiling);
    expect(failing).toMatchObject({ why: expect.stringContaining("does another daemon run on it?") });
  });

  test("does not fight for ever with somebody who says that the network is not there", async () => {
    await using h = await held();
    const written = (): number =>
      h.s.server().asked.filter(({ method, url }) => method === "PATCH" && url.endsWith("/host0/status"))
        .length;
    await h.until(() => condition(h.s.node("host0")) !== undefined);
    const before = written();
    const isTaken = { type: "NetworkUnavailable", status: "True", reason: "NoRouteCreated" };
    const spoil = (): void => {
      if ((condition(h.s.node("host0")) as JsonObject)["status"] === "False")
        h.s.change("host0", (node) => ({
          ...node,
          status: { ...objectAt(node, "status"), conditions: [isTaken] },
        }));
    };
    const spoiling = setInterval(spoil, 1);
    const failing = await h.told.first(({ kind }) => kind === "failing");
    expect(failing).toMatchObject({ why: expect.stringContaining("host0 has no network") });
    h.s.change("host0", (node) => withMetadata(node, { labels: { seen: "yes" } }));
    await h.until(() => h.told.news.length > 1);
    clearInterval(spoiling);
    // The first was none of them, and is counted.
    expect(written() - before).toBe(4);
    expect(h.told.news.map(({ kind }) => kind)).toEqual(["failing", "failing"]);
  });

  test("tells an address that somebody writes on the node meanwhile", async () => {
    await using h = await held();
    h.s.change("host0", (node) =>
      withMetadata(node, {
        annotations: { ...h.s.annotations("host0"), [names.overwrite4]: "203.0.113.9" },
      }),
    );
    const renewed = await h.told.first(({ kind }) => kind === "renewed");
    expect(renewed.kind === "renewed" && renewed.lease.node.publics.v4?.text).toBe("203.0.113.9");
    expect(h.s.annotations("host0")[names.public4]).toBe("203.0.113.9");
  });

  test("is over when the node is deleted or has another subnet", async () => {
    await using gone = await held();
    gone.s.change("host0", () => undefined);
    expect(await gone.told.first(({ kind }) => kind === "lost")).toMatchObject({
      why: "node host0 was deleted",
    });
    await gone.told.end();
    await using moved = await held();
    moved.s.change("host0", (node) => ({
      ...node,
      spec: { podCIDR: "10.244.9.0/24", podCIDRs: ["10.244.9.0/24"] },
    }));
    expect(await moved.told.first(({ kind }) => kind === "lost")).toMatchObject({
      why: "the subnet of node host0 is 10.244.9.0/24, no longer 10.244.3.0/24",
    });
  });

  test("announcing anew is not undone by who holds it", async () => {
    await using h = await held();
    const anew = announcementOf(0, "02:00:00:00:00:aa");
    await h.registry.acquire(anew, undefined);
    h.s.change("host0", (node) => withMetadata(node, { labels: { seen: "yes" } }));
    await h.until(() => condition(h.s.node("host0")) !== undefined);
    expect(h.s.annotations("host0")[names.data4]).toContain("02:00:00:00:00:aa");
  });

  test("giving it back takes away what was written, and nothing else", async () => {
    await using h = await held();
    h.s.change("host0", (node) =>
      withMetadata(node, { annotations: { ...h.s.annotations("host0"), [names.overwrite4]: "203.0.113.9" } }),
    );
    await h.told.first(({ kind }) => kind === "renewed");
    await h.registry.release(h.lease);
    await h.told.end();
    expect(h.s.annotations("host0")).toEqual({ [names.overwrite4]: "203.0.113.9" });
  });

  test("a role that does not allow it is told, not guessed", async () => {
    await using s = await flannelCluster(config);
    s.server().create("", "nodes", nodeObject("host0", ["10.244.3.0/24"]));
    s.server().store.write("rbac.authorization.k8s.io/clusterrolebindings//flannel", () => undefined);
    const error = await failureOf(s.open("host0").acquire(announcementOf(0), undefined));
    expect([error.code, error.message]).toEqual([
      "store/denied",
      expect.stringContaining('cannot get resource "nodes"'),
    ]);
  });
});

describe("the name of the node", () => {
  test("is known to the pod, once it is on one", async () => {
    await using s = await flannelCluster(config);
    s.server().create("", "nodes", nodeObject("host2", ["10.244.2.0/24"]));
    const registry = s.open("", { node: { pod: "heddle-x", namespace: "default" } });
    const acquire = () => registry.acquire(announcementOf(0), undefined);
    expect((await failureOf(acquire())).message).toContain("no pod default/heddle-x");
    const metadata = { name: "heddle-x", namespace: "default" };
    s.server().create("", "pods", { metadata, spec: { containers: [{ name: "a" }] } });
    expect((await failureOf(acquire())).message).toContain("is on no node yet");
    s.server().store.write("/pods/default/heddle-x", () => ({ metadata, spec: { nodeName: "host2" } }));
    expect((await acquire()).node.id).toBe("host2");
  });
});

describe("all nodes", () => {
  test("are those that are managed, and a hostile one is told as such", async () => {
    await using s = await flannelCluster(config);
    const managed = { [names.managed]: "true", [names.type]: "vxlan", [names.public4]: "192.0.2.9" };
    const add = (
      name: string,
      podCIDRs: readonly string[],
      annotations: Readonly<Record<string, string>>,
    ): void => void s.server().create("", "nodes", nodeObject(name, podCIDRs, { annotations }));
    add("good", ["10.244.1.0/24"], { ...managed, [names.data4]: '{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}' });
    add("foreign", ["10.244.2.0/24"], {});
    add("unmanaged", ["10.244.3.0/24"], { ...managed, [names.managed]: "no" });
    add("new", [], managed);
    const hostile: Readonly<Record<string, Readonly<Record<string, string>>>> = {
      "data-broken": { [names.data4]: "{" },
      "data-deep": { [names.data4]: "[".repeat(5000) },
      "data-long": { [names.data4]: `"${"a".repeat(20_000)}"` },
      "public-none": { [names.public4]: "0.0.0.0" },
      "public-odd": { [names.public4]: "1.2.3.4; rm -rf /" },
      "public-six": { [names.public4]: "2001:db8::1" },
      "type-long": { [names.type]: "x".repeat(1000) },
    };
    for (const [name, annotations] of Object.entries(hostile))
      add(name, ["10.244.4.0/24"], { ...managed, ...annotations });
    await using told = new Told((signal) => s.open("host0").nodes(signal));
    await told.first(({ kind }) => kind === "all");
    const nodes = nodesAfter(told.news);
    const unreadable = [...nodes.values()].filter((node) => "why" in node).map(({ id }) => id);
    expect(unreadable.toSorted()).toEqual([...Object.keys(hostile), "new"].toSorted());
    expect([...nodes.keys()].filter((id) => !unreadable.includes(id))).toEqual(["good"]);
    s.change("unmanaged", (node) => withMetadata(node, { annotations: managed }));
    await told.first((news) => news.kind === "put" && news.node.id === "unmanaged");
    s.change("good", (node) => withMetadata(node, { annotations: {} }));
    await told.first((news) => news.kind === "gone" && news.id === "good");
  });

  test("that a role does not let it list are told as failing", async () => {
    await using s = await flannelCluster(config);
    s.server().store.write("rbac.authorization.k8s.io/clusterrolebindings//flannel", () => undefined);
    const registry = s.open("host0");
    await using told = new Told((signal) => registry.nodes(signal));
    const news = await told.first(({ kind }) => kind === "failing");
    expect(news).toMatchObject({ why: expect.stringContaining('cannot list resource "nodes"') as string });
  });

  test("are read anew when the configuration has another family, and not for one that cannot be read", async () => {
    await using s = await flannelCluster(config);
    const annotations = {
      [names.managed]: "true",
      [names.type]: "vxlan",
      [names.public4]: "192.0.2.9",
      [names.public6]: "2001:db8::9",
    };
    s.server().create(
      "",
      "nodes",
      nodeObject("both", ["10.244.1.0/24", "fd00:10:244:1::/64"], { annotations }),
    );
    const registry = s.open("host0");
    await using told = new Told((signal) => registry.nodes(signal));
    const subnets = async (): Promise<unknown> => {
      const { length } = told.news;
      await registry.networkConfig();
      await told.first((news) => news.kind === "all" && told.news.indexOf(news) >= length);
      const node = nodesAfter(told.news).get("both");
      return node === undefined || "why" in node ? node : [node.subnets.v4?.text, node.subnets.v6?.text];
    };
    await told.first(({ kind }) => kind === "all");
    s.configure(dual);
    expect(await subnets()).toEqual(["10.244.1.0/24", "fd00:10:244:1::/64"]);
    s.configure("{");
    await registry.networkConfig();
    s.configure(config);
    expect(await subnets()).toEqual(["10.244.1.0/24", undefined]);
    expect(told.news.map(({ kind }) => kind)).toEqual(["all", "all", "all"]);
  });
});
