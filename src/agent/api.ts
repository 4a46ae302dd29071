/**
 * What is said on the agent's socket: a line of JSON with a question, and lines of JSON back; the last one ends the
 * conversation. Both sides are here. Everybody who may connect may ask; only root, or the agent's own user, may change.
 */
import { decodeAs, flag, integer, object, oneOf, parseJson, required } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import type { RecordedEvent } from "./event-log.ts";
import type { NodeRow, RouteRow, Status } from "./status.ts";

/** Of the form of questions and answers. A greater one may add keys; one that changes a meaning is a new number. */
export const API_VERSION = 1;
/** A question, its line's end included. */
export const QUESTION_BYTES = 4_096;

export const asks = ["status", "nodes", "routes", "events", "drain"] as const;
export type Ask = (typeof asks)[number];

export interface Question {
  readonly version: number;
  readonly ask: Ask;
  /** Of `events`: go on as they happen. */
  readonly follow?: boolean;
  /** Of `events`: those after this number. */
  readonly after?: number;
}

export type Answer =
  | { readonly kind: "status"; readonly status: Status }
  | { readonly kind: "nodes"; readonly nodes: readonly NodeRow[] }
  | { readonly kind: "routes"; readonly routes: readonly RouteRow[] }
  | { readonly kind: "event"; readonly event: RecordedEvent }
  /** Nothing more comes. */
  | { readonly kind: "end" }
  | { readonly kind: "refused"; readonly why: string };

const question = object({
  version: required(integer({ min: 1 })),
  ask: required(oneOf(...asks)),
  follow: flag,
  after: integer({ min: 0 }),
});

/** @throws decode/malformed, usage/invalid */
export function decodeQuestion(line: string): Question {
  const read = decodeAs("the question", question, parseJson(line, "the question"));
  if (read.version !== API_VERSION)
    throw new NetError("usage/invalid", {
      why: `version ${read.version} of the agent's interface is not known here; this agent speaks ${API_VERSION}`,
    });
  return read;
}

export const encodeLine = (value: Question | Answer): string => `${JSON.stringify(value)}\n`;
