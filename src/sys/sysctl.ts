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

/**
 * True if the kernel shows a value that was written as `wanted` in this way: it puts tabs between the numbers of a list,
 * and shows in tens what was written with 0x or with a leading 0.
 */
export function sameSysctlValue(found: string | undefined, wanted: string): boolean {
  if (found === wanted) return true;
  if (found === undefined || (found.length === 1 && wanted.length === 1)) return false;
  const [a, b] = [wordsOf(found), wordsOf(wanted)];
  return a.length === b.length && a.every((word, i) => word === b[i] || sameNumber(word, b[i] ?? ""));
}

const wordsOf = (value: string): readonly string[] => value.split(/\s+/).filter((word) => word !== "");

const sameNumber = (a: string, b: string): boolean => {
  const x = numberOf(a);
  return x !== undefined && x === numberOf(b);
};

/** As the kernel reads one (lib/kstrtox.c, base 0). */
function numberOf(word: string): bigint | undefined {
  const [, sign, digits = ""] = /^(-?)(0x[0-9a-f]+|[0-9]+)$/i.exec(word) ?? [];
  if (sign === undefined) return undefined;
  if (/^0[0-9]+$/.test(digits) && /[89]/.test(digits)) return undefined;
  const magnitude = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return sign === "-" ? -magnitude : magnitude;
}
