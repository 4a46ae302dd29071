/** What containers must not leave on a ground. What they share (a bridge, chains, `ip_forward`) stays and is not named. */
import { expect } from "bun:test";
import { patience } from "../../src/testing/slowdown.ts";
import type { Ground } from "./ground.ts";

/**
 * Files of records, reservations and caches; namespaces; ends of pairs but the uplink's; devices and queues that shape;
 * elements of sets that name an attachment.
 */
const OWNED = /^file |^namespace |: link (?!up0 )\S+ (?:veth|ifb) |: qdisc |comment "heddle-\w+-/;
const LIMIT_MS = 10_000;

/** The lines of a ground's snapshot that belong to a container. */
export const owned = async (on: Ground): Promise<readonly string[]> =>
  (await on.snapshot()).filter((line) => OWNED.test(line));

/** Fails with what is left of containers, once the kernel has had time to take their namespaces apart. */
export async function nothingLeft(on: Ground): Promise<void> {
  const deadline = performance.now() + patience(LIMIT_MS);
  while ((await owned(on)).length > 0 && performance.now() < deadline) await Bun.sleep(20);
  expect(await owned(on)).toEqual([]);
}
