/** Containers on a link of the host, with a machine on the other side of that link which is their gateway. */
import { expect } from "bun:test";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import { connection, type NetavarkLab, network } from "./lab.ts";

/** A network whose parent is the host's `up0`. */
export const onUplink = (options: object) => network(options, { network_interface: "up0" });

/** A machine behind the host's `up0` with the address of the gateway, in a VLAN if one is named. */
export async function gateway({ host }: NetavarkLab, vlan?: number): Promise<TestNetns> {
  const machine = await testNetns();
  const words = `link add up0 type veth peer name eth0 netns ${machine.name}`;
  await host.exec(["ip", ...words.split(" ")]);
  await host.exec(["ip", "link", "set", "up0", "up"]);
  const link = vlan === undefined ? "eth0" : "tagged";
  const tagged = [`link add tagged link eth0 type vlan id ${vlan}`, "link set tagged up"];
  await machine.exec(["ip", "-batch", "-"], {
    stdin: ["link set eth0 up", ...(vlan ? tagged : []), `addr add 10.77.0.1/24 dev ${link}`].join("\n"),
  });
  return machine;
}

/** Two containers that reach each other and the machine; then everything goes. `link` is there meanwhile. */
export async function twoContainers(
  lab: NetavarkLab,
  machine: TestNetns,
  of: object,
  link: string,
): Promise<void> {
  await using one = await testNetns();
  await using two = await testNetns();
  const before = await lab.links();
  // No port of the host leads there, and nobody is refused because of that.
  const ports = { port_mappings: [{ host_port: 8080, container_port: 80 }] };
  const [a, b] = [connection("a1", "10.77.0.2", of, ports), connection("b1", "10.77.0.3", of, ports)];
  const { stdout: mac } = await machine.exec(["cat", "/sys/class/net/eth0/address"]);
  const status = await lab.call(["setup", one.path], a);
  expect(status).toMatchObject({
    interfaces: {
      eth0: {
        mac_address: expect.not.stringContaining(mac.trim()),
        subnets: [{ ipnet: "10.77.0.2/24", gateway: "10.77.0.1" }],
      },
    },
  });
  await lab.call(["setup", two.path], b);
  expect(await lab.links()).toContain(link);
  await using _b = await serveIn(two.path, "0.0.0.0", 80);
  await using _m = await serveIn(machine.path, "0.0.0.0", 80);
  expect((await connectFrom(one.path, "10.77.0.3", 80)).stdout.trim()).toBe("10.77.0.2");
  expect((await connectFrom(one.path, "10.77.0.1", 80)).stdout.trim()).toBe("10.77.0.2");
  expect((await one.exec(["ip", "route", "show", "default"])).stdout).toContain("via 10.77.0.1 dev eth0");
  await lab.call(["teardown", one.path], a);
  await lab.call(["teardown", two.path], b);
  expect(await lab.links()).toEqual(before);
}
