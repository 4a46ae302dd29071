/** Networks of mode bridge, by the calls that Docker makes, in the order in which it makes them. */
import { describe, expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import {
  binding,
  connect,
  createNetwork,
  disconnect,
  type DockerLab,
  dockerLab,
  endpointKey,
  PORTMAP,
  publish,
  removeNetwork,
} from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest, testWith } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { run } from "../../src/testing/run.ts";
import { connectFrom, inside, serveIn } from "../../src/testing/traffic.ts";

heddleOfFile();

const BRIDGE = "br-0f0f0f0f0f0f";
const DUAL = { IPv6Data: [{ Pool: "fd77::/64", Gateway: "fd77::1/64" }] };

/** A neighbour of the host, which has 192.0.2.2 and the host 192.0.2.1. */
async function uplink({ host }: DockerLab, world: TestNetns): Promise<void> {
  const pair = ["type", "veth", "peer", "name", "eth0", "netns", world.name];
  await host.exec(["ip", "link", "add", "up0", ...pair]);
  for (const [at, name, n] of [
    [host, "up0", 1],
    [world, "eth0", 2],
  ] as const)
    await at.exec(["ip", "-batch", "-"], {
      stdin: `addr add 192.0.2.${n}/24 dev ${name}\naddr add 2001:db8::${n}/64 dev ${name} nodad\nlink set ${name} up\n`,
    });
}

describe("a network of mode bridge", () => {
  kernelTest(
    "connects containers, opens host ports, lives through a restart, and leaves nothing",
    async () => {
      await using lab = await dockerLab();
      await using one = await testNetns();
      await using two = await testNetns();
      const first = await lab.plugin();
      await lab.call("NetworkDriver.CreateNetwork", createNetwork());
      expect(await lab.links()).toEqual([BRIDGE, "lo"]);
      const a = await connect(lab, one, "a1", "10.77.0.2/24");
      const b = await connect(lab, two, "b1", "10.77.0.3/24");
      await publish(lab, a, binding(8080));
      await using _a = await serveIn(one.path, "0.0.0.0", 80);
      await using _b = await serveIn(two.path, "0.0.0.0", 80);
      expect((await connectFrom(one.path, "10.77.0.3", 80)).stdout).toContain("10.77.0.2");
      expect((await connectFrom(lab.host.path, "127.0.0.1", 8080)).stdout).toContain("10.77.0.1");
      expect((await connectFrom(two.path, "10.77.0.1", 8080)).stdout).toContain("10.77.0.1");

      expect(await first.stop()).toBe(0);
      // Nobody is cut off while it is away.
      expect((await connectFrom(lab.host.path, "127.0.0.1", 8080)).code).toBe(0);
      await using second = await lab.plugin();
      await second.said("goes on with 1 networks and 2 endpoints");
      expect((await lab.call("NetworkDriver.EndpointOperInfo", endpointKey("a1")))["Value"]).toEqual({
        "com.docker.network.endpoint.macaddress": a.mac,
        [PORTMAP]: [binding(8080)],
      });
      await disconnect(lab, one, a);
      expect((await connectFrom(lab.host.path, "127.0.0.1", 8080)).code).not.toBe(0);
      expect((await connectFrom(lab.host.path, "10.77.0.3", 80)).code).toBe(0);
      await disconnect(lab, two, b);
      await removeNetwork(lab);
      expect(await lab.links()).toEqual(["lo"]);
      expect(await lab.rules()).not.toContain("10.77.0");
      expect((await run(["find", join(lab.dir, "run/attachments"), "-type", "f"])).stdout).toBe("");
      expect((await run(["find", join(lab.dir, "state/docker"), "-name", "*.json"])).stdout).toBe("");
    },
  );

  kernelTest("has both families, and masquerades what leaves it", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using world = await testNetns();
    await uplink(lab, world);
    await using _plugin = await lab.plugin();
    await lab.call("NetworkDriver.CreateNetwork", createNetwork({}, DUAL));
    const a = await connect(lab, one, "a1", "10.77.0.2/24", "fd77::2/64");
    expect(a.joined).toMatchObject({ Gateway: "10.77.0.1", GatewayIPv6: "fd77::1" });
    await using _four = await serveIn(world.path, "192.0.2.2", 80);
    await using _six = await serveIn(world.path, "2001:db8::2", 80);
    expect((await connectFrom(one.path, "192.0.2.2", 80)).stdout.trim()).toBe("192.0.2.1");
    expect((await connectFrom(one.path, "2001:db8::2", 80)).stdout.trim()).toBe("2001:db8::1");
    await publish(lab, a, binding(8080));
    await using _in = await serveIn(one.path, "::", 80);
    for (const address of ["192.0.2.1", "2001:db8::1"])
      expect((await connectFrom(world.path, address, 8080)).stdout).toContain(address.replace(/1$/, "2"));
    await disconnect(lab, one, a);
    await removeNetwork(lab);
    expect(await lab.links()).toEqual(["lo", "up0"]);
  });

  testWith({ root: true, programs: ["ip", "iptables"] })(
    "is reached and reaches the world where FORWARD drops, as Docker makes it",
    async () => {
      await using lab = await dockerLab();
      await using one = await testNetns();
      await using world = await testNetns();
      await uplink(lab, world);
      await lab.host.exec(["iptables", "-P", "FORWARD", "DROP"]);
      const allowed = async () =>
        (await lab.host.exec(["iptables", "-S"])).stdout.match(/10\.77\.0\.2/g)?.length ?? 0;
      await using _plugin = await lab.plugin();
      await lab.call("NetworkDriver.CreateNetwork", createNetwork());
      const a = await connect(lab, one, "a1", "10.77.0.2/24");
      await using _out = await serveIn(world.path, "192.0.2.2", 80);
      await using _in = await serveIn(one.path, "0.0.0.0", 80);
      expect((await connectFrom(one.path, "192.0.2.2", 80)).stdout.trim()).toBe("192.0.2.1");
      const before = await allowed();
      await publish(lab, a, binding(8080));
      expect((await connectFrom(world.path, "192.0.2.1", 8080)).stdout.trim()).toBe("192.0.2.2");
      // What was not asked for stays closed, also to who knows the way.
      await world.exec(["ip", "route", "add", "10.77.0.0/24", "via", "192.0.2.1"]);
      expect((await connectFrom(world.path, "10.77.0.2", 80)).code).not.toBe(0);
      await lab.call("NetworkDriver.RevokeExternalConnectivity", endpointKey("a1"));
      expect(await allowed()).toBe(before);
      expect((await connectFrom(world.path, "192.0.2.1", 8080)).code).not.toBe(0);
      await disconnect(lab, one, a);
      expect(await allowed()).toBe(0);
    },
  );

  kernelTest("that is internal lets nobody out, and its containers speak to one another", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using two = await testNetns();
    await using _plugin = await lab.plugin();
    await lab.host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    await lab.host.exec(["ip", "link", "add", "other0", "type", "bridge"]);
    await lab.host.exec(["ip", "addr", "add", "192.0.2.1/24", "dev", "other0"]);
    await lab.host.exec(["ip", "link", "set", "other0", "up"]);
    await lab.call(
      "NetworkDriver.CreateNetwork",
      createNetwork({}, {}, { "com.docker.network.internal": true }),
    );
    const a = await connect(lab, one, "a1", "10.77.0.2/24");
    const b = await connect(lab, two, "b1", "10.77.0.3/24");
    expect(a.joined.Gateway).toBeUndefined();
    await publish(lab, a, binding(8080));
    expect(await lab.rules()).not.toMatch(/8080|masq_/);
    await using _b = await serveIn(two.path, "0.0.0.0", 80);
    expect((await connectFrom(one.path, "10.77.0.3", 80)).code).toBe(0);
    // Also a container that gives itself a route gets no further than the host.
    await one.exec(["ip", "route", "add", "default", "via", "10.77.0.1"]);
    const forwarded = async (): Promise<boolean> => {
      const asked = ["ip", "route", "get", "192.0.2.9", "from", "10.77.0.2", "iif", BRIDGE];
      return (await lab.host.exec(asked, { mustSucceed: false })).code === 0;
    };
    expect(await forwarded()).toBe(false);
    await lab.host.exec(["sysctl", "-qw", `net.ipv4.conf.${BRIDGE}.forwarding=1`]);
    expect(await forwarded()).toBe(true);
    await disconnect(lab, one, a);
    await disconnect(lab, two, b);
    await removeNetwork(lab);
  });

  kernelTest("that is internal is closed to IPv6, out of it and into it", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using two = await testNetns();
    await using world = await testNetns();
    await using _plugin = await lab.plugin();
    await uplink(lab, world);
    // A host that routes for others.
    await lab.host.exec(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
    await world.exec(["ip", "route", "add", "fd77::/64", "via", "2001:db8::1"]);
    await lab.call(
      "NetworkDriver.CreateNetwork",
      createNetwork({}, DUAL, { "com.docker.network.internal": true }),
    );
    const a = await connect(lab, one, "a1", "10.77.0.2/24", "fd77::2/64");
    const b = await connect(lab, two, "b1", "10.77.0.3/24", "fd77::3/64");
    for (const container of [one, two])
      await container.exec(["ip", "route", "add", "default", "via", "fd77::1"]);
    await using _w = await serveIn(world.path, "2001:db8::2", 80);
    await using _b = await serveIn(two.path, "fd77::3", 80);
    const out = async (): Promise<boolean> => (await connectFrom(one.path, "2001:db8::2", 80)).code === 0;
    const into = async (): Promise<boolean> => (await connectFrom(world.path, "fd77::3", 80)).code === 0;
    expect([await out(), await into()]).toEqual([false, false]);
    expect((await connectFrom(one.path, "fd77::3", 80)).code).toBe(0);
    // Nothing else stands in the way, and what was flushed is put back.
    await lab.host.exec(["nft", "flush", "ruleset"]);
    expect([await out(), await into()]).toEqual([true, true]);
    await lab.host.exec([lab.heddle.at("heddle"), "reload"], { env: lab.env });
    expect([await out(), await into()]).toEqual([false, false]);
    await disconnect(lab, one, a);
    await disconnect(lab, two, b);
    await removeNetwork(lab);
    expect(await lab.rules()).not.toContain(BRIDGE);
  });

  kernelTest("keeps containers apart if it is told to", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using two = await testNetns();
    await using _plugin = await lab.plugin();
    const apart = { "com.docker.network.bridge.enable_icc": "false" };
    await lab.call("NetworkDriver.CreateNetwork", createNetwork(apart));
    await connect(lab, one, "a1", "10.77.0.2/24");
    await connect(lab, two, "b1", "10.77.0.3/24");
    await using _b = await serveIn(two.path, "0.0.0.0", 80);
    expect((await connectFrom(one.path, "10.77.0.3", 80)).code).not.toBe(0);
    expect((await connectFrom(lab.host.path, "10.77.0.3", 80)).code).toBe(0);
  });

  kernelTest("is kept from another one", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using two = await testNetns();
    await using _plugin = await lab.plugin();
    await lab.call("NetworkDriver.CreateNetwork", createNetwork());
    await connect(lab, one, "a1", "10.77.0.2/24");
    const other = "1e".repeat(32);
    const request = {
      ...createNetwork(),
      NetworkID: other,
      IPv4Data: [{ Pool: "10.78.0.0/24", Gateway: "10.78.0.1/24" }],
    };
    await lab.call("NetworkDriver.CreateNetwork", request);
    const key = { NetworkID: other, EndpointID: "b1" };
    await lab.call("NetworkDriver.CreateEndpoint", { ...key, Interface: { Address: "10.78.0.2/24" } });
    const joined = (await lab.call("NetworkDriver.Join", key)) as { InterfaceName: { SrcName: string } };
    await lab.host.exec([
      "ip",
      "link",
      "set",
      joined.InterfaceName.SrcName,
      "netns",
      two.name,
      "name",
      "eth0",
    ]);
    await two.exec(["ip", "-batch", "-"], {
      stdin: "addr add 10.78.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 10.78.0.1\n",
    });
    await using _b = await serveIn(two.path, "0.0.0.0", 80);
    expect((await connectFrom(lab.host.path, "10.78.0.2", 80)).code).toBe(0);
    expect((await connectFrom(one.path, "10.78.0.2", 80)).code).not.toBe(0);
  });

  kernelTest("leaves a bridge that somebody made as it was", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using _plugin = await lab.plugin();
    await lab.host.exec(["ip", "link", "add", "mine0", "type", "bridge"]);
    await lab.host.exec(["ip", "addr", "add", "192.0.2.1/24", "dev", "mine0"]);
    const named = { "com.docker.network.bridge.name": "mine0" };
    await lab.call("NetworkDriver.CreateNetwork", createNetwork(named));
    const a = await connect(lab, one, "a1", "10.77.0.2/24");
    await using _a = await serveIn(one.path, "0.0.0.0", 80);
    expect((await connectFrom(lab.host.path, "10.77.0.2", 80)).stdout.trim()).toBe("10.77.0.1");
    await disconnect(lab, one, a);
    await removeNetwork(lab);
    const { stdout } = await lab.host.exec(["ip", "-4", "-br", "addr", "show", "mine0"]);
    expect(stdout).toContain("192.0.2.1/24");
    expect(stdout).not.toContain("10.77");
  });

  kernelTest(
    "comes back with its first container after a reboot, and its rules by heddle reload",
    async () => {
      await using lab = await dockerLab();
      await using one = await testNetns();
      await using _plugin = await lab.plugin();
      await lab.call("NetworkDriver.CreateNetwork", createNetwork());
      // What a reboot takes away: links, rules and records. What is on disk stays.
      await lab.host.exec(["ip", "link", "del", BRIDGE]);
      rmSync(join(lab.dir, "run"), { recursive: true });
      const a = await connect(lab, one, "a1", "10.77.0.2/24");
      await publish(lab, a, binding(8080));
      await using _a = await serveIn(one.path, "0.0.0.0", 80);
      const reached = async () => (await connectFrom(lab.host.path, "127.0.0.1", 8080)).code === 0;
      expect(await reached()).toBe(true);
      await lab.host.exec(["nft", "flush", "ruleset"]);
      expect(await reached()).toBe(false);
      const heddle = (...words: readonly string[]) =>
        run([...inside(lab.host.path), lab.heddle.at("heddle"), ...words], { env: lab.env });
      await heddle("reload");
      expect(await reached()).toBe(true);
      // It is no corpse either.
      expect((await heddle("gc")).stdout).toContain("Nothing to clean up");
      expect(await reached()).toBe(true);
      await disconnect(lab, one, a);
      await removeNetwork(lab);
      expect(await lab.links()).toEqual(["lo"]);
    },
  );
});
