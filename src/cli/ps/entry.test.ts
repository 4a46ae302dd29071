import { describe, expect, test } from "bun:test";
import type { KnownAttachment } from "../../cni/attachments.ts";
import type { JsonObject } from "../../cni/json.ts";
import { portsOf } from "./entry.ts";

const key = { network: "web", containerId: "c1", ifname: "eth0" };
const remembered = (mapping: JsonObject): KnownAttachment => ({
  ...key,
  key: "0123456789ab",
  records: [],
  plugins: ["bridge", "portmap"],
  cached: { key, file: "/var/lib/cni/results/web-c1-eth0", capabilityArgs: { portMappings: [mapping] } },
});

describe("ports of an attachment without a record", () => {
  test.each([
    [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "192.0.2.1" }, "192.0.2.1"],
    // As containerd writes them.
    [{ HostPort: 8080, ContainerPort: 80, Protocol: "TCP", HostIP: "" }, null],
  ])("are those that the runtime asked for: %j", (mapping, hostIP) => {
    const port = { protocol: "tcp", hostIP, hostPort: 8080, containerPort: 80 };
    expect(portsOf(remembered(mapping))).toEqual([port]);
  });

  test("are none if what was asked for cannot be understood", () => {
    expect(portsOf(remembered({ hostPort: "8080", containerPort: 80 }))).toEqual([]);
  });
});
