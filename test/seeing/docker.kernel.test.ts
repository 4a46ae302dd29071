/** Containers of Docker in `heddle ps` and `heddle show`: their interface is where Docker has put it, which nobody tells. */
import { expect } from "bun:test";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Description } from "../../src/cli/show/description.ts";
import {
  binding,
  connect,
  createNetwork,
  type DockerLab,
  dockerLab,
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

kernelTest("a container of Docker is one attachment, from its end of the pair on", async () => {
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
      netns: null,
      addresses: ["10.77.0.2/24"],
      state: "ok",
      ports: [{ hostPort: 8080, containerPort: 80 }],
    },
  ]);
  const shown = await json<Description>(lab, "show", "a1");
  expect(shown.path.map((s) => [s.place, s.by, s.link?.kind])).toEqual([
    ["host", "pair", "veth"],
    ["host", "port", "bridge"],
  ]);
  expect(shown.ports).toMatchObject([{ hostPort: 8080, live: true }]);
  await lab.host.exec(["nft", "flush", "ruleset"]);
  expect((await json<readonly Entry[]>(lab, "ps"))[0]?.state).toBe("broken");
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
});
