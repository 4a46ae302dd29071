import { readFileSync, writeFileSync } from "node:fs";

/**
 * Kernel parameters below /proc/sys, of the network namespace that this thread is in. A key is a path with slashes
 * (`net/ipv4/conf/eth0.5/forwarding`), since interface names may contain dots.
 */
const pathOf = (key: string): string => {
  if (key.split("/").some((part) => part === "" || part === "." || part === ".."))
    throw new RangeError(`sysctl ${key}`);
  return `/proc/sys/${key}`;
};

/** The value without its line end, or undefined if the kernel has no such parameter. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(pathOf(key), "utf8").trimEnd();
  } catch (e) {
    if (["ENOENT", "EINVAL"].includes((e as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw e;
  }
}

export const writeSysctl = (key: string, value: string): void =>
  writeFileSync(pathOf(key), value, { flag: "r+" });

/** As `writeSysctl`; false if there is no such parameter: a kernel that was started without IPv6 has none of its. */
export function tryWriteSysctl(key: string, value: string): boolean {
  try {
    writeSysctl(key, value);
    return true;
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw e;
  }
}
