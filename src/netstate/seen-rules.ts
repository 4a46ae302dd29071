import { isNetError } from "../errors.ts";
import { mayHaveChains } from "../firewall/iptables-probe.ts";
import type { Run } from "../firewall/iptables-run.ts";
import { seeIptables } from "../firewall/iptables-seen.ts";
import type { Mark } from "../firewall/model.ts";
import { seeNftables } from "../firewall/nftables-seen.ts";
import type { SeenRule } from "../firewall/seen.ts";
import { type Family, hostPrefix } from "../net/ip.ts";
import { openRuleSet } from "../nft/available.ts";
import { livingOwner } from "./alive.ts";
import type { ComparedFirewalls } from "./compare-firewalls.ts";
import { backendsOf } from "./health.ts";
import type { FirewallObject } from "./model.ts";
import { markOf } from "./owner.ts";
import type { AttachmentRecord } from "./record.ts";

/** Every rule that the kernel has under these marks, in each firewall; of firewalld, what the records say and it confirms. */
export function seeRules(
  records: readonly AttachmentRecord[],
  marks: ReadonlySet<Mark>,
  comparing: ComparedFirewalls,
): readonly SeenRule[] {
  using socket = openRuleSet();
  const backends = backendsOf(records);
  const withIptables = ([4, 6] as const).filter((f) => backends.has("iptables") || mayHaveChains(f));
  return [
    ...(socket === undefined ? [] : seeNftables(socket, marks)),
    ...withIptables.flatMap((family) => seeOrNone(comparing.list, family, marks)),
    ...records.flatMap((r) =>
      (r.state?.objects ?? []).flatMap((o) =>
        o.kind === "firewall" && o.state.backend === "firewalld"
          ? seeZone(o, markOf(r.owner), comparing)
          : [],
      ),
    ),
  ];
}

/** Programs of a family that do not work list nothing: what the records miss is told with the health. */
function seeOrNone(run: Run, family: Family, marks: ReadonlySet<Mark>): readonly SeenRule[] {
  try {
    return seeIptables(run, family, marks);
  } catch (e) {
    if (isNetError(e, "program/failed") || isNetError(e, "try-again")) return [];
    throw e;
  }
}

/** A source of a zone has no place for an owner. */
function seeZone(
  { state }: FirewallObject,
  mark: Mark,
  { firewalls }: ComparedFirewalls,
): readonly SeenRule[] {
  return state.rules.flatMap((rule): SeenRule[] => {
    if (rule.kind !== "accept-forward" || !confirms({ ...state, rules: [rule] }, mark, firewalls)) return [];
    return [
      {
        backend: "firewalld",
        mark,
        where: `zone ${state.firewalldZone ?? "trusted"}`,
        text: `source ${hostPrefix(rule.address).text}`,
        via: ["FORWARD"],
        leadsTo: [],
      },
    ];
  });
}

function confirms(
  state: FirewallObject["state"],
  mark: Mark,
  firewalls: ComparedFirewalls["firewalls"],
): boolean {
  try {
    firewalls.open("firewalld").verify(state, mark, livingOwner);
    return true;
  } catch (e) {
    if (isNetError(e, "check/differs") || isNetError(e, "program/failed") || isNetError(e, "config/invalid"))
      return false;
    throw e;
  }
}
