/** The job of running commands, as the agent's core sees it: what it wishes, and what a report means. Pure. */
import type { BackendData, View } from "../../fabric/model.ts";
import {
  type CommandPeer,
  type CommandSet,
  type CommandValues,
  type CommandWish,
  sameWish,
  valuesOf,
  wishOf,
} from "../../fabric/commands/wish.ts";
import { dueAt, NEVER, succeeded } from "../jobs.ts";
import type { AgentState, Host, Network, Now } from "../model.ts";
import { sameSubnets } from "../show.ts";
import { bounded, type Telling, telling } from "../tellings.ts";
import type { CommandFailure, CommandReport } from "./runner.ts";

/** What a provider says of a network whose data path commands make. */
export interface NetworkCommands {
  readonly set: CommandSet;
  /** The same list for the same view. */
  readonly peers: (view: View) => readonly CommandPeer[];
  /** What is announced when `PreStartupCommand` has printed this; undefined: there is none. */
  readonly telling: (said: string | undefined) => BackendData;
}

export interface CommandsState {
  /** Something that commands have done may be left. */
  readonly left: boolean;
  /** What was brought about last, and what is being brought about; undefined inside: that nothing is. */
  readonly done?: { readonly wish: CommandWish | undefined };
  readonly doing?: { readonly wish: CommandWish | undefined };
  /** What a command printed that is to be announced, and the key of the wish that it was for. */
  readonly said?: { readonly key: string; readonly text: string };
  /** This host with the subnet for which all was tried; what could not be done is in `failing`. */
  readonly triedFor?: CommandValues;
  /** What fails, as it was told. */
  readonly failing: readonly string[];
}

/** `keep`: leave what is there. Undefined: take it away. */
export function commandsWish(state: AgentState): CommandWish | "keep" | undefined {
  const { mode, config, joined, host } = state;
  if (mode === "draining") return state.lease === undefined ? undefined : "keep";
  if (mode !== "running" || config === undefined) return "keep";
  const { commands } = config.network;
  if (commands === undefined) {
    // The data path of before stays until there is a subnet by the next configuration.
    const isNext = joined === undefined || joined.text === config.text;
    return isNext ? undefined : "keep";
  }
  return host === undefined ? "keep" : wishFor(state, config.network, commands, host);
}

function wishFor(
  { joined, config, self, view, nodes }: AgentState,
  { whole }: Network,
  { set, peers }: NetworkCommands,
  { publics }: Host,
): CommandWish {
  const host = valuesOf(whole, {}, publics);
  const isKnown =
    self !== undefined &&
    view !== undefined &&
    nodes !== undefined &&
    joined?.text === config?.text &&
    sameSubnets(view.network, whole) &&
    sameSubnets(view.self.subnets, self.subnets);
  if (!isKnown) return wishOf(set, host);
  return wishOf(set, host, { values: valuesOf(whole, self.subnets, publics), peers: peers(view) });
}

/** There is something to wish, or something that may have to go. */
export function needsCommands(state: AgentState): boolean {
  const wish = commandsWish(state);
  return wish !== "keep" && (wish !== undefined || state.commands.left);
}

/** What was done last is not what is wished now. */
export function commandsChanged(state: AgentState): boolean {
  const { done } = state.commands;
  const wish = commandsWish(state);
  return wish !== "keep" && (done === undefined || !sameWish(done.wish, wish));
}

/** Undefined as long as a command has not printed what is to be announced. */
export function announcedByCommands({ commands }: Network, state: AgentState): BackendData | undefined {
  const wish = commandsWish(state);
  const { said } = state.commands;
  if (commands === undefined || wish === "keep" || said === undefined || said.key !== wish?.key)
    return undefined;
  return commands.telling(commands.set.PreStartupCommand && said.text);
}

/** Commands are in place for the subnet of this host, as far as they can be, or there are none. */
export function commandsTried({ joined, self, commands: { triedFor } }: AgentState): boolean {
  if (joined?.network.commands === undefined) return true;
  return (
    triedFor !== undefined &&
    triedFor.SUBNET === (self?.subnets.v4?.text ?? "") &&
    triedFor.IPV6SUBNET === (self?.subnets.v6?.text ?? "")
  );
}

export function foldCommanded(
  state: AgentState,
  report: CommandReport,
  now: Now,
): { readonly state: AgentState; readonly tellings: readonly Telling[] } {
  const { doing, said: _, ...before } = state.commands;
  const wish = doing?.wish;
  const failing = report.failures.map(({ text, node }) => `${node ?? ""} ${text}`);
  // Of what was wished: the subnet may have become this host's, or another one, meanwhile.
  const tried = report.started && !report.more ? wish?.own?.values : undefined;
  const commands: CommandsState = {
    ...before,
    ...(doing === undefined ? {} : { done: doing }),
    ...(report.said === undefined || wish === undefined
      ? {}
      : { said: { key: wish.key, text: report.said } }),
    ...(tried === undefined ? {} : { triedFor: tried }),
    left: !report.clear,
    failing,
  };
  const complaint = summary(report.failures);
  const settled = succeeded({ ...state, commands }, "commands", now);
  const again = report.more ? 0 : (report.retryInMs ?? NEVER);
  const next = dueAt(settled, "commands", now.at + Math.ceil(again));
  return {
    state:
      complaint === undefined ? next : { ...next, complaints: { ...next.complaints, commands: complaint } },
    tellings: tellFailures(before.failing, report),
  };
}

const summary = ([first, ...more]: readonly CommandFailure[]): string | undefined => {
  if (first === undefined) return undefined;
  const about = first.node === undefined ? "" : ` for ${first.node}`;
  return `${first.text}${about}${more.length === 0 ? "" : `, and ${more.length} more`}`;
};

function tellFailures(before: readonly string[], { failures, givenUp }: CommandReport): readonly Telling[] {
  const known = new Set(before);
  const failed = [
    ...failures.filter(({ text, node }) => !known.has(`${node ?? ""} ${text}`)),
    ...givenUp,
  ].map(({ text, node }) => telling("command-failed", text, node));
  const right =
    before.length > 0 && failures.length === 0 ? [telling("command-right", "no command fails any more")] : [];
  return [...bounded(failed, "commands"), ...right];
}
