import { NetError } from "../../errors.ts";
import { addRule, listRules, removeRule, type RoutingRule } from "../../rtnl/rule.ts";
import type { ApplyContext, Context, KindOperations } from "../context.ts";
import type { RuleObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

/** The number by which rules of ours are told from all others (RTPROT_*); see docs/limits.md. */
const PROTOCOL = 72;

const ours = (o: RuleObject): RoutingRule => ({ ...o.rule, protocol: PROTOCOL });

function apply(o: RuleObject, context: ApplyContext): void {
  const what = `rule ${o.rule.priority} to table ${o.rule.table}`;
  if (!addRule(socketAt(context.spaces, o.place), ours(o)))
    throw new NetError("resource/exists", { what, where: `the ${o.place}` });
  context.undo.defer(() => remove(o, context));
}

function remove(o: RuleObject, context: Context): void {
  // The container's rules are gone with it.
  if (o.place === "host" || context.spaces.container) removeRule(socketAt(context.spaces, o.place), ours(o));
}

function verify(o: RuleObject, context: Context): void {
  const rules = listRules(socketAt(context.spaces, o.place), o.rule.family);
  const same = (r: RoutingRule): boolean =>
    r.protocol === PROTOCOL &&
    r.priority === o.rule.priority &&
    r.table === o.rule.table &&
    r.src?.text === o.rule.src?.text &&
    r.dst?.text === o.rule.dst?.text;
  if (!rules.some(same))
    throw new NetError("check/differs", {
      what: `rule ${o.rule.priority}`,
      wanted: `to table ${o.rule.table}`,
      found: "none",
    });
}

export const rule: KindOperations<RuleObject> = { apply, verify, remove };
