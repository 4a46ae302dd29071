/** Wakes a reconciler's owner when somebody changed what the fabric has in the kernel. */
import { watchNetlink } from "../../netlink/events.ts";
import { openRaw } from "../../netlink/socket.ts";
import type { Fd } from "../../sys/fd.ts";
import type { Reconciler } from "./reconciler.ts";

/** RTMGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE (linux/rtnetlink.h). */
const GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;
const RECEIVE_BYTES = 4 * 1024 * 1024;
/** Events that wait before they become a list; a reconciler's own changes come back as events, thousands when it begins. */
const QUEUE_LENGTH = 16_384;

/** The descriptor that `watchKernel` listens on; a test calls this in a namespace that it entered. */
export const openEvents = (): Fd => openRaw("route", GROUPS, RECEIVE_BYTES);

/**
 * Tells the reconciler what the kernel says, until it is disposed, and calls `wake` whenever there is something to
 * reconcile: at first at once. `failed` hears why no more events come; then only the owner's own clock is left.
 * @throws NetError `sys/call` if the events cannot be subscribed to
 */
export async function watchKernel(
  reconciler: Pick<Reconciler, "touch" | "relist">,
  { wake, failed }: { readonly wake: () => void; readonly failed: (reason: unknown) => void },
  open: () => Fd = openEvents,
): Promise<AsyncDisposable> {
  const options = { protocol: "route", groups: GROUPS, name: "the fabric's links and routes" } as const;
  const watch = await watchNetlink({ ...options, queueLength: QUEUE_LENGTH }, open);
  const follow = async (): Promise<void> => {
    for await (const event of watch) {
      if (event.kind === "relist") reconciler.relist();
      else if (!reconciler.touch(event.messages)) continue;
      wake();
    }
  };
  const following = follow().catch(failed);
  return {
    [Symbol.asyncDispose]: async () => {
      await watch[Symbol.asyncDispose]();
      await following;
    },
  };
}
