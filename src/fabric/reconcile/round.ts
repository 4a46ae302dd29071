/** One round of a reconciliation: what is tried, what becomes of it, and the report. */
import { NetError } from "../../errors.ts";
import type { Request } from "../../netlink/message.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import type { Attempts } from "./attempts.ts";
import type { Notes } from "./links.ts";
import type { Change, Failure, ObjectKind, ObjectName, Report } from "./report.ts";
import type { Plan, Put, Table } from "./table.ts";

/** Sends requests of one kind of objects. */
export type Batch = NetlinkSocket["batch"];

export interface Round extends Notes {
  refused(name: ObjectName, error: NetError): void;
  /** Sends what the plan adds. Returns true if the kernel was not as it was known, so that it has to be listed. */
  put(batch: Batch, table: Table, plan: Plan<unknown>): boolean;
  remove(batch: Batch, table: Table, plan: Plan<unknown>): void;
  report(full: boolean): Report;
}

export const nameOf = ({ object, key }: ObjectName): string => `${object} ${key}`;

/** What the kernel says if something is there or gone that was not known. */
const surprises: readonly string[] = ["EEXIST", "ENODEV"];

/** `settled` has the names of links, parameters and addresses that were as they should be before. */
export function makeRound(attempts: Attempts, settled: Set<string>): Round {
  const changes: Change[] = [];
  const failures: Failure[] = [];
  let waiting = 0;

  const refused = (name: ObjectName, error: NetError): void => {
    failures.push({ ...name, error });
    attempts.failed(nameOf(name));
  };
  const note = (name: ObjectName, action: Change["action"]): void => {
    changes.push({ object: name.object, key: name.key, action });
    if (action === "repaired") attempts.repaired(nameOf(name));
    else if (!attempts.isClear) attempts.succeeded(nameOf(name));
  };

  return {
    refused,
    attempt(name, work) {
      const text = nameOf(name);
      if (!attempts.may(text)) {
        waiting++;
        return undefined;
      }
      try {
        const value = work();
        settled.add(text);
        attempts.succeeded(text);
        return value;
      } catch (e) {
        if (!(e instanceof NetError)) throw e;
        settled.delete(text);
        refused(name, e);
        return undefined;
      }
    },
    changed(name, action) {
      const again = settled.has(nameOf(name)) && (action === "added" || action === "replaced");
      note(name, again ? "repaired" : action);
    },
    waits: () => void waiting++,
    put(batch, table, plan) {
      waiting += plan.waiting;
      return sendPuts(batch, table, plan, refused, note);
    },
    remove(batch, table, { removals }) {
      const answers = batch(removals.map(({ request }) => request));
      removals.forEach(({ key }, i) => {
        const error = answers.get(i);
        const name = { object: table.object, key };
        if (error !== undefined && !table.isGone(error)) return refused(name, error);
        table.removed(key);
        // It went by itself, with its link for example.
        if (error === undefined) note(name, "removed");
      });
    },
    report(full) {
      const fights = attempts.fights().map(({ name, repairs }) => {
        const space = name.indexOf(" ");
        return { object: name.slice(0, space) as ObjectKind, key: name.slice(space + 1), repairs };
      });
      const retryInMs = attempts.wait();
      return { full, changes, failures, fights, waiting, ...(retryInMs === undefined ? {} : { retryInMs }) };
    },
  };
}

function sendPuts(
  batch: Batch,
  table: Table,
  { puts }: Plan<unknown>,
  refused: Round["refused"],
  note: Notes["changed"],
): boolean {
  const { object } = table;
  const sent: Put<unknown>[] = [];
  const requests: Request[] = [];
  for (const one of puts)
    if (one.request instanceof NetError) refused({ object, key: one.key }, one.request);
    else {
      sent.push(one);
      requests.push(one.request);
    }
  const answers = batch(requests);
  let surprised = false;
  sent.forEach(({ key, built, action }, i) => {
    const error = answers.get(i);
    if (error === undefined) {
      table.put(key, built);
      note({ object, key }, action);
    } else {
      surprised ||= surprises.includes(error.detail.errno);
      refused({ object, key }, error);
    }
  });
  return surprised;
}
