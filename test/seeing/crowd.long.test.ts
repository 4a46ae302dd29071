/** `heddle ps` on a host with many attachments. */
import { expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { manyNetns } from "../../src/testing/netns.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { seeingSite } from "./site.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "iptables", "nsenter", "unshare"] });

const COUNT = 200;
/** Measured: one second, beside other work. */
const LIMIT_MS = 5_000;

for (const network of ["plain", "tables"])
  hostTest(
    `heddle ps looks at ${COUNT} attachments of the network ${network} in a few seconds`,
    async () => {
      await using site = await seeingSite(heddle);
      await using crowd = await manyNetns(COUNT);
      for (const [i, to] of crowd.all.entries())
        await site.attach(network, {
          to,
          ports: [{ hostPort: 10_000 + i, containerPort: 80, protocol: "tcp" }],
        });
      const started = performance.now();
      const entries = await site.json<readonly { readonly state: string }[]>("ps");
      const took = performance.now() - started;
      expect([entries.length, new Set(entries.map((e) => e.state))]).toEqual([COUNT, new Set(["ok"])]);
      expect(took).toBeLessThan(patience(LIMIT_MS));
    },
    patience(180_000),
  );
