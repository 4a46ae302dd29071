import { describe, expect } from "bun:test";
import { join } from "node:path";
import { etcdTree } from "../../src/testing/etcd.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testLab } from "../../src/testing/lab.ts";
import { kernelTest, testWith } from "../../src/testing/needs.ts";
import { plainEnv } from "../../src/testing/run.ts";

const heddle = heddleOfFile();
const etcd = await etcdTree();

describe("heddle lab up --provider flannel", () => {
  kernelTest("three hosts and their containers reach one another in less than 15 seconds", async () => {
    const began = performance.now();
    await using lab = await testLab(heddle, "--provider", "flannel");
    const { failed, all } = await lab.ping();
    expect(failed).toEqual([]);
    // Everyone of six reaches the five others and what is outside.
    expect(all).toHaveLength(6 * 6);
    expect(performance.now() - began).toBeLessThan(15_000);
    const { hosts } = await lab.status();
    expect(hosts.flatMap((h) => h.programs.map((p) => `${h.name} ${p.name} ${p.state}`))).toEqual([
      "host1 agent running",
      "host2 agent running",
      "host3 agent running",
    ]);
    expect((await lab.exec("host1", ["heddle", "agent", "status"])).stdout).toContain("host1");
  });

  kernelTest("both families, subnets with a router between them, and another backend go too", async () => {
    await using lab = await testLab(
      heddle,
      ...["--provider", "flannel", "--ip", "dual", "--underlay", "routed", "--hosts", "3"],
    );
    expect((await lab.ping()).failed).toEqual([]);
    await using near = await testLab(heddle, "--provider", "flannel", "--backend", "host-gw", "--hosts", "2");
    expect((await near.ping()).failed).toEqual([]);
    expect((await near.exec("host1", ["ip", "route"])).stdout).toContain("via 192.168.1.12");
  });

  kernelTest(
    "an agent that is killed leaves the data path, and is started again, stopped and continued",
    async () => {
      await using lab = await testLab(heddle, "--provider", "flannel", "--hosts", "2");
      await lab.command(["fault", "kill", "host1", "agent"]);
      expect((await lab.status()).hosts[0]?.programs[0]?.state).toBe("ended");
      expect((await lab.ping()).failed).toEqual([]);
      await lab.command(["fault", "start", "host1", "agent"]);
      const twice = await lab.command(["fault", "start", "host1", "agent"], { mustSucceed: false });
      expect(twice.stderr).toContain('"agent" runs in host1 already');
      expect((await lab.status()).hosts[0]?.programs[0]?.state).toBe("running");
      expect((await lab.ping()).failed).toEqual([]);
      await lab.command(["fault", "stop", "host2", "agent"]);
      expect((await lab.status()).hosts[1]?.programs[0]?.state).toBe("stopped");
      await lab.command(["fault", "cont", "host2", "agent"]);
      expect((await lab.status()).hosts[1]?.programs[0]?.state).toBe("running");
    },
  );

  testWith({ root: true, feature: etcd === undefined ? "needs etcd" : true })(
    "on etcd in the router",
    async () => {
      const PATH = `${join(etcd ?? "", "usr/bin")}:${plainEnv["PATH"] ?? ""}`;
      await using lab = await testLab(
        { heddle, env: { ...plainEnv, PATH } },
        ...["--provider", "flannel", "--store", "etcd", "--hosts", "2"],
      );
      expect((await lab.ping()).failed).toEqual([]);
      await lab.command(["fault", "stop", "router", "etcd"]);
      expect((await lab.status()).routerPrograms).toMatchObject([{ name: "etcd", state: "stopped" }]);
      expect((await lab.ping()).failed).toEqual([]);
      await lab.command(["fault", "cont", "router", "etcd"]);
    },
  );
});
