import type { Family } from "../net/ip.ts";
import type { ForwardDrop } from "./foreign.ts";
import { FORWARD_MANAGERS } from "./iptables-names.ts";
import { type Run, save, variant } from "./iptables-run.ts";
import { parseSave } from "./iptables-save.ts";

/** Whether the chain FORWARD drops, where the older programs keep their tables: netlink does not see them. */
export const legacyDrops = (run: Run, family: Family): boolean =>
  savedDrops(save(variant(run, "legacy"), family, "filter") ?? "");

/**
 * The same, told from the text that iptables-save prints of table `filter`; true also if it is kept by a program that
 * makes it drop whenever it starts.
 */
export function savedDrops(text: string): boolean {
  const table = parseSave(text).get("filter");
  if (table === undefined) return false;
  return FORWARD_MANAGERS.some((name) => table.has(name)) || forwardDropIn(text) !== undefined;
}

/** How FORWARD of table `filter` drops what no rule of it accepts, in a text of iptables-save with any tables. */
export function forwardDropIn(text: string): ForwardDrop["by"] | undefined {
  const begin = text.startsWith("*filter\n") ? 0 : text.indexOf("\n*filter\n");
  if (begin < 0) return undefined;
  const end = text.indexOf("\nCOMMIT", begin);
  const filter = text.slice(begin, end < 0 ? undefined : end);
  if (filter.includes("\n:FORWARD DROP ")) return "policy";
  const last = parseSave(filter).get("filter")?.get("FORWARD")?.at(-1);
  if (last?.target !== "DROP" && last?.target !== "REJECT") return undefined;
  const [first, module, option, , target] = last.words;
  const everything =
    first === "-j" || (first === "-m" && module === "comment" && option === "--comment" && target === "-j");
  return everything ? "last rule" : undefined;
}
