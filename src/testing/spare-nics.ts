/**
 * The two network devices that a virtual machine has to spare: PCI, driver `virtio_net`, on a wire of their own. Tests of
 * several files share them, one at a time.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { patience } from "./slowdown.ts";

/** Their MAC addresses, by which nobody takes a device of a real machine for one of them. */
export const SPARE_NICS = ["02:68:64:6c:00:01", "02:68:64:6c:00:02"] as const;

/** Made by whoever has them. It ends with the machine. */
const CLAIM = "/run/heddle-spare-nics";

export interface SpareNics extends Disposable {
  /** Their names in the machine's own network namespace. */
  readonly names: readonly [string, string];
}

/** The name that a network device of this namespace has by its MAC address; undefined if it is not here. */
const nicOf = (mac: string): string | undefined =>
  readdirSync("/sys/class/net").find((name) => {
    const path = `/sys/class/net/${name}/address`;
    return existsSync(path) && readFileSync(path, "utf8").trim() === mac;
  });

/** Whether this is a machine that has them, no matter where they are at the moment. */
export const hasSpareNics = (): boolean => existsSync(CLAIM) || SPARE_NICS.every((mac) => nicOf(mac));

/**
 * Waits until nobody else has them and both are back: a device returns a moment after its namespace has gone. Bind it
 * with `using`.
 */
export async function takeSpareNics(): Promise<SpareNics> {
  while (!claimed()) await Bun.sleep(20);
  const deadline = performance.now() + patience(2_000);
  for (;;) {
    const [one, two] = SPARE_NICS.map(nicOf);
    if (one !== undefined && two !== undefined)
      return { names: [one, two], [Symbol.dispose]: () => rmdirSync(CLAIM) };
    if (performance.now() > deadline) throw new Error("a spare network device is in a namespace that stays");
    await Bun.sleep(20);
  }
}

function claimed(): boolean {
  try {
    mkdirSync(CLAIM);
    return true;
  } catch (e) {
    if (existsSync(CLAIM)) return false;
    throw e;
  }
}
