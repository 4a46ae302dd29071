/** What this host tells the others of itself. Pure. */
import type { FabricNode } from "../fabric/model.ts";
import type { Announcement } from "../providers/flannel/registry.ts";
import type { AgentState, Host } from "./model.ts";
import { announcedByCommands } from "./commands/job.ts";
import { showPublics } from "./show.ts";

/** Undefined as long as something is not known that it is made of; that the nodes are among it is for `before`. */
export function announcementOf(state: AgentState): Announcement | undefined {
  const { config, host, nodes } = state;
  if (config === undefined || host === undefined || nodes === undefined) return undefined;
  const { network } = config;
  const before = state.self ?? ownEntry(state, host);
  const backend =
    network.commands === undefined
      ? network.transport.announce(host.facts, before)
      : announcedByCommands(network, state);
  return backend && { publics: host.publics, backend };
}

/** Two announcements with the same key say the same, under the same configuration. */
export function announcementKey(state: AgentState): string | undefined {
  const wanted = announcementOf(state);
  if (wanted === undefined || state.config === undefined) return undefined;
  return `${state.config.text}\n${showPublics(wanted.publics)} ${JSON.stringify(wanted.backend)}`;
}

/**
 * What an announcement is made of but for what was announced before: a transport draws a hardware address once, and then
 * keeps the one that it finds.
 */
export const announcementInputs = ({ config, host, commands: { said } }: AgentState): string =>
  `${config?.text ?? ""}\n${host?.key ?? ""}\n${said?.text ?? ""}`;

/**
 * What an earlier agent of this host has told, so that names and hardware addresses last. With a name the host is known by
 * that alone: what is announced as its address may be another one, and several nodes may be behind the same.
 */
function ownEntry({ nodes }: AgentState, { id, publics }: Host): FabricNode | undefined {
  const own = showPublics(publics);
  for (const node of nodes?.values() ?? [])
    if (!("why" in node) && (id === undefined ? showPublics(node.publics) === own : node.id === id))
      return node;
  return undefined;
}
