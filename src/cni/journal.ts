/**
 * What a plugin's process tells the system's journal: that it failed, or that it took long. A runtime shows the error object
 * to nobody but its caller, and swallows standard error. Loaded only when there is something to tell.
 */
import { NetError } from "../errors.ts";
import { attachmentKey } from "./attachments.ts";
import { sendToJournal } from "../sys/journal.ts";
import { errorText } from "./errors.ts";
import type { Env } from "./host.ts";
import { whyDenied } from "./rights.ts";

export interface ToldCall {
  readonly plugin: string;
  readonly env: Env;
  /** The network's name, if the configuration was read so far. */
  readonly network?: string;
  readonly tookMs: number;
  readonly failure?: unknown;
}

/** Priorities of syslog(3). */
const ERROR = 3;
const WARNING = 4;

/** The name of the kernel's error that is behind a failure, if one is. */
function errnoOf(e: unknown, depth = 0): string | undefined {
  if (!(e instanceof NetError) || depth > 8) return undefined;
  if (e.is("sys/call") || e.is("netlink/refused")) return e.detail.errno;
  return errnoOf(e.cause, depth + 1);
}

export function tellJournal({ plugin, env, network, tookMs, failure }: ToldCall): void {
  // One of several hosts that are played on this machine, whose journal is not theirs.
  if (env["HEDDLE_RUN_DIR"] !== undefined) return;
  const verb = env["CNI_COMMAND"];
  const containerId = env["CNI_CONTAINERID"];
  const ifname = env["CNI_IFNAME"];
  const about = [network, containerId, ifname].filter((word) => word !== undefined).join(" ");
  const what =
    failure === undefined
      ? `took ${(tookMs / 1e3).toFixed(1)} s`
      : [errorText(failure), whyDenied(failure)].filter((sentence) => sentence !== undefined).join("; ");
  const key =
    network === undefined || containerId === undefined || ifname === undefined
      ? undefined
      : attachmentKey({ network, containerId, ifname });
  sendToJournal({
    MESSAGE: `${plugin} ${verb ?? ""} ${about}: ${what}`,
    PRIORITY: failure === undefined ? WARNING : ERROR,
    SYSLOG_IDENTIFIER: "heddle",
    HEDDLE_KEY: key,
    HEDDLE_PLUGIN: plugin,
    HEDDLE_VERB: verb,
    HEDDLE_NETWORK: network,
    HEDDLE_CONTAINER_ID: containerId,
    HEDDLE_IFNAME: ifname,
    HEDDLE_STEP: failure instanceof NetError ? failure.code : undefined,
    HEDDLE_ERRNO: errnoOf(failure),
    HEDDLE_DURATION_MS: Math.round(tookMs),
  });
}
