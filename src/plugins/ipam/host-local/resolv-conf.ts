/** Reads `resolv.conf` (resolv.conf(5)) into what a result says about DNS. It opens no file. */
import type { Dns } from "../../../cni/result.ts";

/**
 * Lines `nameserver`, `domain`, `search` and `options`; of several `domain` lines the last counts, the others add up.
 * Comments (`#`, `;`), keywords without a value and unknown keywords are passed over.
 */
export function parseResolvConf(text: string): Dns {
  const nameservers: string[] = [];
  const search: string[] = [];
  const options: string[] = [];
  let domain: string | undefined;
  for (const line of text.split("\n").map((l) => l.trim())) {
    if (line.startsWith("#") || line.startsWith(";")) continue;
    const [keyword, first, ...more] = line.split(/\s+/);
    if (first === undefined) continue;
    if (keyword === "nameserver") nameservers.push(first);
    if (keyword === "domain") domain = first;
    if (keyword === "search") search.push(first, ...more);
    if (keyword === "options") options.push(first, ...more);
  }
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  };
}
