import { O, putText, readText, unlessErrno } from "./files.ts";

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
export const readSysctl = (key: string): string | undefined =>
  unlessErrno(["ENOENT", "EINVAL"], () => readText(pathOf(key)).trimEnd());

export const writeSysctl = (key: string, value: string): void => putText(pathOf(key), value, O.WRONLY);

/** As `writeSysctl`; false if there is no such parameter: a kernel that was started without IPv6 has none of its. */
export const tryWriteSysctl = (key: string, value: string): boolean =>
  unlessErrno(["ENOENT"], () => (writeSysctl(key, value), true)) ?? false;
