/**
 * The daemon, from what plugins ask to what is due. It knows of no socket and no process: tasks are run for it, time is
 * told to it, leases are stored for it.
 */
import { NetError } from "../errors.ts";
import { type DaemonSetup, leasesOf, openBook } from "./book.ts";
import { acquire, release, retain, viewOf } from "./obtain.ts";
import type { LeaseView, Request } from "./protocol.ts";
import { tick } from "./upkeep.ts";

export interface Daemon {
  /** Does what a plugin asks; rejects with what the plugin shall be told. `gone`: the plugin does not wait any more. */
  handle(this: void, request: Request, gone: AbortSignal): Promise<readonly LeaseView[]>;
  /** Begins what is due, without waiting for it, and returns when something is due next, in milliseconds from now. */
  tick(): number;
  /** Calls back when `tick` has become due earlier than it said. */
  onChange(callback: () => void): void;
  /** Ends children. Leases stay as they are, on disk. */
  stop(): Promise<void>;
}

export function makeDaemon(setup: DaemonSetup): Daemon {
  const book = openBook(setup);
  return {
    async handle(request, gone) {
      switch (request.op) {
        case "acquire":
          return acquire(book, request, gone);
        case "release":
          await release(book, request.key);
          return [];
        case "show":
          return leasesOf(book, request.key).map(viewOf);
        case "retain":
          await retain(book, request);
          return [];
        case "ping":
          return [];
      }
    },
    tick: () => tick(book),
    onChange: (callback) => void (book.changed = callback),
    async stop() {
      book.ended = true;
      const works = [...book.working.values(), ...book.asked.values()];
      // A DEL is let finish: it is short, and its plugin would have to come again.
      for (const { what, abort } of works)
        if (what !== "del") abort.abort(new NetError("try-again", { why: "the DHCP daemon is ending" }));
      await Promise.all(works.map(async ({ done }) => done));
    },
  };
}
