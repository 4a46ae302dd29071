/**
 * Errors as the specification wants them: a number, a sentence and details. Every code of ours has exactly one
 * number; those of the specification are used where they fit, ours begin at 101.
 */
import { type ErrorCode, NetError } from "../errors.ts";
import { whyDenied } from "./rights.ts";
import type { Version } from "./version.ts";

/** The number of an error that has no code: a fault of the program or of a library. */
export const INTERNAL = 999;
/** The number by which a plugin says that the attachment exists and lives. A runtime must not roll back then. */
export const ATTACHMENT_LIVE = 101;
/** The code of an IPAM plugin of ours whose address is reserved already. */
export const ADDRESS_TAKEN = 108;

const number = {
  "version/incompatible": 1,
  "version/conversion": 1,
  "config/unsupported": 2,
  "container/unknown": 3,
  "env/invalid": 4,
  "usage/invalid": 4,
  "sys/call": 5,
  "decode/malformed": 6,
  "config/invalid": 7,
  "config/not-found": 7,
  "prev-result/invalid": 7,
  "netns/invalid": 8,
  "netlink/overrun": 11,
  "netlink/interrupted": 11,
  "store/unavailable": 11,
  "store/compacted": 11,
  "try-again": 11,
  "status/unavailable": 50,
  "status/limited": 51,
  "attachment/live": ATTACHMENT_LIVE,
  "port/taken": 102,
  "check/differs": 103,
  "resource/exists": 104,
  "netlink/refused": 105,
  "plugin/not-found": 106,
  "ipam/exhausted": 107,
  "ipam/taken": ADDRESS_TAKEN,
  "program/failed": 109,
  "feature/missing": 110,
  "store/denied": 111,
  "plugin/failed": INTERNAL,
} as const satisfies Record<ErrorCode, number>;

/** The error object of the specification, its keys in the order in which they are printed. */
export interface ErrorJson {
  readonly cniVersion: Version;
  readonly code: number;
  readonly msg: string;
  /** Left out when there is nothing to add: another plugin that failed may have said no more. */
  readonly details?: string;
}

/** What went wrong first: a teardown that failed in several places counts as its first failure. */
function leading(e: unknown): unknown {
  if (!(e instanceof AggregateError)) return e;
  const inner: readonly unknown[] = e.errors;
  return leading(inner.find((x) => x instanceof NetError || x instanceof AggregateError) ?? inner[0]);
}

/** The number of an error. A delegate that failed keeps its own. */
export function cniCode(e: unknown): number {
  const first = leading(e);
  if (!(first instanceof NetError)) return INTERNAL;
  const code: ErrorCode = first.code;
  return first.is("plugin/failed") ? first.detail.code : number[code];
}

const leaves = (e: unknown): readonly unknown[] =>
  e instanceof AggregateError && e.errors.length > 0 ? e.errors.flatMap(leaves) : [e];

/** The sentence of an error; of several, each sentence once. */
export const errorText = (e: unknown): string =>
  [...new Set(leaves(e).map((leaf) => (leaf instanceof Error ? leaf.message : String(leaf))))].join("; ");

/** How far causes are followed; they may go in a circle. */
const DEPTH = 8;

/** The name of the kernel's error that is behind a failure, if one is. */
export function errnoBehind(e: unknown, depth = 0): string | undefined {
  const first = leading(e);
  if (!(first instanceof NetError) || depth > DEPTH) return undefined;
  if (first.is("sys/call") || first.is("netlink/refused")) return first.detail.errno;
  return errnoBehind(first.cause, depth + 1);
}

function detailsOf(e: unknown): string {
  const first = leading(e);
  if (!(first instanceof NetError)) return first instanceof Error ? first.name : "";
  if (first.is("plugin/failed")) return first.detail.details;
  if (first.is("version/incompatible"))
    return `config is "${first.detail.wanted}", plugin supports [${first.detail.supported.join(" ")}]`;
  const causes: string[] = [];
  for (let c = first.cause, n = 0; c !== undefined && n < DEPTH; n++) {
    causes.push(errorText(c));
    c = c instanceof Error ? c.cause : undefined;
  }
  return [`${first.code} ${JSON.stringify(first.detail)}`, ...causes].join("; caused by ");
}

/** The object that a failing plugin prints on standard output. */
export function toErrorJson(e: unknown, cniVersion: Version): ErrorJson {
  const details = detailsOf(e);
  const msg = [errorText(e), whyDenied(e)].filter((sentence) => sentence !== undefined).join("; ");
  return { cniVersion, code: cniCode(e), msg, ...(details === "" ? {} : { details }) };
}
