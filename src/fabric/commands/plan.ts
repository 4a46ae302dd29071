/** What is to be run next so that what the commands have done becomes what is wished. Pure. */
import {
  type CommandPeer,
  type CommandSet,
  type CommandValues,
  type CommandWish,
  keyOfPeer,
  sameValues,
} from "./wish.ts";

/** This host as `PreStartupCommand` has made it. */
export interface Prepared {
  /** Other than `prepared`: that one, or `ShutdownCommand`, was begun, and nobody knows what it has done. */
  readonly state: "preparing" | "prepared" | "ending";
  readonly set: CommandSet;
  readonly host: CommandValues;
  /** As of the wish that it was done for. */
  readonly key: string;
  /** What it printed; empty until it has. */
  readonly said: string;
  /** What `PostStartupCommand` was run with; absent: it has not been run. */
  readonly own?: CommandValues;
}

export interface KnownPeer {
  readonly peer: CommandPeer;
  /** Other than `added`: a command was begun, and nobody knows what it has done. */
  readonly state: "adding" | "added" | "removing";
}

/** What the commands have done. Peers by the key of what they say. */
export interface Known {
  readonly prepared?: Prepared;
  readonly peers: ReadonlyMap<string, KnownPeer>;
}

export type Step =
  | {
      readonly kind: "prepare";
      readonly wish: CommandWish;
      /** It was begun before, here and below: what that has left goes first. */
      readonly again: boolean;
    }
  | { readonly kind: "start"; readonly prepared: Prepared; readonly own: CommandValues }
  | {
      readonly kind: "add";
      readonly prepared: Prepared;
      readonly key: string;
      readonly peer: CommandPeer;
      readonly again: boolean;
    }
  | {
      readonly kind: "remove";
      readonly prepared: Prepared;
      readonly key: string;
      readonly peer: CommandPeer;
      /** Perhaps there is nothing to take away, here and below. */
      readonly perhaps: boolean;
    }
  | { readonly kind: "shut-down"; readonly prepared: Prepared; readonly perhaps: boolean };

/** A step by what it does, the same each time that it is tried. */
export const nameOfStep = (step: Step): string => {
  if (step.kind === "prepare") return `prepare ${step.wish.key}`;
  if (step.kind === "start") return `start ${step.prepared.key} ${JSON.stringify(step.own)}`;
  if (step.kind === "shut-down") return "shut-down";
  return `${step.kind} ${step.key}`;
};

/**
 * All that may be run now, in order; nothing is left to do if there is none. What comes later waits until these are done or
 * given up: a host with other commands or another subnet is taken down first, by the commands that made it, and what goes
 * makes room before what comes.
 */
export function nextSteps({ prepared, peers }: Known, wish: CommandWish | undefined): readonly Step[] {
  if (prepared === undefined) return wish === undefined ? [] : [{ kind: "prepare", wish, again: false }];
  const remove = (key: string, { peer, state }: KnownPeer): Step => ({
    kind: "remove",
    prepared,
    key,
    peer,
    perhaps: state === "adding",
  });
  if (wish === undefined || !isFor(prepared, wish))
    return peers.size > 0
      ? [...peers].map(([key, known]) => remove(key, known))
      : [{ kind: "shut-down", prepared, perhaps: prepared.state === "preparing" }];
  if (prepared.state !== "prepared") return [{ kind: "prepare", wish, again: true }];
  if (wish.own === undefined) return [];
  if (prepared.own === undefined) return [{ kind: "start", prepared, own: wish.own.values }];
  const wanted = new Map(wish.own.peers.map((peer) => [keyOfPeer(peer), peer]));
  const going = [...peers].filter(([key]) => !wanted.has(key));
  const claimed = new Set(going.flatMap(([, { peer }]) => claimsOf(peer)));
  const coming = [...wanted].filter(
    ([key, peer]) => peers.get(key)?.state !== "added" && !claimsOf(peer).some((claim) => claimed.has(claim)),
  );
  return [
    ...going.map(([key, known]) => remove(key, known)),
    ...coming.map(([key, peer]): Step => ({ kind: "add", prepared, key, peer, again: peers.has(key) })),
  ];
}

const isFor = (prepared: Prepared, { key, own }: CommandWish): boolean =>
  prepared.key === key &&
  (prepared.own === undefined || own === undefined || sameValues(prepared.own, own.values));

/** What only one can have at a time. */
const claimsOf = ({ id, values: { SUBNET, IPV6SUBNET } }: CommandPeer): readonly string[] =>
  [`id ${id}`, SUBNET, IPV6SUBNET].filter((claim) => claim !== "");
