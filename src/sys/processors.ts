import { dlopen, FFIType } from "bun:ffi";
import { NetError } from "../errors.ts";
import { inLibc, tryCall } from "./libc.ts";

/** On which processors this thread may run (sched_setaffinity(2)). */

const openSymbols = () => {
  const number = FFIType.i64_fast;
  return inLibc((file) =>
    dlopen(file, {
      sched_getaffinity: { args: ["i32", number, "buffer"], returns: "i32" },
      sched_setaffinity: { args: ["i32", number, "buffer"], returns: "i32" },
    }),
  ).symbols;
};
let symbols: ReturnType<typeof openSymbols> | undefined;

/** A bit for each processor; the kernel's largest has 8192. */
const MASK_BYTES = 1024;

function ask(name: "sched_getaffinity" | "sched_setaffinity", mask: Uint8Array): void {
  const libc = (symbols ??= openSymbols());
  const failed = tryCall(() => libc[name](0, mask.length, mask));
  if (typeof failed === "string")
    throw new NetError("sys/call", { call: name, on: "this thread", errno: failed });
}

/** The processors that this thread may run on, in order. */
export function ownProcessors(): readonly number[] {
  const mask = new Uint8Array(new ArrayBuffer(MASK_BYTES));
  ask("sched_getaffinity", mask);
  return Array.from({ length: MASK_BYTES * 8 }, (_, i) => i).filter(
    (i) => ((mask[i >> 3] ?? 0) >> (i & 7)) & 1,
  );
}

/** From now on this thread runs on these alone. */
export function runOn(processors: readonly number[]): void {
  const mask = new Uint8Array(new ArrayBuffer(MASK_BYTES));
  for (const i of processors) mask[i >> 3] = (mask[i >> 3] ?? 0) | (1 << (i & 7));
  ask("sched_setaffinity", mask);
}
