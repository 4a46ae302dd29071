/** What this process may do: the capabilities (capabilities(7)) that a network needs, and whether it is in a user namespace. */
import { readText, unlessErrno } from "./files.ts";

/** Bits of `CapEff` (linux/capability.h). */
const bits = { CAP_DAC_OVERRIDE: 1, CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21 } as const;
export type Capability = keyof typeof bits;

/** Those that this process does not have; none if that cannot be told. */
export function missingCapabilities(): readonly Capability[] {
  const status = unlessErrno(["ENOENT", "EACCES"], () => readText("/proc/self/status"));
  const effective = /^CapEff:\s*([0-9a-f]{16})$/m.exec(status ?? "")?.[1];
  if (effective === undefined) return [];
  const set = BigInt(`0x${effective}`);
  return (Object.keys(bits) as Capability[]).filter((name) => ((set >> BigInt(bits[name])) & 1n) === 0n);
}

/** The number of the user of this process as the machine knows it, if its namespace of users is one below the machine's. */
export function userOutside(): number | undefined {
  const inside = process.geteuid?.();
  const map = unlessErrno(["ENOENT", "EACCES"], () => readText("/proc/self/uid_map"));
  for (const line of map?.trim().split("\n") ?? []) {
    const [first = 0, outside = 0, count = 0] = line.trim().split(/\s+/).map(Number);
    if (inside !== undefined && inside >= first && inside < first + count) return inside - first + outside;
  }
  return inside;
}

/** True unless every user of this process is one of the machine's own (user_namespaces(7)). */
export function inUserNamespace(): boolean {
  const map = unlessErrno(["ENOENT", "EACCES"], () => readText("/proc/self/uid_map"));
  return map !== undefined && map.trim().split(/\s+/).join(" ") !== "0 0 4294967295";
}
