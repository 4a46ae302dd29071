/**
 * Networks whose containers hang on a link of the host: by Docker's calls, with a machine on the other side of that link.
 * What is rarer, and wants another kernel, is in `modes.long.test.ts`.
 */
import { describe, expect } from "bun:test";
import {
  connect,
  createNetwork,
  type DockerLab,
  dockerLab,
  removeNetwork,
} from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest, kernelTestWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import { neighbour, twoContainers } from "./neighbour.ts";

heddleOfFile();

/** The hardware addresses that a link hears beside its own. */
const heardBy = async (lab: DockerLab, link: string): Promise<string> =>
  (await lab.host.exec(["bridge", "fdb", "show", "dev", link])).stdout;

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
    let mac: string;
    {
      await using gone = await testNetns();
      ({ mac = "" } = await connect(lab, gone, "a1", "10.77.0.2/24"));
      expect(await heardBy(lab, "up0")).toContain(mac);
    }
    // The kernel takes the sandbox apart when it has time, and a parent has each address once.
    while ((await heardBy(lab, "up0")).includes(mac)) await Bun.sleep(5);
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
});
