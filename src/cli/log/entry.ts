/** Entries of the journal as plugins write them (`cni/journal.ts`), and as lines for people. */
import { type Decode, integer, list, object, parsed, text, withDefault } from "../../cni/json.ts";
import type { Parsed } from "../../net/brand.ts";
import { printable } from "../terminal.ts";

/** With `--json` an entry is this; names stay, more may come. */
export interface LogEntry {
  /** When, as ISO 8601 with milliseconds, UTC. */
  readonly at: string;
  readonly level: "error" | "warning";
  readonly message: string;
  readonly key?: string;
  readonly plugin?: string;
  readonly verb?: string;
  readonly network?: string;
  readonly containerId?: string;
  readonly ifname?: string;
  /** The code of the error, as in docs/errors.md. */
  readonly step?: string;
  readonly errno?: string;
  readonly durationMs?: number;
}

const whole = (s: string): Parsed<number> =>
  /^\d{1,16}$/.test(s) ? { ok: true, value: Number(s) } : { ok: false, why: `"${s}" is not a number` };

const bytes = list(integer({ min: 0, max: 255 }));
/** What is not printable journalctl gives as a list of its bytes. */
const words: Decode<string> = (value, at) =>
  Array.isArray(value) ? new TextDecoder().decode(Uint8Array.from(bytes(value, at))) : text(value, at);

const fields = object({
  __REALTIME_TIMESTAMP: withDefault(parsed(whole), 0),
  PRIORITY: withDefault(parsed(whole), 3),
  MESSAGE: withDefault(words, ""),
  HEDDLE_KEY: words,
  HEDDLE_PLUGIN: words,
  HEDDLE_VERB: words,
  HEDDLE_NETWORK: words,
  HEDDLE_CONTAINER_ID: words,
  HEDDLE_IFNAME: words,
  HEDDLE_STEP: words,
  HEDDLE_ERRNO: words,
  HEDDLE_DURATION_MS: parsed(whole),
});

const MICROSECONDS = 1e3;
const ERROR = 3;

/** Throws `config/invalid` for an entry of somebody else under our name. */
export const logEntry: Decode<LogEntry> = (value, at) => {
  const f = fields(value, at);
  return {
    at: new Date(f.__REALTIME_TIMESTAMP / MICROSECONDS).toISOString(),
    level: f.PRIORITY <= ERROR ? "error" : "warning",
    message: f.MESSAGE,
    ...(f.HEDDLE_KEY === undefined ? {} : { key: f.HEDDLE_KEY }),
    ...(f.HEDDLE_PLUGIN === undefined ? {} : { plugin: f.HEDDLE_PLUGIN }),
    ...(f.HEDDLE_VERB === undefined ? {} : { verb: f.HEDDLE_VERB }),
    ...(f.HEDDLE_NETWORK === undefined ? {} : { network: f.HEDDLE_NETWORK }),
    ...(f.HEDDLE_CONTAINER_ID === undefined ? {} : { containerId: f.HEDDLE_CONTAINER_ID }),
    ...(f.HEDDLE_IFNAME === undefined ? {} : { ifname: f.HEDDLE_IFNAME }),
    ...(f.HEDDLE_STEP === undefined ? {} : { step: f.HEDDLE_STEP }),
    ...(f.HEDDLE_ERRNO === undefined ? {} : { errno: f.HEDDLE_ERRNO }),
    ...(f.HEDDLE_DURATION_MS === undefined ? {} : { durationMs: f.HEDDLE_DURATION_MS }),
  };
};

/** True if the attachment's key, or its container's id, begins so. */
export const concerns = ({ key, containerId }: LogEntry, beginning: string): boolean =>
  key?.startsWith(beginning) === true || containerId?.startsWith(beginning) === true;

export const linesOf = (entries: readonly LogEntry[]): string =>
  entries
    .map(({ at, level, key, message }) =>
      printable(`${at}  ${level.padEnd(7)}  ${key ?? "-".padEnd(12)}  ${message}`),
    )
    .join("\n");
