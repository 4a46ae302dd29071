/** Chains beside those of IP: of links (netdev), of bridges and of ARP. */
import { runBase, summary } from "../../nft/eval/evaluate.ts";
import { host32 } from "../../nft/eval/bits.ts";
import type { BaseChain, HookName } from "../../nft/eval/rule-set.ts";
import type { Environment } from "../../nft/eval/state.ts";
import type { Link } from "../../rtnl/link.ts";
import { applySummary, basesAt, type Skb } from "./hooks.ts";
import { type Path, withPassage } from "./journey.ts";
import type { Space } from "./realm.ts";

/** NFPROTO_*. */
const nfproto = { netdev: 5, bridge: 7, arp: 3 } as const;

const asInterface = (l: Link): { readonly index: number; readonly name: string } => ({
  index: l.index,
  name: l.name,
});

/** The frame behind the chains of a link. */
export function passDevice(space: Space, link: Link, hook: "ingress" | "egress", path: Path): Path {
  const bases = basesAt(space.rules(), hook, ["netdev", "inet"]).filter((b) =>
    b.devices?.includes(link.name),
  );
  const side = hook === "ingress" ? { iif: asInterface(link) } : { oif: asInterface(link) };
  return passAll(space, bases, { hook, nfproto: nfproto.netdev, ...side }, path);
}

export interface BridgeHook {
  readonly hook: Extract<HookName, "prerouting" | "input" | "forward" | "output" | "postrouting">;
  readonly bridge: Link;
  readonly iif?: Link;
  readonly oif?: Link;
}

export function passBridge(space: Space, { hook, bridge, iif, oif }: BridgeHook, path: Path): Path {
  const environment = {
    hook,
    nfproto: nfproto.bridge,
    ...(iif ? { iif: asInterface(iif) } : {}),
    ...(oif ? { oif: asInterface(oif) } : {}),
    bridge: { ...(iif ? { in: bridge.name } : {}), ...(oif ? { out: bridge.name } : {}) },
    ct: "unknown" as const,
  };
  return passAll(space, basesAt(space.rules(), hook, ["bridge"]), environment, path);
}

export function passArp(space: Space, link: Link, hook: "input" | "output", path: Path): Path {
  const side = hook === "input" ? { iif: asInterface(link) } : { oif: asInterface(link) };
  return passAll(space, basesAt(space.rules(), hook, ["arp"]), { hook, nfproto: nfproto.arp, ...side }, path);
}

function passAll(
  space: Space,
  bases: readonly BaseChain[],
  environment: Omit<Environment, "fib">,
  path: Path,
): Path {
  const rules = space.rules();
  let on = path;
  for (const base of rules ? bases : []) {
    const { skb }: { skb: Skb } = on;
    const state = { packet: skb.packet, mark: skb.mark, ctMark: host32(0), untracked: false, doubts: [] };
    const endings = runBase(rules as NonNullable<typeof rules>, base, state, {
      ...environment,
      fib: () => undefined,
    });
    const passed = applySummary(space, summary(endings), skb);
    on = withPassage(on, space, passed);
  }
  return on;
}
