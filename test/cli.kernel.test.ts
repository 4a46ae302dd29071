import { expect } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { type Outcome, plainEnv } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const heddle = heddleOfFile();

const kernelTest = testWith({ root: true, programs: ["ip", "nft"] });

kernelTest.each([
  ["in one process", []],
  ["with a process for each plugin", ["--no-in-process"]],
])("a list is attached, checked and detached by the command line, %s", async (_, options) => {
  using dir = tempDir("cli");
  await using host = await testNetns();
  await using container = await testNetns();
  writeFileSync(dir.in("10-list.conflist"), JSON.stringify(listWith(dir.in("ipam"))));
  const env = {
    ...plainEnv,
    CNI_PATH: heddle.cniPath,
    NETCONFPATH: dir.path,
    CAP_ARGS: '{"portMappings":[{"hostPort":9090,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"}]}',
  };
  const cni = (verb: string): Promise<Outcome> => {
    const args = ["cni", verb, "clinet", container.path, "--cache-dir", dir.in("cache"), ...options];
    return host.exec([heddle.at("heddle"), ...args], { env, mustSucceed: false });
  };

  const added = await cni("add");
  expect(added).toMatchObject({ code: 0, stderr: "" });
  expect(JSON.parse(added.stdout)).toMatchObject({
    cniVersion: "1.0.0",
    interfaces: [
      { name: "clibr0" },
      { name: expect.stringMatching(/^veth/) },
      { name: "eth0", sandbox: container.path },
    ],
    ips: [{ interface: 2, address: "10.244.77.2/24", gateway: "10.244.77.1" }],
  });
  expect((await container.exec(["ip", "-o", "-4", "address", "show", "eth0"])).stdout).toContain(
    "10.244.77.2/24",
  );
  expect((await host.exec(["nft", "list", "ruleset"])).stdout).toContain("10.244.77.2");

  expect(await cni("check")).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect(await cni("status")).toMatchObject({ code: 0, stdout: "", stderr: "" });

  const again = await cni("add");
  expect(again.code).toBe(1);
  expect(again.stderr).toContain("already attached");
  expect(again.stderr).toContain("docs/errors.md#attachmentlive");
  expect(await cni("check")).toMatchObject({ code: 0 });

  expect(await cni("del")).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect(await cni("del")).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect((await container.exec(["ip", "-o", "link", "show"])).stdout).not.toContain("eth0");
  expect((await host.exec(["nft", "list", "ruleset"])).stdout).not.toContain("10.244.77.2");
  expect((await host.exec(["ip", "-o", "link", "show", "type", "veth"])).stdout).toBe("");
  expect(readdirSync(dir.in("ipam", "clinet")).filter((name) => name.startsWith("10."))).toEqual([]);
});

kernelTest(
  "gc detaches what this cache knows of the network, and check notices that it is gone",
  async () => {
    using dir = tempDir("cli");
    await using host = await testNetns();
    await using container = await testNetns();
    writeFileSync(dir.in("10-list.conflist"), JSON.stringify(listWith(dir.in("ipam"))));
    const env = { ...plainEnv, CNI_PATH: heddle.cniPath, NETCONFPATH: dir.path };
    const cnitool = (verb: string): Promise<Outcome> =>
      host.exec([heddle.at("cnitool"), verb, "clinet", container.path, "--cache-dir", dir.in("cache")], {
        env,
        mustSucceed: false,
      });
    expect(await cnitool("add")).toMatchObject({ code: 0, stderr: "" });
    expect(await cnitool("gc")).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect((await container.exec(["ip", "-o", "link", "show"])).stdout).not.toContain("eth0");
    expect(existsSync(dir.in("cache", "results")) ? readdirSync(dir.in("cache", "results")) : []).toEqual([]);
    expect((await cnitool("check")).code).toBe(1);
  },
);

const listWith = (dataDir: string): object => ({
  name: "clinet",
  cniVersion: "1.0.0",
  plugins: [
    {
      type: "bridge",
      bridge: "clibr0",
      ipMasq: true,
      isGateway: true,
      ipam: { type: "host-local", subnet: "10.244.77.0/24", dataDir, routes: [{ dst: "0.0.0.0/0" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
});
