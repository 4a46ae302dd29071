/**
 * Where a Flannel network keeps who has which subnet: etcd's keys, a directory with the same keys, or the nodes of
 * Kubernetes. The agent knows this alone.
 */
import type { BackendData, FabricNode, Publics, Subnets, UnreadableNode } from "../../fabric/model.ts";

/** What a host announces when it takes a subnet. */
export interface Announcement {
  readonly publics: Publics;
  readonly backend: BackendData;
}

/** A subnet that is this host's. */
export interface Lease {
  readonly node: FabricNode;
  /** Milliseconds since the epoch; absent: for ever, by a reservation or because the node has it. */
  readonly expires?: number;
}

/** What became of a held lease. After `lost` it is nobody's business of ours any longer. */
export type LeaseNews =
  | { readonly kind: "renewed"; readonly lease: Lease }
  | { readonly kind: "failing"; readonly why: string; readonly retryInSeconds: number }
  | { readonly kind: "lost"; readonly why: string };

/** All that is known, and then what changes. After a gap `all` comes again. */
export type NodeNews =
  | {
      readonly kind: "all";
      readonly nodes: readonly (FabricNode | UnreadableNode)[];
      /** Why the store does not tell what changes: all are asked for again and again until it is `back`. */
      readonly unwatched?: string;
    }
  | { readonly kind: "put"; readonly node: FabricNode | UnreadableNode }
  | { readonly kind: "gone"; readonly id: string }
  /** The nodes cannot be had; what was told before still stands. */
  | { readonly kind: "failing"; readonly why: string }
  | { readonly kind: "back" };

export interface Registry {
  /** The network's configuration, as its text stands in the store. */
  networkConfig(): Promise<string>;
  /** Takes a subnet: that of our public address, the one we had before, or a free one. */
  acquire(wanted: Announcement, before: Subnets | undefined): Promise<Lease>;
  /** Keeps the lease until the signal; the lease stays when it ends. Ends before without a word if this host takes another. */
  hold(lease: Lease, signal: AbortSignal): AsyncIterable<LeaseNews>;
  nodes(signal: AbortSignal): AsyncIterable<NodeNews>;
  /** Gives the lease back: `heddle agent drain`. */
  release(lease: Lease): Promise<void>;
  close(): void;
}
