/** Programs of eBPF on links that no other interface shows: asked with bpf(2) (linux/bpf.h). None is loaded here. */
import { tryCall } from "./libc.ts";

/** __NR_bpf. */
const NUMBER = process.arch === "arm64" ? 280 : 321;
const BPF_PROG_QUERY = 16;
/** BPF_TCX_INGRESS and _EGRESS. */
const points = { received: 46, sent: 47 } as const;
/** The part of `union bpf_attr` that a query has; the number of programs comes back in it. */
const ATTR_BYTES = 64;
const COUNT_AT = 24;

/**
 * How many programs see what the link receives or sends beside the filters of tc (`tcx`, Linux 6.6), in the namespace that
 * this thread is in. A kernel without such programs has none; undefined: who asks may not know.
 */
export function countLinkPrograms(link: number, point: keyof typeof points): number | undefined {
  const attr = new Uint8Array(new ArrayBuffer(ATTR_BYTES));
  const view = new DataView(attr.buffer);
  view.setUint32(0, link, true);
  view.setUint32(4, points[point], true);
  const result = tryCall((libc) => Number(libc.syscall(NUMBER, BPF_PROG_QUERY, attr, ATTR_BYTES)));
  if (typeof result !== "string") return view.getUint32(COUNT_AT, true);
  return result === "EPERM" || result === "EACCES" ? undefined : 0;
}
