import type { KindOperations } from "../context.ts";
import type { FirewallObject } from "../model.ts";

export const firewall: KindOperations<FirewallObject> = {
  apply({ state }, context) {
    const backend = context.firewall(state.backend);
    context.undo.defer(() => backend.remove(context.mark, state));
    backend.apply(state, context.mark, context.alive);
  },
  verify: ({ state }, context) => context.firewall(state.backend).verify(state, context.mark),
  remove: ({ state }, context) => context.firewall(state.backend).remove(context.mark, state),
};
