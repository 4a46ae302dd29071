/**
 * A crowd: many containers attached and detached by many processes at once. No address is ever given to two, and nothing
 * is left.
 */
import { cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { manyNetns } from "../../src/testing/netns.ts";
import { difference } from "../faults/loop.ts";
import type { Json } from "../plugins/list-site.ts";
import { add, type Chain, check, type Container, del, type Network } from "./chains.ts";
import { linksOfHost } from "./host.ts";
import type { Result } from "./plugins.ts";

export interface Crowd {
  readonly containers: number;
  /** How many calls go on at the same time. */
  readonly parallel: number;
  /** One in so many is detached and attached again before all are there, and one in so many is checked then. */
  readonly oneIn: number;
  /** No container is begun after so many milliseconds. */
  readonly limitMs: number;
}

/** Does it all. Returns what is wrong, a line each, and how many containers there were at once. */
export async function faultsOfCrowd(
  heddle: HeddleBinary,
  chain: Chain,
  { containers, parallel, oneIn, limitMs }: Crowd,
): Promise<{ readonly faults: readonly string[]; readonly attached: number }> {
  await using host = await cniHost(heddle);
  await using namespaces = await manyNetns(containers);
  await linksOfHost(host, chain, containers);
  const on: Network = { host, chain, size: containers };
  const crowd: readonly Container[] = namespaces.all.map((netns, nth) => ({ netns, nth }));
  // Once before, for what is shared and stays.
  for (const first of crowd.slice(0, 1)) await del(on, first, await add(on, first));
  const before = await host.snapshot();
  const deadline = performance.now() + limitMs;
  const results = new Map<Container, Result>();
  const holders = addressBook();
  const attach = async (of: Container): Promise<void> => {
    try {
      const result = await add(on, of);
      holders.take(of, result);
      results.set(of, result);
    } catch (e) {
      await del(on, of);
      throw e;
    }
  };
  const detach = async (of: Container, result: Result, bare: boolean): Promise<void> => {
    // While DEL is at work the address may be another's already.
    holders.giveBack(of);
    results.delete(of);
    await del(on, of, bare ? undefined : result);
  };
  const faults = holders.faults;
  faults.push(
    ...(await atOnce(parallel, crowd, async (of) => {
      if (performance.now() > deadline) return;
      await attach(of);
      const result = results.get(of);
      if (result === undefined || of.nth % oneIn !== 0) return;
      await detach(of, result, of.nth % 2 === 0);
      await attach(of);
    })),
  );
  const all = [...results];
  const some = all.filter(([{ nth }]) => nth % oneIn === 0);
  faults.push(...(await atOnce(parallel, some, ([of, result]) => check(on, of, result))));
  faults.push(...(await atOnce(parallel, all, ([of, result]) => detach(of, result, of.nth % 2 === 0))));
  faults.push(...difference(before, await host.snapshot()));
  faults.push(...(await atOnce(parallel, crowd, (of) => requireEmpty(of))));
  return { faults, attached: all.length };
}

/** Who has which address now. */
function addressBook() {
  const holders = new Map<string, Container>();
  const faults: string[] = [];
  return {
    faults,
    take(of: Container, result: Result): void {
      for (const address of addressesOf(result)) {
        const other = holders.get(address);
        if (other !== undefined)
          faults.push(`${address} was given to ${of.netns.name} and to ${other.netns.name}`);
        holders.set(address, of);
      }
    },
    giveBack(of: Container): void {
      for (const [address, holder] of holders) if (holder === of) holders.delete(address);
    },
  };
}

const addressesOf = (result: Result): readonly string[] =>
  ((result["ips"] ?? []) as readonly Json[]).map((ip) => String(ip["address"]));

/** Only the loopback is in the container, and no rule but the kernel's. */
async function requireEmpty({ netns }: Container): Promise<void> {
  const look = ["link show", "address show scope global", "rule show", "route show"].join("\n");
  const { stdout } = await netns.exec(["ip", "-oneline", "-batch", "-"], { stdin: `${look}\n` });
  const left = stdout.split("\n").filter((line) => line !== "" && !STAYS.test(line));
  if (left.length > 0) throw new Error(`left in ${netns.name}: ${left.join("; ")}`);
}
/** The kernel makes its rule for VRFs with the first one, and never removes it. */
const STAYS = /^1: lo: |^(0|32766|32767):|^1000:\tfrom all lookup \[l3mdev-table\]/;

/** Runs `work` for each item, so many at a time. Returns the words of those that failed, the first few. */
export async function atOnce<T>(
  parallel: number,
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<readonly string[]> {
  const queue = [...items];
  const failures: string[] = [];
  const lane = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift())
      try {
        await work(item);
      } catch (e) {
        failures.push((e as Error).message);
      }
  };
  await Promise.all(Array.from({ length: parallel }, lane));
  return failures.length > MOST
    ? [...failures.slice(0, MOST), `and ${failures.length - MOST} more`]
    : failures;
}
/** More would say the same again. */
const MOST = 8;
