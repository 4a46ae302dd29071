import { describe, expect, test } from "bun:test";
import type { BackendData, Publics } from "../../fabric/model.ts";
import type { KubeObject } from "../../fabric/store/kubernetes/client.ts";
import { ip } from "../../testing/address.ts";
import {
  ANNOTATION_PREFIX,
  annotationNames,
  difference,
  readAnnouncement,
  writtenOf,
} from "./kube-annotations.ts";
import { availablePatch, fabricNodeOf } from "./kube-node.ts";

const names = annotationNames(ANNOTATION_PREFIX);
const dualPublics: Publics = { v4: ip("192.0.2.1"), v6: ip("2001:db8::1") };

describe("annotations", () => {
  test.each([
    ["flannel.alpha.coreos.com", "flannel.alpha.coreos.com/backend-type"],
    ["flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/backend-type"],
    ["example.com/second", "example.com/second-backend-type"],
    ["example.com/second-", "example.com/second-backend-type"],
  ])("with the prefix %s are called %s", (prefix, name) => {
    expect(annotationNames(prefix).type).toBe(name);
  });
  test.each(["", "flannel", "a.b/c/d", "A.b", "a.b/c d", "/a.b"])('refuse "%s" as their prefix', (prefix) => {
    expect(() => annotationNames(prefix)).toThrow("kube-annotation-prefix");
  });

  const mac = { VNI: 1, VtepMAC: "02:00:00:00:00:01" };
  const rows: readonly (readonly [string, BackendData, Publics, readonly string[]])[] = [
    ["vxlan", { type: "vxlan", v4: mac }, { v4: ip("192.0.2.1") }, ["data4", "public4"]],
    [
      "vxlan of both families",
      { type: "vxlan", v4: mac, v6: mac },
      dualPublics,
      ["data4", "public4", "data6", "public6"],
    ],
    ["vxlan of IPv6 alone", { type: "vxlan", v6: mac }, dualPublics, ["data6", "public6"]],
    ["host-gw", { type: "host-gw" }, { v4: ip("192.0.2.1") }, ["data4", "public4"]],
    ["host-gw of both families", { type: "host-gw" }, dualPublics, ["data4", "public4", "data6", "public6"]],
    ["ipip, which has no IPv6", { type: "ipip" }, dualPublics, ["data4", "public4"]],
    ["udp, which it does not name", { type: "" }, { v4: ip("192.0.2.1") }, ["data4", "public4"]],
    [
      "wireguard with one device",
      { type: "wireguard", v4: { PublicKey: "k" } },
      dualPublics,
      ["data4", "public4"],
    ],
  ];
  test.each(rows)("of %s are those that flanneld writes", (_what, backend, publics, keys) => {
    const written = writtenOf(names, { publics, backend }, {});
    const there = Object.entries(written).filter(([, value]) => value !== undefined);
    const wanted = ["managed", "type", ...keys].map((key) => names[key as keyof typeof names]);
    expect(there.map(([name]) => name).toSorted()).toEqual(wanted.toSorted());
    const annotations = Object.fromEntries(there.map(([name, value]) => [name, value ?? ""]));
    if (backend.v4 === undefined && keys.includes("data4")) expect(annotations[names.data4]).toBe("null");
    const read = readAnnouncement(names, annotations);
    expect(read.ok && read.value.backend).toEqual(backend);
    expect(difference(written, annotations)).toBeUndefined();
  });

  test("what a node no longer tells is taken away", () => {
    const written = writtenOf(
      names,
      { publics: { v4: ip("192.0.2.1") }, backend: { type: "vxlan", v4: mac } },
      {},
    );
    expect(difference(written, { [names.data6]: "{}", [names.managed]: "true" })).toEqual({
      [names.type]: "vxlan",
      [names.data4]: JSON.stringify(mac),
      [names.public4]: "192.0.2.1",
      [names.data6]: null,
    });
  });

  test("a node of any form is read or told, never thrown at", () => {
    const odd: readonly unknown[] = [
      null,
      1,
      "a",
      [],
      {},
      { podCIDR: 1 },
      { podCIDRs: [null, {}] },
      { podCIDRs: ["x"] },
    ];
    for (const spec of odd)
      for (const annotations of [null, [], { [names.managed]: "true", [names.public4]: 7 }]) {
        const node: KubeObject = {
          name: "a",
          resourceVersion: "1",
          body: { metadata: { annotations }, spec },
        };
        expect(() => fabricNodeOf(node, names, { v4: true, v6: true })).not.toThrow();
      }
  });

  test("the condition has the form that flanneld gives it", () => {
    expect(JSON.stringify(availablePatch(new Date("2026-01-02T03:04:05.678Z")))).toBe(
      '{"status":{"conditions":[{"type":"NetworkUnavailable","status":"False","lastHeartbeatTime":"2026-01-02T03:04:05Z","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"FlannelIsUp","message":"Flannel is running on this node"}]}}',
    );
  });
});
