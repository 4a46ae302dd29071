/** What a reconciliation did, could not do, and left for later. */
import type { NetError } from "../../errors.ts";

export type ObjectKind =
  "link" | "tunnel" | "sysctl" | "address" | "neighbour" | "forwarding" | "peer" | "route";

/** What an object is called in reports: its kind, and within the kind its `key`, as `10.1.2.0/24` of a route. */
export interface ObjectName {
  readonly object: ObjectKind;
  readonly key: string;
}

/** The key, or the end of the key, of a list that the kernel did not give. */
export const LIST = "(all)";

export interface Change extends ObjectName {
  /**
   * `added`: it was not there. `replaced`: something else was in its place. `adopted`: somebody else had made it as it should
   * be. `repaired`: it was as it should be and somebody changed or removed it. `removed`: nobody wants it any longer.
   */
  readonly action: "added" | "replaced" | "adopted" | "repaired" | "removed";
}

export interface Failure extends ObjectName {
  readonly error: NetError;
}

/** Somebody changes an object each time that it is put right. It is put right less and less often meanwhile. */
export interface Fight extends ObjectName {
  /** Repairs in the last minute. */
  readonly repairs: number;
}

export interface Report {
  /** The kernel was asked for everything; otherwise only what changed was looked at. */
  readonly full: boolean;
  readonly changes: readonly Change[];
  /** What was tried and refused. The rest was done all the same. */
  readonly failures: readonly Failure[];
  readonly fights: readonly Fight[];
  /** Objects that were not tried: they failed or were fought over a moment ago, or their link is not there. */
  readonly waiting: number;
  /** When to reconcile again, in milliseconds, though nothing may have changed; absent: everything is as it should be. */
  readonly retryInMs?: number;
}
