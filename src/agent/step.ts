/** The agent's core: from what it knows and what happened to what it knows then and wants done. Pure. */
import type { Subnets } from "../fabric/model.ts";
import { decide, settle } from "./decide.ts";
import { fold } from "./fold.ts";
import { firstJobs, NEVER } from "./jobs.ts";
import type { AgentEvent, AgentState, Effect, Now, Rules, Step } from "./model.ts";

/**
 * An agent that begins. `before`: the subnets that this host's containers were given last; `commandsLeft`: an earlier agent has
 * run commands, and what they did may be there.
 */
export const begin = (at: number, before?: Subnets, commandsLeft = false): AgentState => ({
  mode: "running",
  jobs: firstJobs(at),
  complaints: {},
  ...(before === undefined ? {} : { before }),
  troubles: [],
  kernel: {
    full: true,
    fullAt: 0,
    goal: "member",
    empty: false,
    problems: [],
    links: [],
    fights: [],
  },
  commands: { left: commandsLeft, failing: [] },
  repairs: { at: [], level: 0, heldUntil: 0 },
  hindrances: [],
  deaf: {},
  doing: {},
  store: { up: true, since: at },
  ready: false,
});

export function step(state: AgentState, event: AgentEvent, now: Now, rules: Rules): Step {
  if (state.mode === "stopping") return { state, effects: [], wakeAt: NEVER };
  const folded = fold(state, event, { now, rules });
  const told = folded.tellings.map((telling): Effect => ({ kind: "tell", telling }));
  if (folded.state.mode === "stopping")
    return { state: folded.state, effects: [...told, { kind: "end" }], wakeAt: NEVER };
  const decided = decide(folded.state, now, rules);
  const settled = settle(decided.state);
  return {
    state: settled.state,
    effects: [...told, ...decided.effects, ...settled.effects],
    wakeAt: decided.wakeAt,
  };
}
