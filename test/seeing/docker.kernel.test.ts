/**
 * Containers of Docker in `heddle ps`, `heddle show` and `heddle trace`: their interface is where Docker has put it, under the
 * name that Docker gave it.
 */
import { expect } from "bun:test";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Description } from "../../src/cli/show/description.ts";
import type { Answer } from "../../src/cli/trace/answer.ts";
import {
  binding,
  connect,
  createNetwork,
  type DockerLab,
  dockerLab,
  endpointKey,
  NETWORK_ID,
  publish,
} from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";

heddleOfFile();

async function json<T>(lab: DockerLab, ...argv: readonly string[]): Promise<T> {
  const { stdout } = await lab.host.exec([lab.heddle.at("heddle"), ...argv, "--json"], { env: lab.env });
  return JSON.parse(stdout) as T;
}

kernelTest("a container of Docker is one attachment, from its own interface on", async () => {
  await using lab = await dockerLab();
  await using _plugin = await lab.plugin();
  await using sandbox = await testNetns();
  await lab.call("NetworkDriver.CreateNetwork", createNetwork());
  const container = await connect(lab, sandbox, "a1", "10.77.0.2/24");
  await publish(lab, container, binding(8080));
  const entries = await json<readonly Entry[]>(lab, "ps");
  expect(entries).toMatchObject([
    {
      network: NETWORK_ID,
      containerId: "a1",
      netns: sandbox.path,
      addresses: ["10.77.0.2/24"],
      state: "ok",
      ports: [{ hostPort: 8080, containerPort: 80 }],
    },
  ]);
  const shown = await json<Description>(lab, "show", "a1");
  expect(shown.path.map((s) => [s.place, s.by, s.link?.kind])).toEqual([
    ["container", "start", "veth"],
    ["host", "pair", "veth"],
    ["host", "port", "bridge"],
  ]);
  expect(shown.path[0]).toMatchObject({
    name: "eth0",
    addresses: [{ address: "10.77.0.2/24" }, { linkLocal: true }],
    routes: expect.arrayContaining([
      expect.objectContaining({ dst: "default", gateway: "10.77.0.1" }),
    ]) as unknown,
  });
  expect(shown.ports).toMatchObject([{ hostPort: 8080, live: true }]);
  const unknown = await lab.host.exec([lab.heddle.at("heddle"), "show", "one"], {
    env: lab.env,
    mustSucceed: false,
  });
  expect(unknown.stderr).toContain("EndpointID");
  await lab.host.exec(["nft", "flush", "ruleset"]);
  expect((await json<readonly Entry[]>(lab, "ps"))[0]?.state).toBe("broken");
});

kernelTest("a packet of a container of Docker is followed to the next container", async () => {
  await using lab = await dockerLab();
  await using _plugin = await lab.plugin();
  await using one = await testNetns();
  await using two = await testNetns();
  await lab.call("NetworkDriver.CreateNetwork", createNetwork());
  await connect(lab, one, "a1", "10.77.0.2/24");
  await connect(lab, two, "b2", "10.77.0.3/24");
  const to = (target: string): Promise<Answer> => json<Answer>(lab, "trace", "--from", "a1", "--to", target);
  expect(await to("10.77.0.3")).toMatchObject({
    outcome: "passes",
    from: { netns: one.path, address: "10.77.0.2" },
    where: "container b2",
    ends: "delivered",
  });
  expect(await to("10.77.0.1")).toMatchObject({ outcome: "passes", where: "host" });
});

kernelTest("the rule that closes an internal network is what a trace out of it ends at", async () => {
  await using lab = await dockerLab();
  await using _plugin = await lab.plugin();
  await using sandbox = await testNetns();
  await using world = await testNetns();
  const pair = ["type", "veth", "peer", "name", "eth0", "netns", world.name];
  await lab.host.exec(["ip", "link", "add", "up0", ...pair]);
  await lab.host.exec(["ip", "-batch", "-"], {
    stdin: "addr add 2001:db8::1/64 dev up0 nodad\nlink set up0 up\n",
  });
  await world.exec(["ip", "link", "set", "eth0", "up"]);
  await lab.host.exec(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
  const dual = { IPv6Data: [{ Pool: "fd77::/64", Gateway: "fd77::1/64" }] };
  await lab.call(
    "NetworkDriver.CreateNetwork",
    createNetwork({}, dual, { "com.docker.network.internal": true }),
  );
  await connect(lab, sandbox, "a1", "10.77.0.2/24", "fd77::2/64");
  await sandbox.exec(["ip", "route", "add", "default", "via", "fd77::1"]);
  const ended = await json<Answer>(lab, "trace", "--from", "a1", "--to", "[2001:db8::2]:80");
  expect(ended).toMatchObject({
    outcome: "dropped",
    packet: "first",
    by: expect.stringContaining("closed") as unknown,
    where: "host",
  });
});

kernelTest("a container that Docker has put nowhere yet is shown from the host on", async () => {
  await using lab = await dockerLab();
  await using _plugin = await lab.plugin();
  await lab.call("NetworkDriver.CreateNetwork", createNetwork());
  await lab.call("NetworkDriver.CreateEndpoint", {
    ...endpointKey("a1"),
    Interface: { Address: "10.77.0.2/24", AddressIPv6: "", MacAddress: "" },
    Options: {},
  });
  const SandboxKey = `${lab.dir}/not-yet`;
  for (let joins = 1; joins <= 2; joins++)
    await lab.call("NetworkDriver.Join", { ...endpointKey("a1"), SandboxKey });
  const shown = await json<Description>(lab, "show", "a1");
  expect(shown).toMatchObject({ netns: SandboxKey, state: "ok" });
  expect(shown.path.map((s) => [s.place, s.by])).toEqual([
    ["host", "pair"],
    ["host", "port"],
  ]);
  // It joins again, and another namespace.
  await using sandbox = await testNetns();
  await lab.call("NetworkDriver.Join", { ...endpointKey("a1"), SandboxKey: sandbox.path });
  const missing = await json<Description>(lab, "show", "a1");
  expect(missing.netns).toBe(sandbox.path);
  expect(missing.path[0]).toMatchObject({ place: "container", link: null });
});

kernelTest("a macvlan that Docker has moved is not missed", async () => {
  await using lab = await dockerLab();
  await using _plugin = await lab.plugin();
  await using sandbox = await testNetns();
  await lab.host.exec(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "wire"]);
  for (const name of ["up0", "wire"]) await lab.host.exec(["ip", "link", "set", name, "up"]);
  await lab.call("NetworkDriver.CreateNetwork", createNetwork({ mode: "macvlan", parent: "up0" }));
  await connect(lab, sandbox, "a1", "10.77.0.2/24");
  expect(await json<readonly Entry[]>(lab, "ps")).toMatchObject([
    { containerId: "a1", state: "ok", findings: [] },
  ]);
  const { path } = await json<Description>(lab, "show", "a1");
  expect(path.map((s) => [s.place, s.by, s.name])).toEqual([
    ["container", "start", "eth0"],
    ["host", "below", "up0"],
  ]);
});
