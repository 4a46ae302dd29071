/** flanneld's flags and variables as the settings of an agent. */
import { hostname } from "node:os";
import { type AgentSettings, DEFAULT_OWNER, DEFAULT_SOCKET } from "../../agent/settings.ts";
import { usage } from "../../providers/flannel/flags.ts";
import { type FlanneldOptions, parseFlanneld } from "../../providers/flannel/options.ts";
import { runAgentProcess } from "../agent/run.ts";
import { printExactly } from "../output.ts";
import { versionLine } from "../version.ts";

export async function runFlanneld(args: readonly string[]): Promise<void> {
  const call = parseFlanneld(args, process.env);
  if (call.kind === "help") return printExactly(usage("heddle flanneld"));
  if (call.kind === "version") return printExactly(`${versionLine()}\n`);
  return runAgentProcess(settingsOf(call.options, process.env), call.notes);
}

/** The socket may be elsewhere: flanneld has none, so that it has no flag. */
export function settingsOf(
  { health, verbosity, ...flannel }: FlanneldOptions,
  env: Readonly<Record<string, string | undefined>>,
): AgentSettings {
  const { store } = flannel;
  const node = store.kind === "kubernetes" && "name" in store.node ? store.node.name : hostname();
  return {
    node,
    owner: DEFAULT_OWNER,
    flannel,
    api: { socket: env["HEDDLE_AGENT_SOCKET"] ?? DEFAULT_SOCKET },
    ...(health === undefined ? {} : { http: health }),
    log: { format: "text", least: "info", changes: verbosity >= 1 },
  };
}
