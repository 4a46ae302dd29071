/** Networks of modes ipvlan and vlan at length: what `modes.kernel.test.ts` leaves out, on kernels that have them. */
import { describe, expect } from "bun:test";
import { connect, createNetwork, dockerLab, removeNetwork } from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import { neighbour, twoContainers } from "./neighbour.ts";

heddleOfFile();

describe("a network of mode ipvlan", () => {
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
