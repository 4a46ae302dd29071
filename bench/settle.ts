/**
 * A namespace goes after the last process in it, and the kernel takes its interfaces apart in the background, which slows
 * down whatever network configuration comes next. So the next case waits until the namespaces of the last are gone.
 */
import { readFileSync } from "node:fs";

const PATIENCE_MS = 20_000;
const LOOK_MS = 50;

/** How many network namespaces the kernel holds; undefined where it does not tell. */
function netnsCount(): number | undefined {
  try {
    const count = /^net_namespace\s+(\d+)/m.exec(readFileSync("/proc/slabinfo", "utf8"))?.[1];
    return count === undefined ? undefined : Number(count);
  } catch {
    return undefined;
  }
}

const before = netnsCount();

/** Waits until there are no more namespaces than at the start, at most twenty seconds. */
export async function settle(): Promise<void> {
  if (before === undefined) return;
  const deadline = performance.now() + PATIENCE_MS;
  while ((netnsCount() ?? 0) > before && performance.now() < deadline) await Bun.sleep(LOOK_MS);
}
