/** The rules of an attachment in the host's firewall, and the tracked flows that they make wrong by coming or going. */
import type { FirewallState } from "../../firewall/model.ts";
import type { Context, KindOperations, RemoveContext } from "../context.ts";
import { lockHostPorts, mapsPorts, trackedMappings } from "../firewalls.ts";
import type { FirewallObject } from "../model.ts";
import { addHeir, isBusy, peekRecord } from "../record.ts";

type Removing = Context & Pick<Partial<RemoveContext>, "log">;

/** Makes the rules. Who has a port of the same container is told, so that it leaves the port to this one. */
function put(state: FirewallState, mark: string, { firewalls, alive }: Context): void {
  for (const holder of firewalls.open(state.backend).apply(state, mark, alive))
    if (peekRecord(holder)?.heirs.includes(mark) === false) addHeir(holder, mark);
}

function remove({ state }: FirewallObject, context: Removing): void {
  const { firewalls, mark } = context;
  firewalls.open(state.backend).remove(mark, state);
  for (const mapping of trackedMappings(state)) firewalls.flush(mapping, "removed");
  if (mapsPorts(state)) leavePorts(state.backend, context);
}

/** Host ports that this attachment had go to those of the same container that want them, and live. */
function leavePorts(backend: FirewallState["backend"], context: Removing): void {
  // Whoever found the port taken by now has said so, and whoever looks later finds it free.
  using _lock = lockHostPorts();
  for (const heir of peekRecord(context.mark)?.heirs ?? []) {
    const record = peekRecord(heir);
    // What is on its way out must not come back.
    if (record === undefined || (record.committed && isBusy(record.owner)) || !context.alive(heir)) continue;
    for (const o of record.state?.objects ?? []) {
      if (o.kind !== "firewall" || o.state.backend !== backend || !mapsPorts(o.state)) continue;
      try {
        put(o.state, heir, context);
        for (const mapping of trackedMappings(o.state)) context.firewalls.flush(mapping, "added");
      } catch (e) {
        // Its own CHECK tells, and a reload puts it back: the removal is done.
        context.log?.(
          `a host port could not be left to the container's other network: ${(e as Error).message}`,
        );
      }
    }
  }
}

export const firewall: KindOperations<FirewallObject> = {
  apply(object, context) {
    const { state } = object;
    context.undo.defer(() => remove(object, context));
    const { firewalls, mark, alive } = context;
    firewalls.withHostPorts(state, mark, alive, () => put(state, mark, context));
    for (const mapping of trackedMappings(state)) firewalls.flush(mapping, "added");
  },
  verify: ({ state }, { firewalls, mark, alive }) => firewalls.open(state.backend).verify(state, mark, alive),
  remove,
};
