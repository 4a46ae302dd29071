/** What the kernel tells of by itself, sorted by what the agent has to look at because of it. */
import { watchKernel } from "../fabric/reconcile/events.ts";
import type { Reconciler } from "../fabric/reconcile/reconciler.ts";
import { type NetlinkWatch, watchNetlink } from "../netlink/events.ts";
import type { Message } from "../netlink/message.ts";
import { decodeRoute } from "../rtnl/route.ts";

/** NFNLGRP_NFTABLES (linux/netfilter/nfnetlink_compat.h): group n is bit n - 1. */
const NFTABLES_GROUPS = 1 << (7 - 1);

/** RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR; RTM_NEWROUTE, RTM_DELROUTE (linux/rtnetlink.h). */
const OF_HOST: readonly number[] = [16, 17, 20, 21];
const OF_ROUTES: readonly number[] = [24, 25];

export interface KernelWatchSetup {
  readonly reconciler: Pick<Reconciler, "touch" | "relist">;
  /** Protocol number of the fabric's own routes: they say nothing about the host. */
  readonly routeProtocol: number;
  readonly tell: (what: "objects" | "host" | "rules") => void;
  /** The kernel cannot be listened to any more: what happens is noticed at the next full list only. */
  readonly failed: (why: unknown) => void;
}

/** Listens until disposed. @throws sys/call if there is no such socket */
export async function watchHost(setup: KernelWatchSetup): Promise<AsyncDisposable> {
  const { reconciler, routeProtocol, tell, failed } = setup;
  await using stack = new AsyncDisposableStack();
  const hears: KernelWatchSetup["reconciler"] = {
    touch: (messages) => {
      if (messages.some((message) => isOfHost(message, routeProtocol))) tell("host");
      return reconciler.touch(messages);
    },
    relist: () => {
      tell("host");
      reconciler.relist();
    },
  };
  stack.use(await watchKernel(hears, { wake: () => tell("objects"), failed }));
  const rules = await watchRules();
  if (rules !== undefined) {
    stack.use(rules);
    void followRules(rules, tell).catch(failed);
  }
  return stack.move();
}

function isOfHost(message: Message, routeProtocol: number): boolean {
  if (OF_HOST.includes(message.type)) return true;
  return OF_ROUTES.includes(message.type) && decodeRoute(message).protocol !== routeProtocol;
}

/** A kernel without nftables has nothing to tell of them. */
async function watchRules(): Promise<NetlinkWatch | undefined> {
  try {
    return await watchNetlink({ protocol: "netfilter", groups: NFTABLES_GROUPS, name: "nftables" });
  } catch {
    return undefined;
  }
}

async function followRules(watch: NetlinkWatch, tell: KernelWatchSetup["tell"]): Promise<void> {
  for await (const _ of watch) tell("rules");
}
