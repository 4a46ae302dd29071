import type { Family } from "../net/ip.ts";
import { FORWARD_MANAGERS } from "./iptables-names.ts";
import { type Run, save, variant } from "./iptables-run.ts";
import { parseSave } from "./iptables-save.ts";

/** Whether the chain FORWARD drops, where the older programs keep their tables: netlink does not see them. */
export const legacyDrops = (run: Run, family: Family): boolean =>
  savedDrops(save(variant(run, "legacy"), family, "filter") ?? "");

/** The same, told from the text that iptables-save prints of table `filter`. */
export function savedDrops(text: string): boolean {
  const table = parseSave(text).get("filter");
  if (table === undefined) return false;
  if (text.includes("\n:FORWARD DROP ") || FORWARD_MANAGERS.some((name) => table.has(name))) return true;
  const last = table.get("FORWARD")?.at(-1);
  if (last?.target !== "DROP" && last?.target !== "REJECT") return false;
  const [first, module, option, , target] = last.words;
  return (
    first === "-j" || (first === "-m" && module === "comment" && option === "--comment" && target === "-j")
  );
}
