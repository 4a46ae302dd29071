/**
 * What the main thread and a worker say to each other. A worker in its loop hears nothing: it is told that there is
 * something by a number in shared memory and by its waker, leaves the loop, and hears all of it before it goes on.
 */
import type { PeerTable } from "./peers.ts";

export type Direction = "send" | "receive";

/** What a worker works with. The descriptors are the main thread's. */
export interface WorkerSetup {
  readonly direction: Direction;
  readonly device: number;
  readonly socket: number;
  /** Of the socket. */
  readonly family: 4 | 6;
  /** The kernel takes several UDP datagrams as one packet. */
  readonly joinsUdp: boolean;
  readonly waker: number;
  /** That of the other worker. */
  readonly otherWaker: number;
  /** Who reads the device (`duty.ts`). */
  readonly duty: SharedArrayBuffer;
  readonly own: { readonly v4?: Uint8Array; readonly v6?: Uint8Array };
  readonly peers: PeerTable;
  /** Of both directions; each is counted by who works in it. */
  readonly counters: Readonly<Record<Direction, SharedArrayBuffer>>;
  /** One number: how many requests were sent. */
  readonly posted: SharedArrayBuffer;
}

/** To a worker; each is counted in `posted`, and answered by `done`. */
export type Request =
  | { readonly kind: "warm"; readonly direction: Direction }
  | { readonly kind: "begin"; readonly setup: WorkerSetup }
  | { readonly kind: "peers"; readonly peers: PeerTable }
  | { readonly kind: "run" }
  | { readonly kind: "pause" };

/** From a worker. `listening` comes once, before which it hears nothing; after `failed` it does nothing more. */
export type Notice =
  | { readonly kind: "listening" }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly why: string };
