/** What an agent over WireGuard says of a key that it cannot use, and of a kernel that cannot. */
import { describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { agentHosts, type AgentHost, PREFIX } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { kernelTest, whyNot } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";

const heddle = heddleOfFile();
const oneHost = () =>
  agentHosts({
    heddle: heddle.path,
    count: 1,
    network: { Network: "10.244.0.0/16", Backend: { Type: "wireguard" } },
  });

const isRoot = whyNot({ root: true, programs: ["ip", "unshare"] }) === undefined;

describe("an agent over wireguard", () => {
  kernelTest("tells what is wrong with its key, leaves it alone, and goes on when it is right", async () => {
    await using made = await oneHost();
    const [one] = made.hosts as readonly [AgentHost];
    const key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    writeFileSync(one.keyFile, key);
    chmodSync(one.keyFile, 0o644);
    one.start();
    const { failing } = await one.until("refusing", (s) => s.failing.some(({ job }) => job === "host"));
    expect(failing[0]?.why).toContain(`${one.keyFile}: others than its owner may use it (mode 0644)`);
    expect(readFileSync(one.keyFile, "utf8")).toBe(key);
    chmodSync(one.keyFile, 0o400);
    const { failing: still, lease } = await one.until("with a subnet", ({ lease: l }) => l.held);
    expect([still.map(({ job }) => job), lease.held]).toEqual([[], true]);
    const { entries } = await made.store.kv.list(`${PREFIX}/subnets/`);
    expect(entries.map(({ value }) => value).join("")).toMatch(
      /"BackendType":"wireguard","BackendData":\{"PublicKey":"[A-Za-z0-9+/]{43}=","Port":51820\}/,
    );
    const said = `${await one.ask("status", "--json")}${await one.ask("events", "--json")}`;
    expect(said).not.toContain(key.slice(0, 12));
  });

  test.skipIf(!isRoot || kernelHas("wireguard"))(
    "on a kernel that has none says so in its status",
    async () => {
      await using made = await oneHost();
      const [one] = made.hosts as readonly [AgentHost];
      one.start();
      const { kernel } = await one.until("refused", (s) => s.kernel.problems.length > 0);
      expect(kernel.problems).toEqual([
        {
          what: "link flannel-wg",
          why: "the kind wireguard of links is not available: needs the kernel's module wireguard (modprobe wireguard)",
        },
      ]);
    },
    patience(30_000),
  );
});
