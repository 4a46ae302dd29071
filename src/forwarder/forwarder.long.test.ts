/** What takes a while: half a minute of hand-overs under numbered datagrams, and how long a death lasts. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../testing/executable.ts";
import { heddleHosts } from "../testing/forwarder-lab.ts";
import { countDatagrams } from "../testing/loads.ts";
import { kernelTest } from "../testing/needs.ts";
import { patience } from "../testing/slowdown.ts";

const heddle = heddleOfFile();

describe("a forwarder under 5,000 datagrams a second", () => {
  kernelTest(
    "is replaced twenty times in half a minute, and no datagram is missing",
    async () => {
      await using stack = new AsyncDisposableStack();
      const [a, b] = await heddleHosts(stack, { heddle: [heddle.path], count: 2 });
      const { seen, sent } = await countDatagrams(a, b, { rate: 5000, seconds: 30 }, async () => {
        for (let i = 0; i < 10; i++) for (const host of [a, b]) await host.forward("--take-over");
      });
      expect([seen, sent]).toEqual([150_000, 150_000]);
      const [sender, receiver] = await Promise.all([a.status(), b.status()]);
      for (const { dropRefused, dropCongested, dropMalformed } of [sender.sent, receiver.received])
        expect([dropRefused, dropCongested, dropMalformed]).toEqual([0, 0, 0]);
    },
    patience(120_000),
  );

  kernelTest(
    "that is killed and started again is away for at most 200 ms",
    async () => {
      await using stack = new AsyncDisposableStack();
      const [a, b] = await heddleHosts(stack, { heddle: [heddle.path], count: 2 });
      const gaps: number[] = [];
      for (let i = 0; i < 5; i++) {
        const { gapMs } = await countDatagrams(a, b, { rate: 5000, seconds: 2 }, async () => {
          const { running } = a;
          running?.kill("SIGKILL");
          await running?.exited;
          await a.forward();
        });
        gaps.push(gapMs);
      }
      // The median: one of them may have met another program's busy moment.
      expect(gaps.toSorted((x, y) => x - y)[2]).toBeLessThan(patience(200));
    },
    patience(120_000),
  );
});
