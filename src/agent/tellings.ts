/** What the agent tells people: a closed set of codes, each with its level. docs/agent.md explains every one of them. */

export const tellingLevels = {
  recalled: "info",
  "memory-failed": "warning",
  "config-loaded": "info",
  "config-refused": "error",
  "config-missing": "error",
  "store-unreachable": "warning",
  "store-back": "info",
  "address-changed": "warning",
  "host-unclear": "warning",
  "lease-acquired": "info",
  "lease-refused": "warning",
  "lease-lost": "error",
  "subnet-changed": "warning",
  "lease-released": "info",
  "nodes-listed": "info",
  "node-joined": "info",
  "node-changed": "info",
  "node-left": "info",
  "node-refused": "warning",
  "node-doubtful": "warning",
  "node-accepted": "info",
  "kernel-adopted": "info",
  "kernel-repaired": "warning",
  "kernel-fight": "error",
  "kernel-peace": "info",
  "kernel-failed": "error",
  "kernel-right": "info",
  "kernel-deaf": "error",
  "kernel-heard": "info",
  "carrier-lost": "error",
  "carrier-failed": "error",
  "carrier-right": "info",
  "command-failed": "error",
  "command-right": "info",
  "file-written": "info",
  "file-removed": "info",
  "file-failed": "error",
  "firewall-repaired": "warning",
  "firewall-failed": "error",
  "firewall-right": "info",
  "firewall-hindered": "warning",
  "firewall-free": "info",
  ready: "info",
  "not-ready": "warning",
  draining: "warning",
  drained: "info",
  stopping: "info",
} as const satisfies Record<string, Level>;

export type Level = "info" | "warning" | "error";
export type TellingCode = keyof typeof tellingLevels;

export interface Telling {
  readonly code: TellingCode;
  readonly text: string;
  /** The node that it is about, by its `id`. */
  readonly node?: string;
}

export const telling = (code: TellingCode, text: string, node?: string): Telling => ({
  code,
  text,
  ...(node === undefined ? {} : { node }),
});

/** Of many of one kind as many are told one by one; the others in one sentence. */
export const MOST_TOLD = 20;

/** At most `MOST_TOLD` of them, and how many more there are. */
export function bounded(all: readonly Telling[], what: string): readonly Telling[] {
  const [first] = all;
  if (first === undefined || all.length <= MOST_TOLD) return all;
  const rest = all.length - MOST_TOLD;
  return [...all.slice(0, MOST_TOLD), telling(first.code, `and ${rest} more ${what}`)];
}
