/** When the agent's jobs are due: periods with jitter, back-off after failures. Pure. */
import { type AgentState, type Job, type JobName, jobNames, type Now } from "./model.ts";

export const NEVER = Number.POSITIVE_INFINITY;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

const idle: Job = { running: false, failures: 0, due: NEVER, notBefore: 0 };

/** All of them idle; the configuration and the host are looked at first. */
export const firstJobs = (at: number): AgentState["jobs"] => ({
  ...(Object.fromEntries(jobNames.map((name) => [name, idle])) as Record<JobName, Job>),
  config: { ...idle, due: at },
  host: { ...idle, due: at },
});

/** The state with one of its jobs changed. */
export const withJob = (state: AgentState, name: JobName, change: Partial<Job>): AgentState => ({
  ...state,
  jobs: { ...state.jobs, [name]: { ...state.jobs[name], ...change } },
});

/** A tenth more or less, so that the hosts of a cluster do not ask all at once. */
export const jittered = (ms: number, { chance }: Now): number => Math.round(ms * (0.9 + 0.2 * chance));

/** The job has been done; it is due again after the period, or sooner if it was asked for meanwhile. */
export function succeeded(state: AgentState, name: JobName, now: Now, periodMs = NEVER): AgentState {
  const { [name]: _, ...complaints } = state.complaints;
  return withJob({ ...state, complaints }, name, {
    running: false,
    failures: 0,
    notBefore: 0,
    due: Math.min(state.jobs[name].due, periodMs === NEVER ? NEVER : now.at + jittered(periodMs, now)),
  });
}

/** Milliseconds after so many failures in a row. */
export const retryAfter = (failures: number): number =>
  Math.min(FIRST_RETRY_MS * 2 ** Math.min(Math.max(failures, 1) - 1, 10), LONGEST_RETRY_MS);

/** The job has failed; it is tried again after 1, 2, 4 … at most 30 seconds. */
export function failed(state: AgentState, name: JobName, now: Now): AgentState {
  const failures = state.jobs[name].failures + 1;
  const again = now.at + jittered(retryAfter(failures), now);
  return withJob(state, name, { running: false, failures, notBefore: again, due: again });
}

/** The job is to be done at that time, unless it is to be done sooner. */
export const dueAt = (state: AgentState, name: JobName, at: number): AgentState =>
  withJob(state, name, { due: Math.min(state.jobs[name].due, at) });

/** When a job that does not run may begin. */
export const startOf = ({ due, notBefore }: Job): number => Math.max(due, notBefore);

/** All of the kernel is looked at when it is looked at next. */
export const asFull = (state: AgentState): AgentState => ({
  ...state,
  kernel: { ...state.kernel, full: true },
});
