import { NetError } from "../../errors.ts";
import { addRule, listRules, removeRule, type RoutingRule } from "../../rtnl/rule.ts";
import type { ApplyContext, Context, KindOperations } from "../context.ts";
import type { RuleObject } from "../model.ts";
import { ROUTE_PROTOCOL } from "../owner.ts";
import { socketAt } from "../spaces.ts";

/** A routing rule. It hangs on no link: what it says and the number of who made it tell it from others. */
const ours = (o: RuleObject): RoutingRule => ({ ...o.rule, protocol: ROUTE_PROTOCOL });

function apply(o: RuleObject, context: ApplyContext): void {
  let added: boolean;
  try {
    added = addRule(socketAt(context.spaces, o.place), ours(o));
  } catch (cause) {
    // The request may have been served and only its answer lost.
    context.undo.defer(() => remove(o, context));
    throw cause;
  }
  const what = `rule ${o.rule.priority} to table ${o.rule.table}`;
  if (!added) throw new NetError("resource/exists", { what, where: `the ${o.place}` });
  context.undo.defer(() => remove(o, context));
}

function remove(o: RuleObject, context: Context): void {
  // The container's rules are gone with it.
  if (o.place === "host" || context.spaces.container) removeRule(socketAt(context.spaces, o.place), ours(o));
}

/** Whoever made it: another implementation's leads there as well. */
function verify(o: RuleObject, context: Context): void {
  const rules = listRules(socketAt(context.spaces, o.place), o.rule.family);
  const same = (r: RoutingRule): boolean =>
    r.action === undefined &&
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
