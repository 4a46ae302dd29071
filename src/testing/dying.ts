/** The kernel takes a namespace apart when it has time; tests that look at what is left have to wait for it. */
import type { CniHost } from "./cni-host.ts";
import { patience } from "./slowdown.ts";

const LIMIT_MS = 20_000;
const LOOK_MS = 20;

/** The names of the pairs' ends that are in the host. */
export async function pairEnds(host: CniHost): Promise<readonly string[]> {
  const { stdout } = await host.exec(["ip", "-brief", "link", "show", "type", "veth"]);
  return stdout.match(/^[^@\s]+/gm) ?? [];
}

/** Waits until the host has no other ends of pairs than these. Whoever waits in vain sees them in its next snapshot. */
export async function untilOnly(host: CniHost, known: readonly string[] = []): Promise<void> {
  const deadline = performance.now() + patience(LIMIT_MS);
  while ((await pairEnds(host)).some((name) => !known.includes(name)) && performance.now() < deadline)
    await Bun.sleep(LOOK_MS);
}
