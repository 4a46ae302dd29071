import { type Entry, showPort } from "../ps/entry.ts";
import { explanation } from "../ps/table.ts";
import { printable } from "../terminal.ts";

/** What came, went or changed between two looks at a host, and how that is said. Pure. */
export interface Change {
  /** When it was seen, ISO 8601 in UTC. */
  readonly at: string;
  /** `present`: it was there when the watch began. `changed`: another state, reason for it, address or port. */
  readonly event: "present" | "attached" | "changed" | "detached";
  /** The state before; null for what is new. */
  readonly before: Entry["state"] | null;
  /** As `heddle ps --json` has it; of what is detached, as it was last. */
  readonly attachment: Entry;
}

export type Known = ReadonlyMap<string, Entry>;

export interface Looked {
  readonly known: Known;
  readonly changes: readonly Change[];
}

/** Compares a look with what is known. Nothing is said of what is being worked on: how it ends is another look's. */
export function compareLooks(known: Known, now: readonly Entry[], at: string): Looked {
  const next = new Map<string, Entry>();
  const changes: Change[] = [];
  const tell = (event: Change["event"], before: Entry | undefined, attachment: Entry): void =>
    void changes.push({ at, event, before: before?.state ?? null, attachment });
  for (const entry of now) {
    const before = known.get(entry.key);
    const after = entry.state === "busy" ? before : entry;
    if (after === undefined) continue;
    next.set(entry.key, after);
    if (before === undefined) tell("attached", undefined, after);
    else if (before.since !== null && after.since !== null && before.since !== after.since) {
      // It went and came again between two looks.
      tell("detached", before, before);
      tell("attached", undefined, after);
    } else if (said(before) !== said(after)) tell("changed", before, after);
  }
  for (const [key, entry] of known) if (!now.some((e) => e.key === key)) tell("detached", entry, entry);
  return { known: next, changes };
}

/** The first look: everything is there already. */
export function firstLook(now: readonly Entry[], at: string): Looked {
  const { known, changes } = compareLooks(new Map(), now, at);
  return { known, changes: changes.map((c) => ({ ...c, event: "present" as const })) };
}

const given = (e: Entry): string => [...e.addresses, ...e.ports.map(showPort)].join(", ");
const condition = (e: Entry): string => [e.state, explanation(e)].filter((s) => s !== "").join(": ");
const said = (e: Entry): string => `${condition(e)} ${given(e)}`;

/** `12:00:07  attached  8decc2075e27  eth0 of web on mynet: 10.88.0.2/24, 8080->80/tcp`, with the time of day here. */
export function lineOf({ at, event, before, attachment: e }: Change): string {
  const time = new Date(at).toTimeString().slice(0, 8);
  const name = `${e.ifname ?? "an interface"} of ${e.containerId ?? "somebody"} on ${e.network ?? "some network"}`;
  const fine = e.state === "ok" && (before === null || before === "ok");
  const what = event === "detached" || fine ? given(e) : condition(e);
  return printable(`${time}  ${event.padEnd(8)}  ${e.key}  ${name}${what === "" ? "" : `: ${what}`}`);
}
