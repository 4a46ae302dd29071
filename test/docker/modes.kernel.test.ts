/** Networks whose containers hang on a link of the host: by Docker's calls, with a machine on the other side of that link. */
import { describe, expect } from "bun:test";
import {
  binding,
  connect,
  createNetwork,
  disconnect,
  type DockerLab,
  dockerLab,
  publish,
  removeNetwork,
} from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest, kernelTestWith } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";

heddleOfFile();

/** A machine behind the host's `up0`, with this address there, in a VLAN if one is named. */
async function neighbour(lab: DockerLab, address: string, vlan?: number): Promise<TestNetns> {
  const machine = await testNetns();
  await lab.host.exec([
    "ip",
    "link",
    "add",
    "up0",
    "type",
    "veth",
    "peer",
    "name",
    "eth0",
    "netns",
    machine.name,
  ]);
  await lab.host.exec(["ip", "link", "set", "up0", "up"]);
  const link = vlan === undefined ? "eth0" : "tagged";
  await machine.exec(["ip", "-batch", "-"], {
    stdin: [
      "link set eth0 up",
      ...(vlan === undefined ? [] : [`link add tagged link eth0 type vlan id ${vlan}`, "link set tagged up"]),
      `addr add ${address} dev ${link}`,
    ].join("\n"),
  });
  return machine;
}

/** Two containers that reach each other and the machine; then everything goes. */
async function twoContainers(lab: DockerLab, machine: TestNetns): Promise<void> {
  await using one = await testNetns();
  await using two = await testNetns();
  const before = await lab.links();
  const a = await connect(lab, one, "a1", "10.77.0.2/24");
  const b = await connect(lab, two, "b1", "10.77.0.3/24");
  await using _b = await serveIn(two.path, "0.0.0.0", 80);
  await using _m = await serveIn(machine.path, "0.0.0.0", 80);
  expect((await connectFrom(one.path, "10.77.0.3", 80)).stdout.trim()).toBe("10.77.0.2");
  expect((await connectFrom(one.path, "10.77.0.1", 80)).stdout.trim()).toBe("10.77.0.2");
  // No port of the host leads there, and nobody is refused because of that.
  await publish(lab, a, binding(8080));
  await disconnect(lab, one, a);
  await disconnect(lab, two, b);
  expect(await lab.links()).toEqual(before);
}

describe("a network of mode macvlan", () => {
  kernelTest("puts containers on the parent", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "10.77.0.1/24");
    await lab.call("NetworkDriver.CreateNetwork", createNetwork({ mode: "macvlan", parent: "up0" }));
    await twoContainers(lab, machine);
    await removeNetwork(lab);
    expect(await lab.links()).toEqual(["lo", "up0"]);
  });

  kernelTest("takes the link of the default route, and keeps it", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "10.77.0.1/24");
    await lab.host.exec(["ip", "addr", "add", "192.0.2.1/24", "dev", "up0"]);
    await lab.host.exec(["ip", "route", "add", "default", "via", "192.0.2.2"]);
    await lab.call("NetworkDriver.CreateNetwork", createNetwork({ mode: "macvlan" }));
    await lab.host.exec(["ip", "route", "del", "default"]);
    await twoContainers(lab, machine);
  });

  kernelTest("keeps containers apart in its mode private", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using two = await testNetns();
    await using _plugin = await lab.plugin();
    await using _machine = await neighbour(lab, "10.77.0.1/24");
    const apart = { mode: "macvlan", parent: "up0", macvlan_mode: "private" };
    await lab.call("NetworkDriver.CreateNetwork", createNetwork(apart));
    await connect(lab, one, "a1", "10.77.0.2/24");
    await connect(lab, two, "b1", "10.77.0.3/24");
    await using _b = await serveIn(two.path, "0.0.0.0", 80);
    expect((await connectFrom(one.path, "10.77.0.3", 80)).code).not.toBe(0);
  });

  kernelTest("gets a link again that was lost with its sandbox", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "10.77.0.1/24");
    await lab.call("NetworkDriver.CreateNetwork", createNetwork({ mode: "macvlan", parent: "up0" }));
    {
      await using gone = await testNetns();
      await connect(lab, gone, "a1", "10.77.0.2/24");
    }
    await using one = await testNetns();
    await connect(lab, one, "a1", "10.77.0.2/24");
    await using _m = await serveIn(machine.path, "0.0.0.0", 80);
    expect((await connectFrom(one.path, "10.77.0.1", 80)).stdout.trim()).toBe("10.77.0.2");
  });
});

describe("a network of mode ipvlan", () => {
  kernelTestWith("ipvlan")("puts containers on the parent, with its MAC address", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "10.77.0.1/24");
    await lab.call("NetworkDriver.CreateNetwork", createNetwork({ mode: "ipvlan", parent: "up0" }));
    await twoContainers(lab, machine);
    await removeNetwork(lab);
  });

  kernelTestWith("ipvlan")("routes what containers send in its mode l3", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "192.0.2.2/24");
    await lab.host.exec(["ip", "addr", "add", "192.0.2.1/24", "dev", "up0"]);
    await machine.exec(["ip", "route", "add", "10.77.0.0/24", "via", "192.0.2.1"]);
    const routed = { mode: "ipvlan", parent: "up0", ipvlan_mode: "l3" };
    await lab.call("NetworkDriver.CreateNetwork", createNetwork(routed));
    const a = await connect(lab, one, "a1", "10.77.0.2/24");
    expect(a.joined).toMatchObject({ StaticRoutes: [{ Destination: "0.0.0.0/0", RouteType: 1 }] });
    // What Docker does with such a route.
    await one.exec(["ip", "route", "add", "default", "dev", "eth0"]);
    await using _m = await serveIn(machine.path, "0.0.0.0", 80);
    expect((await connectFrom(one.path, "192.0.2.2", 80)).stdout.trim()).toBe("10.77.0.2");
  });
});

describe("a network of mode vlan", () => {
  const options = { mode: "vlan", parent: "up0", vlan: "100" };

  kernelTestWith("vlan")("puts containers into the VLAN, whose link comes and goes with it", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "10.77.0.1/24", 100);
    await lab.call("NetworkDriver.CreateNetwork", createNetwork(options));
    expect(await lab.links()).toContain("up0.100");
    await twoContainers(lab, machine);
    await removeNetwork(lab);
    expect(await lab.links()).toEqual(["lo", "up0"]);
  });

  kernelTestWith("vlan")("leaves a link of the VLAN that was there", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using machine = await neighbour(lab, "10.77.0.1/24", 100);
    await lab.host.exec(["ip", "link", "add", "up0.100", "link", "up0", "type", "vlan", "id", "100"]);
    await lab.host.exec(["ip", "link", "set", "up0.100", "up"]);
    await lab.call("NetworkDriver.CreateNetwork", createNetwork(options));
    await twoContainers(lab, machine);
    await removeNetwork(lab);
    expect(await lab.links()).toContain("up0.100");
  });

  kernelTestWith("vlan")("does not take a link of another VLAN for its own", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    await using _machine = await neighbour(lab, "10.77.0.1/24");
    await lab.host.exec(["ip", "link", "add", "up0.100", "link", "up0", "type", "vlan", "id", "101"]);
    const { Err } = await lab.ask("NetworkDriver.CreateNetwork", createNetwork(options));
    expect(Err).toContain("is not VLAN 100 of up0");
  });
});
