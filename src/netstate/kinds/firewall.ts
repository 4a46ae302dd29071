/** The rules of an attachment in the host's firewall, and the tracked flows that they make wrong by coming or going. */
import type { Context, KindOperations } from "../context.ts";
import { trackedMappings } from "../firewalls.ts";
import type { FirewallObject } from "../model.ts";

function remove({ state }: FirewallObject, { firewalls, mark }: Context): void {
  firewalls.open(state.backend).remove(mark, state);
  for (const mapping of trackedMappings(state)) firewalls.flush(mapping, "removed");
}

export const firewall: KindOperations<FirewallObject> = {
  apply(object, context) {
    const { state } = object;
    context.undo.defer(() => remove(object, context));
    const { firewalls, mark, alive } = context;
    firewalls.withHostPorts(state, mark, alive, () =>
      firewalls.open(state.backend).apply(state, mark, alive),
    );
    for (const mapping of trackedMappings(state)) context.firewalls.flush(mapping, "added");
  },
  verify: ({ state }, { firewalls, mark }) => firewalls.open(state.backend).verify(state, mark),
  remove,
};
