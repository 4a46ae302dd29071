import { bad, type Brand, good, type Parsed } from "./brand.ts";

/** A name that the kernel accepts for an interface (`dev_valid_name` in net/core/dev.c). */
export type IfName = Brand<string, "IfName">;

/** IFNAMSIZ without the closing zero (linux/if.h). */
export const IF_NAME_BYTES = 15;

const encoder = new TextEncoder();

/**
 * 1 to 15 bytes; not "." or ".."; without "/", ":", white space and "%". The kernel takes `eth%d` for a pattern and makes
 * a link of another name; `all` and `default` are directories of sysctls and refused by it.
 */
export function parseIfName(s: string): Parsed<IfName> {
  if (s === "") return bad("the interface name is empty");
  if (encoder.encode(s).length > IF_NAME_BYTES)
    return bad(`interface name "${s}" is longer than ${IF_NAME_BYTES} bytes`);
  if (s === "." || s === "..") return bad(`interface name "${s}" is a directory`);
  if (s === "all" || s === "default") return bad(`interface name "${s}" is reserved by the kernel`);
  if (/[/:%\0]/.test(s)) return bad(`interface name "${s}" contains "/", ":", "%" or a zero byte`);
  if (/\s|\u0085/u.test(s)) return bad(`interface name "${s}" contains white space`);
  return good(s as IfName);
}
