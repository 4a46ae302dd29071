/** Containers on a link of the host, with a machine on the other side of that link. */
import { expect } from "bun:test";
import { binding, connect, disconnect, type DockerLab, publish } from "../../src/testing/docker-lab.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";

/** A machine behind the host's `up0`, with this address there, in a VLAN if one is named. */
export async function neighbour(lab: DockerLab, address: string, vlan?: number): Promise<TestNetns> {
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
export async function twoContainers(lab: DockerLab, machine: TestNetns): Promise<void> {
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
