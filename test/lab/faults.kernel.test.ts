import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { testLab } from "../../src/testing/lab.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

const heddle = heddleOfFile();
/** Where silence is what is expected, it is not listened to for long. */
const QUICK = ["--timeout", "300"];

describe("heddle lab fault", () => {
  kernelTest("a host that is cut off is reached by nobody until it is healed", async () => {
    await using lab = await testLab(heddle, "--hosts", "3");
    await lab.command(["fault", "cut", "host2"]);
    const { code, failed } = await lab.ping(...QUICK);
    expect(code).toBe(1);
    expect(failed.toSorted()).toEqual([
      "host1 192.168.1.12",
      "host2 192.168.1.11",
      "host2 192.168.1.13",
      "host2 198.51.100.1",
      "host2/c1 198.51.100.1",
      "host3 192.168.1.12",
    ]);
    const { stdout } = await lab.command(["status"]);
    expect(stdout).toContain("! host2 is cut off");
    expect(stdout).toContain("eth0 CUT");
    await lab.command(["fault", "heal"]);
    expect((await lab.ping()).failed).toEqual([]);
  });

  kernelTest(
    "a partition parts its two sides in every family, across subnets and within one, and nobody else",
    async () => {
      await using lab = await testLab(
        heddle,
        ...["--hosts", "3", "--underlay", "routed", "--ip", "dual", "--containers", "0"],
      );
      // What comes next is not about neighbours alone, which are known by then.
      expect((await lab.ping()).failed).toEqual([]);
      await lab.command(["fault", "partition", "host1", "host2,host3"]);
      const { all } = await lab.ping(...QUICK);
      const pairs = all.filter((p) => p.received > 0).map((p) => `${p.from} ${p.to}`);
      expect([...new Set(pairs)].toSorted()).toEqual([
        "host1 outside",
        "host2 host3",
        "host2 outside",
        "host3 host2",
        "host3 outside",
      ]);
      // A partition goes with a host that moves.
      await lab.command(["fault", "move-address", "host3"]);
      expect((await lab.ping(...QUICK)).code).toBe(1);
      await lab.command(["fault", "heal", "host1"]);
      expect((await lab.ping()).failed).toEqual([]);
    },
  );

  kernelTest("a host that moves has other addresses, its routes, and is found at once", async () => {
    await using lab = await testLab(heddle, "--hosts", "2", "--ip", "dual", "--containers", "0");
    const { stdout } = await lab.command(["fault", "move-address", "host2"]);
    expect(stdout).toBe("192.168.1.211/24\nfd00:0:0:1::211/64\n");
    const { failed, all } = await lab.ping();
    expect(failed).toEqual([]);
    expect(all.map((p) => p.address)).toContain("192.168.1.211");
    const again = await lab.command(["fault", "move-address", "--json", "host1"]);
    expect(JSON.parse(again.stdout)).toEqual({ addresses: ["192.168.1.212/24", "fd00:0:0:1::212/64"] });
  });

  kernelTest("faults that mean nothing are refused and change nothing", async () => {
    await using lab = await testLab(heddle, "--hosts", "2", "--containers", "0");
    for (const words of [
      ["cut", "host3"],
      ["partition", "host1", "host1"],
      ["kill", "host1", "agent"],
      ["move-address", "router"],
    ])
      expect((await lab.command(["fault", ...words], { mustSucceed: false })).code).toBe(2);
    expect((await lab.status()).faults).toEqual([]);
  });

  if (!kernelHas("netem"))
    kernelTest("a kernel that cannot delay says so, and nothing is kept of it", async () => {
      await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
      const { code, stderr } = await lab.command(["fault", "delay", "host1", "50"], { mustSucceed: false });
      expect(code).toBe(1);
      expect(stderr).toContain(
        "delay and loss on a link is not available: needs a kernel with the qdisc netem",
      );
      expect((await lab.status()).faults).toEqual([]);
    });
});

kernelTest("heddle lab capture writes what tcpdump reads", async () => {
  await using lab = await testLab(heddle, "--hosts", "2", "--containers", "0");
  using dir = tempDir();
  const file = dir.in("host1.pcap");
  const capture = async (...words: readonly string[]) => {
    const argv = [heddle.path, "lab", "capture", "--name", lab.name, ...words, "host1", "eth0", file];
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    // It says so when it is ready.
    const { value } = await child.stderr.getReader().read();
    expect(new TextDecoder().decode(value)).toContain("capturing eth0 of host1");
    await lab.ping();
    return child;
  };
  const packets = async () => (await run(["tcpdump", "-nn", "-r", file])).stdout.trim().split("\n");
  const untilTold = await capture();
  untilTold.kill("SIGINT");
  expect(await untilTold.exited).toBe(0);
  const all = await packets();
  // Two of each to host2 and to the outside, and two that came from host2.
  expect(all.filter((line) => line.includes("ICMP echo request"))).toHaveLength(6);
  expect(all.filter((line) => line.includes("192.168.1.12 > 192.168.1.11: ICMP echo reply"))).toHaveLength(2);
  expect(await (await capture("--count", "3")).exited).toBe(0);
  expect(await packets()).toHaveLength(3);
  const none = await lab.command(["capture", "host1", "eth9", file], { mustSucceed: false });
  expect(none.stderr).toContain('there is no link "eth9" in host1');
});
