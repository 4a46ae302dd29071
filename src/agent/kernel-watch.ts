/** What the kernel tells of by itself, sorted by what the agent has to look at because of it. */
import { watchKernel } from "../fabric/reconcile/events.ts";
import type { Reconciler } from "../fabric/reconcile/reconciler.ts";
import { watchNetlink } from "../netlink/events.ts";
import type { Message } from "../netlink/message.ts";
import { decodeRoute } from "../rtnl/route.ts";
import { errnoOf } from "../sys/files.ts";
import { keepListening } from "./listening.ts";
import type { KernelNews } from "./model.ts";

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
  /**
   * Undefined: these are heard from now on. Otherwise why they are not; they are listened to anew, and until then what
   * happens is noticed at the next look only.
   */
  readonly heard: (what: KernelNews, why: unknown) => void;
}

/** Listens until disposed, whatever fails meanwhile. */
export function watchHost({ reconciler, routeProtocol, tell, heard }: KernelWatchSetup): AsyncDisposable {
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
  const stack = new AsyncDisposableStack();
  stack.use(
    keepListening({
      open: (failed) => watchKernel(hears, { wake: () => tell("objects"), failed }),
      tell: (why) => heard("objects", why),
    }),
  );
  stack.use(
    keepListening({ open: (failed) => watchRules(tell, failed), tell: (why) => heard("rules", why) }),
  );
  return stack;
}

function isOfHost(message: Message, routeProtocol: number): boolean {
  if (OF_HOST.includes(message.type)) return true;
  return OF_ROUTES.includes(message.type) && decodeRoute(message).protocol !== routeProtocol;
}

/** A kernel without netfilter's messages has nothing to tell of rules. */
async function watchRules(
  tell: KernelWatchSetup["tell"],
  failed: (why: unknown) => void,
): Promise<AsyncDisposable | undefined> {
  const watch = await unlessErrnoOf("EPROTONOSUPPORT", () =>
    watchNetlink({ protocol: "netfilter", groups: NFTABLES_GROUPS, name: "nftables" }),
  );
  if (watch === undefined) return undefined;
  const follow = async (): Promise<void> => {
    for await (const _ of watch) tell("rules");
  };
  void follow().catch(failed);
  return watch;
}

async function unlessErrnoOf<T>(errno: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (e) {
    if (errnoOf(e) === errno) return undefined;
    throw e;
  }
}
