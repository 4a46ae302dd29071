/** Networks of mode bridge, by the calls that Docker makes, in the order in which it makes them. */
import { describe, expect } from "bun:test";
import { type DockerLab, dockerLab } from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { testNetns, type TestNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";

heddleOfFile();

const NET = "0f".repeat(32);
const PORTMAP = "com.docker.network.portmap";
const GENERIC = "com.docker.network.generic";

/** As `docker network create -d heddle --subnet 10.77.0.0/24` says it. */
const network = (options: object = {}, more: object = {}): object => ({
  NetworkID: NET,
  Options: { "com.docker.network.enable_ipv6": false, [GENERIC]: options, ...more },
  IPv4Data: [
    { AddressSpace: "heddle-local", Pool: "10.77.0.0/24", Gateway: "10.77.0.1/24", AuxAddresses: {} },
  ],
  IPv6Data: [],
});
const binding = (HostPort: number, Port = 80) => ({
  Proto: 6,
  IP: "",
  Port,
  HostIP: "",
  HostPort,
  HostPortEnd: HostPort,
});

interface Container {
  readonly id: string;
  readonly address: string;
  readonly mac: string;
  /** The name of its interface in the host. */
  readonly link: string;
}

/** CreateEndpoint, Join, and what Docker then does by itself. */
async function connect(lab: DockerLab, sandbox: TestNetns, id: string, address: string): Promise<Container> {
  const key = { NetworkID: NET, EndpointID: id };
  const made = (await lab.call("NetworkDriver.CreateEndpoint", {
    ...key,
    Interface: { Address: `${address}/24`, AddressIPv6: "", MacAddress: "" },
    Options: {},
  })) as { readonly Interface: { readonly MacAddress: string } };
  const mac = made.Interface.MacAddress;
  const answer = (await lab.call("NetworkDriver.Join", {
    ...key,
    SandboxKey: `/var/run/docker/netns/${id}`,
    Options: {},
  })) as {
    readonly InterfaceName: { readonly SrcName: string; readonly DstPrefix: string };
    readonly Gateway?: string;
  };
  const link = answer.InterfaceName.SrcName;
  const name = `${answer.InterfaceName.DstPrefix}0`;
  await lab.host.exec(["ip", "link", "set", link, "netns", sandbox.name, "name", name]);
  await sandbox.exec(["ip", "-batch", "-"], {
    stdin: [
      `link set ${name} address ${mac}`,
      `addr add ${address}/24 dev ${name}`,
      `link set ${name} up`,
      ...(answer.Gateway ? [`route add default via ${answer.Gateway}`] : []),
    ].join("\n"),
  });
  return { id, address, mac, link };
}

const publish = (lab: DockerLab, { id }: Container, ...ports: readonly object[]) =>
  lab.call("NetworkDriver.ProgramExternalConnectivity", {
    NetworkID: NET,
    EndpointID: id,
    Options: { [PORTMAP]: ports },
  });

/** What Docker does with a container that has ended. */
async function disconnect(lab: DockerLab, sandbox: TestNetns, { id, link }: Container): Promise<void> {
  const key = { NetworkID: NET, EndpointID: id };
  await lab.call("NetworkDriver.RevokeExternalConnectivity", key);
  await lab.call("NetworkDriver.Leave", key);
  await sandbox.exec(["ip", "link", "set", "eth0", "netns", lab.host.name, "name", link]);
  await lab.call("NetworkDriver.DeleteEndpoint", key);
}

const links = async ({ host }: DockerLab): Promise<readonly string[]> =>
  (await host.exec(["ip", "-br", "link"])).stdout
    .trim()
    .split("\n")
    .map((line) => line.split(/[\s@]/)[0] ?? "")
    .toSorted();
const rules = async ({ host }: DockerLab): Promise<string> =>
  (await host.exec(["nft", "list", "ruleset"])).stdout;

describe("a network of mode bridge", () => {
  kernelTest(
    "connects containers, opens host ports, lives through a restart, and leaves nothing",
    async () => {
      await using lab = await dockerLab();
      await using one = await testNetns();
      await using two = await testNetns();
      const first = await lab.plugin();
      expect(await lab.call("Plugin.Activate")).toEqual({ Implements: ["NetworkDriver", "IpamDriver"] });
      await lab.call("NetworkDriver.CreateNetwork", network());
      expect(await links(lab)).toEqual(["br-0f0f0f0f0f0f", "lo"]);
      const a = await connect(lab, one, "a1", "10.77.0.2");
      const b = await connect(lab, two, "b1", "10.77.0.3");
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
      expect(
        (await lab.call("NetworkDriver.EndpointOperInfo", { NetworkID: NET, EndpointID: "a1" }))["Value"],
      ).toEqual({
        "com.docker.network.endpoint.macaddress": a.mac,
        [PORTMAP]: [binding(8080)],
      });
      await disconnect(lab, one, a);
      expect((await connectFrom(lab.host.path, "127.0.0.1", 8080)).code).not.toBe(0);
      expect((await connectFrom(lab.host.path, "10.77.0.3", 80)).code).toBe(0);
      await disconnect(lab, two, b);
      await lab.call("NetworkDriver.DeleteNetwork", { NetworkID: NET });
      expect(await links(lab)).toEqual(["lo"]);
      expect(await rules(lab)).not.toContain("10.77.0");
    },
  );
});
