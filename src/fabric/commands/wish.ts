/**
 * A data path that an operator's own programs make, as a wish: which commands there are, what is known of this host, and the hosts that
 * are to be reached. Names of commands and variables are those of Flannel's backend `extension`.
 */
import type { Publics, Subnets } from "../model.ts";
import { type CommandLine, parseCommandLine } from "./words.ts";

export const commandNames = [
  /** Before this host has a subnet; what it prints is announced. */
  "PreStartupCommand",
  /** When it has one. */
  "PostStartupCommand",
  /** When it has left, after the last `SubnetRemoveCommand`. */
  "ShutdownCommand",
  /** For each other host, with what that one announces on standard input; and for each that is no longer there. */
  "SubnetAddCommand",
  "SubnetRemoveCommand",
] as const;
export type CommandName = (typeof commandNames)[number];

/** Of the whole network; of the host that it is about. Empty for a family that there is not. */
export const variableNames = [
  "NETWORK",
  "IPV6NETWORK",
  "SUBNET",
  "IPV6SUBNET",
  "PUBLIC_IP",
  "PUBLIC_IPV6",
] as const;
export type VariableName = (typeof variableNames)[number];
export type CommandValues = Readonly<Record<VariableName, string>>;

/** Those that are there. */
export type CommandSet = Readonly<Partial<Record<CommandName, CommandLine<VariableName>>>>;

/** Another host, as its commands hear of it. */
export interface CommandPeer {
  readonly id: string;
  readonly values: CommandValues;
  /** What it announces, whatever that may be: for standard input alone. */
  readonly data: string;
}

export interface CommandWish {
  readonly set: CommandSet;
  /** This host without its subnet. */
  readonly host: CommandValues;
  /** Two wishes with the same key have the same commands and the same host. */
  readonly key: string;
  /** Absent: this host has no subnet yet, or the others are not known; what is there stays. */
  readonly own?: {
    readonly values: CommandValues;
    /** Those that say the same as before are the same objects. */
    readonly peers: readonly CommandPeer[];
  };
}

const WITHOUT_SUBNET = variableNames.filter((name) => name !== "SUBNET" && name !== "IPV6SUBNET");

/** Reads the lines of commands; an empty one is none. `refuse` hears which line cannot be read, and why. */
export const readCommands = (
  texts: Readonly<Partial<Record<CommandName, string>>>,
  refuse: (name: CommandName, why: string) => never,
): CommandSet =>
  Object.fromEntries(
    commandNames.flatMap((name) => {
      const text = texts[name] ?? "";
      if (text === "") return [];
      const read = parseCommandLine(text, name === "PreStartupCommand" ? WITHOUT_SUBNET : variableNames);
      return [[name, read.ok ? read.value : refuse(name, read.why)]];
    }),
  );

export const valuesOf = (network: Subnets, subnets: Subnets, publics: Publics): CommandValues => ({
  NETWORK: network.v4?.text ?? "",
  IPV6NETWORK: network.v6?.text ?? "",
  SUBNET: subnets.v4?.text ?? "",
  IPV6SUBNET: subnets.v6?.text ?? "",
  PUBLIC_IP: publics.v4?.text ?? "",
  PUBLIC_IPV6: publics.v6?.text ?? "",
});

/** The lines as they were written. */
export const textsOf = (set: CommandSet): Readonly<Partial<Record<CommandName, string>>> =>
  Object.fromEntries(
    commandNames.flatMap((name) => {
      const line = set[name];
      return line === undefined ? [] : [[name, line.text]];
    }),
  );

/** A host by itself: with the commands and without. */
export const wishOf = (set: CommandSet, host: CommandValues, own?: CommandWish["own"]): CommandWish => ({
  set,
  host,
  key: JSON.stringify([textsOf(set), host]),
  ...(own === undefined ? {} : { own }),
});

export const sameValues = (a: CommandValues, b: CommandValues): boolean =>
  variableNames.every((name) => a[name] === b[name]);

/** True if there is nothing to do for the one that is not to be done for the other. */
export function sameWish(a: CommandWish | undefined, b: CommandWish | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.key !== b.key || a.own === undefined || b.own === undefined)
    return a.key === b.key && a.own === b.own;
  const [mine, other] = [a.own, b.own];
  return (
    sameValues(mine.values, other.values) &&
    (mine.peers === other.peers ||
      (mine.peers.length === other.peers.length && mine.peers.every((peer, i) => peer === other.peers[i])))
  );
}

const keys = new WeakMap<CommandPeer, string>();

/** A name for what a peer says, the same for all that say the same: 32 hexadecimal digits. */
export function keyOfPeer(peer: CommandPeer): string {
  const known = keys.get(peer);
  if (known !== undefined) return known;
  const { id, values, data } = peer;
  const text = JSON.stringify([id, ...variableNames.map((name) => values[name]), data]);
  const key = new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 32);
  keys.set(peer, key);
  return key;
}
