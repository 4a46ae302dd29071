/**
 * The text of a file store: one line a record, its checksum before it, so that a line that a dying writer cut short is
 * seen for what it is. The first line is a head, each other a step.
 */
import type { Head, LeaseState, Step } from "./file-image.ts";
import type { Entry } from "./kv.ts";
import { count, listOf, members, recordOf, words } from "./shape.ts";

const LF = 0x0a;
/** The checksum in hexadecimal and a space. */
const PREFIX = 9;

const checksum = (json: string | Uint8Array): string => Bun.hash.crc32(json).toString(16).padStart(8, "0");

export function lineOf(record: Head | Step): string {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}\n`;
}

export interface Lines {
  readonly records: readonly unknown[];
  /** How many bytes the whole lines take. */
  readonly used: number;
  /** True if a whole line stands behind one that is none: then it is no line that was cut short. */
  readonly isDamaged: boolean;
}

/** Reads whole lines up to the first that is none. */
export function readLines(bytes: Uint8Array): Lines {
  const records: unknown[] = [];
  let used = 0;
  let isBroken = false;
  for (let at = 0, end = bytes.indexOf(LF); end >= 0; at = end + 1, end = bytes.indexOf(LF, at)) {
    const record = recordIn(bytes.subarray(at, end));
    if (record === undefined) isBroken = true;
    else if (isBroken) return { records, used, isDamaged: true };
    else {
      records.push(record);
      used = end + 1;
    }
  }
  return { records, used, isDamaged: false };
}

function recordIn(line: Uint8Array): unknown {
  const json = line.subarray(PREFIX);
  const decoder = new TextDecoder();
  if (decoder.decode(line.subarray(0, PREFIX)) !== `${checksum(json)} `) return undefined;
  try {
    return JSON.parse(decoder.decode(json));
  } catch {
    return undefined;
  }
}

/** The head that a record is; undefined if it is none. */
export function asHead(record: unknown): Head | undefined {
  const m = members(record) ?? {};
  const [id, revision, floor] = [words(m["id"]), count(m["revision"]), count(m["floor"])];
  const entries = listOf(m["entries"], asEntry);
  const leases = recordOf(m["leases"], asLease);
  const history = listOf(m["history"], asStep);
  if (m["format"] !== 1 || id === undefined || revision === undefined || floor === undefined)
    return undefined;
  if (entries === undefined || leases === undefined || history === undefined) return undefined;
  return { format: 1, id, revision, floor, entries, leases, history };
}

/** The step that a record is; undefined if it is none. */
export function asStep(record: unknown): Step | undefined {
  const m = members(record) ?? {};
  const revision = count(m["revision"]);
  const put = m["put"] === undefined ? [] : listOf(m["put"], asPut);
  const gone = m["delete"] === undefined ? [] : listOf(m["delete"], words);
  const leases =
    m["leases"] === undefined
      ? {}
      : recordOf(m["leases"], (value) => (value === null ? null : asLease(value)));
  if (revision === undefined || put === undefined || gone === undefined || leases === undefined)
    return undefined;
  return {
    revision,
    ...(put.length === 0 ? {} : { put }),
    ...(gone.length === 0 ? {} : { delete: gone }),
    leases,
  };
}

type Put = NonNullable<Step["put"]>[number];

function asPut(value: unknown): Put | undefined {
  const m = members(value) ?? {};
  const [key, text, lease] = [words(m["key"]), words(m["value"]), words(m["lease"])];
  if (key === undefined || text === undefined) return undefined;
  return { key, value: text, ...(lease === undefined ? {} : { lease }) };
}

function asEntry(value: unknown): Entry | undefined {
  const put = asPut(value);
  const revision = count(members(value)?.["revision"]);
  return put === undefined || revision === undefined ? undefined : { ...put, revision };
}

function asLease(value: unknown): LeaseState | undefined {
  const m = members(value) ?? {};
  const [seconds, expires] = [count(m["seconds"]), count(m["expires"])];
  return seconds === undefined || expires === undefined ? undefined : { seconds, expires };
}
