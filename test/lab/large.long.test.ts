import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testLab } from "../../src/testing/lab.ts";
import { kernelTest, kernelTestWith } from "../../src/testing/needs.ts";
import { diceOf, seed } from "../../src/testing/seed.ts";
import { killAndRemove } from "./kills.ts";

const heddle = heddleOfFile();

describe("a large lab", () => {
  kernelTest(
    "of twelve hosts with two containers each is there, pinged and gone in a minute",
    async () => {
      const began = performance.now();
      {
        await using lab = await testLab(heddle, "--hosts", "12", "--containers", "2", "--underlay", "routed");
        const { failed, all } = await lab.ping();
        expect(failed).toEqual([]);
        expect(all).toHaveLength(12 * 11 + 12 * 6 + 36);
      }
      expect(performance.now() - began).toBeLessThan(60_000);
    },
    120_000,
  );

  kernelTest(
    "of twelve hosts joined by Flannel is there in a minute, and everyone of 36 reaches everyone",
    async () => {
      const began = performance.now();
      await using lab = await testLab(
        heddle,
        ...[
          "--hosts",
          "12",
          "--containers",
          "2",
          "--provider",
          "flannel",
          "--ip",
          "dual",
          "--underlay",
          "routed",
        ],
      );
      const { failed, all } = await lab.ping();
      expect(failed).toEqual([]);
      expect(all).toHaveLength(2 * 36 * 36);
      expect(performance.now() - began).toBeLessThan(60_000);
    },
    120_000,
  );

  kernelTest(
    "leaves nothing, whenever its making is killed",
    async () => {
      const below = diceOf(seed, "kills of labs");
      for (let i = 0; i < 100; i++)
        expect(await killAndRemove(heddle, below(700))).toMatchObject({ left: [] });
    },
    300_000,
  );
});

kernelTestWith("netem")(
  "what is sent to a host is delayed and lost as asked",
  async () => {
    await using lab = await testLab(heddle, "--hosts", "2", "--containers", "0");
    await lab.command(["fault", "delay", "host1", "300"]);
    const { all } = await lab.ping();
    // There, or back: each way between the two meets host1's port once.
    const own = all.filter((p) => p.from === "host1" || p.to === "host1");
    expect(own).toHaveLength(3);
    for (const { ms } of own) expect(ms).toBeGreaterThan(295);
    await lab.command(["fault", "loss", "host1", "100"]);
    const lost = await lab.command(["ping", "--count", "1", "--timeout", "500"], { mustSucceed: false });
    expect(lost.code).toBe(1);
    await lab.command(["fault", "heal"]);
    expect((await lab.ping()).failed).toEqual([]);
  },
  120_000,
);
