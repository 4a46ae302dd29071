/** Runs situations in a lab of three hosts that is made for the first of them and goes after the last. */
import { afterAll, describe } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { KernelFeature } from "../../src/testing/features.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { describeWith, onKernelWith, testWith } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";
import type { Backend, IpChoice } from "./backends.ts";
import { type Fabric, makeFabric } from "./fabric.ts";
import type { Situation } from "./situations.ts";

/** What a lab takes to be made, and to be gone. */
const LAB_LIMIT_MS = 60_000;
/** A limit that is not multiplied without end where everything is slow. */
const MOST_MS = 900_000;

/** The tests where this kernel has the features, or in the virtual machine. */
function where(needs: readonly KernelFeature[], tests: () => void): void {
  if (needs.length > 0) onKernelWith(needs, tests);
  else describeWith({ root: true, programs: ["ip", "nft"] })("[any kernel]", tests);
}

const LAST_CHARACTERS = 2_000;

/** What the programs of the lab have said last. */
function logsOf({ lab: { paths } }: Fabric): string {
  const logs = [...new Bun.Glob("*/proc/*.log").scanSync(paths.dir)].toSorted();
  return logs
    .map((name) => `--- ${name}\n${readFileSync(join(paths.dir, name), "utf8").slice(-LAST_CHARACTERS)}`)
    .join("\n");
}

export interface Suite {
  readonly heddle: HeddleBinary;
  readonly backend: Backend;
  readonly ip: IpChoice;
  /** Where etcd was unpacked, if the hosts shall have it. */
  readonly etcd?: string | undefined;
  readonly situations: readonly Situation[];
}

export function describeLab({ heddle, backend, ip, etcd, situations }: Suite): void {
  const underlay = ip === "dual" ? "IPv4 and IPv6" : `IPv${ip}`;
  where(backend.needs, () =>
    describe(`three hosts over ${backend.name}, ${underlay}`, () => {
      let made: Promise<Fabric> | undefined;
      const fabric = (): Promise<Fabric> => (made ??= makeFabric(heddle, backend, ip, etcd));
      // One that could not be made has failed the tests already, and left nothing.
      const there = async (): Promise<Fabric | undefined> => made?.catch(() => undefined);
      afterAll(async () => (await there())?.[Symbol.asyncDispose](), patience(LAB_LIMIT_MS, MOST_MS));
      for (const { title, limitMs, run, etcd: needsEtcd } of situations)
        testWith(needsEtcd === true && etcd === undefined ? { feature: "needs etcd" } : {})(
          title,
          async () => {
            const own = await fabric();
            try {
              await run(own);
            } catch (e) {
              console.warn(logsOf(own));
              // What it has left half done is not the next one's trouble.
              made = undefined;
              await own[Symbol.asyncDispose]();
              throw e;
            }
          },
          patience(LAB_LIMIT_MS + limitMs, MOST_MS),
        );
    }),
  );
}
