/** What to say when the kernel refused for lack of rights: which of them this process does not have. */
import { NetError } from "../errors.ts";
import { missingCapabilities } from "../sys/capabilities.ts";

const DENIED = /\b(?:EPERM|EACCES)\b/;

/** How far causes are followed; they may go in a circle. */
const DEPTH = 8;

function wasDenied(e: unknown, depth = 0): boolean {
  if (depth > DEPTH) return false;
  if (e instanceof AggregateError && e.errors.some((inner) => wasDenied(inner, depth + 1))) return true;
  // Another program's failure says nothing of our rights.
  if (!(e instanceof NetError) || e.is("plugin/failed")) return false;
  return DENIED.test(e.message) || wasDenied(e.cause, depth + 1);
}

/** A sentence for behind the error's own; undefined if the error has another reason, or this process may do everything. */
export function whyDenied(e: unknown): string | undefined {
  if (!wasDenied(e)) return undefined;
  const missing = missingCapabilities();
  return missing.length === 0 ? undefined : `this process lacks ${missing.join(", ")}: run it as root`;
}
