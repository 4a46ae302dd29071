/** How people write and type things: names of kernel parameters, lists of names. */

/** A parameter as sysctl(8) prints it: dots between the parts, unless one of them has a dot. */
export const sysctlName = (key: string): string => (key.includes(".") ? key : key.replaceAll("/", "."));

/** The command that sets a parameter until the next boot. */
export const sysctlCommand = (key: string, value: string): string => `sysctl -w ${sysctlName(key)}=${value}`;

/** The first of them, and how many more. */
export function some(names: readonly string[], most = 5): string {
  const more = names.length - most;
  return more > 0 ? `${names.slice(0, most).join(", ")} and ${more} more` : names.join(", ");
}

/** `1 file`, `2 files`. */
export const plural = (n: number | bigint, word: string, many = `${word}s`): string =>
  `${n} ${BigInt(n) === 1n ? word : many}`;
