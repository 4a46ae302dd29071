/**
 * What this executable tells the system's journal of a call that it served: that it failed, or that it took long. A runtime
 * shows the error to nobody but its caller, and swallows standard error. Loaded only when there is something to tell.
 */
import { NetError } from "../errors.ts";
import { attachmentKey } from "./attachments.ts";
import { sendToJournal } from "../sys/journal.ts";
import { errnoBehind, errorText } from "./errors.ts";
import type { Env } from "./host.ts";
import { whyDenied } from "./rights.ts";

export interface ToldCall {
  readonly plugin: string;
  readonly verb?: string | undefined;
  /** Whom it was about, as far as that was understood. */
  readonly network?: string | undefined;
  readonly containerId?: string | undefined;
  readonly ifname?: string | undefined;
  readonly tookMs: number;
  readonly failure?: ToldFailure | undefined;
}

/** What went wrong: a sentence, the code of the error, the name of the kernel's. */
export interface ToldFailure {
  readonly why: string;
  readonly step?: string | undefined;
  readonly errno?: string | undefined;
}

/** Priorities of syslog(3). */
const ERROR = 3;
const WARNING = 4;

/** What is told of something that was thrown. */
export const failureToTell = (e: unknown): ToldFailure => ({
  why: [errorText(e), whyDenied(e)].filter((sentence) => sentence !== undefined).join("; "),
  step: e instanceof NetError ? e.code : undefined,
  errno: errnoBehind(e),
});

/** @param env of this process */
export function tellJournal(call: ToldCall, env: Env): void {
  // One of several hosts that are played on this machine, whose journal is not theirs.
  if (env["HEDDLE_RUN_DIR"] !== undefined) return;
  const { plugin, verb, network, containerId, ifname, tookMs, failure } = call;
  const about = [network, containerId, ifname].filter((word) => word !== undefined).join(" ");
  const key =
    network === undefined || containerId === undefined || ifname === undefined
      ? undefined
      : attachmentKey({ network, containerId, ifname });
  sendToJournal({
    MESSAGE: `${plugin} ${verb ?? ""} ${about}: ${failure?.why ?? `took ${(tookMs / 1e3).toFixed(1)} s`}`,
    PRIORITY: failure === undefined ? WARNING : ERROR,
    SYSLOG_IDENTIFIER: "heddle",
    HEDDLE_KEY: key,
    HEDDLE_PLUGIN: plugin,
    HEDDLE_VERB: verb,
    HEDDLE_NETWORK: network,
    HEDDLE_CONTAINER_ID: containerId,
    HEDDLE_IFNAME: ifname,
    HEDDLE_STEP: failure?.step,
    HEDDLE_ERRNO: failure?.errno,
    HEDDLE_DURATION_MS: Math.round(tookMs),
  });
}
