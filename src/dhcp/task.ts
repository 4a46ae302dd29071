/**
 * What the daemon tells a child to do in a container's namespace, and what the child answers. One task, one process: the
 * daemon itself never enters a namespace.
 */
import { anything, type Decode, integer, list, object, oneOf, required, text } from "../cni/json.ts";
import {
  type Client,
  type LinkRef,
  type NetnsRef,
  readClient,
  readLink,
  readNetns,
  readTerms,
  type Terms,
} from "./model.ts";
import type { AcquireTimes } from "./v4-acquire.ts";

export type Task = {
  readonly netns: NetnsRef;
  readonly ifname: string;
  readonly client: Client;
} & (
  | {
      readonly kind: "acquire";
      readonly family: 4 | 6;
      readonly times: AcquireTimes;
      /** The address that the client had before. */
      readonly wanted?: string;
    }
  | {
      /**
       * `withdraw` takes the address of a lease that is over off the interface; `probe` looks whether the interface that
       * has the lease is still there.
       */
      readonly kind: "renew" | "rebind" | "release" | "withdraw" | "probe";
      readonly terms: Terms;
      readonly link: LinkRef;
    }
);

/** A task about a lease that there is. */
export type HeldTask = Exclude<Task, { readonly kind: "acquire" }>;

export type Answer =
  | {
      readonly kind: "bound";
      readonly terms: Terms;
      readonly link: LinkRef;
      /** How long ago the request was sent: a lease's time counts from there. */
      readonly ageMs: number;
      readonly ignored: readonly string[];
    }
  /** The server says that the address may not be used. */
  | { readonly kind: "refused"; readonly why: string }
  /** Nobody answered, or nothing could be sent. */
  | { readonly kind: "silent"; readonly why: string }
  /** The namespace or the interface is not there any more. */
  | { readonly kind: "gone"; readonly why: string }
  | { readonly kind: "done" }
  /** With the code and the details of the error, if it was one of ours. */
  | { readonly kind: "failed"; readonly why: string; readonly code?: string; readonly detail?: unknown };

const milliseconds = required(integer({ min: 0 }));
const readCommon = object({
  kind: required(oneOf("acquire", "renew", "rebind", "release", "withdraw", "probe")),
  netns: required(readNetns),
  ifname: required(text),
  client: required(readClient),
});
const readAcquire = object({
  family: required(integer({ min: 4, max: 6 })),
  times: required(object({ totalMs: milliseconds, resendMaxMs: milliseconds, answerMs: milliseconds })),
  wanted: text,
});
const readHeld = object({ terms: required(readTerms), link: required(readLink) });

export const readTask: Decode<Task> = (value, at) => {
  const { kind, ...common } = readCommon(value, at);
  if (kind !== "acquire") return { kind, ...common, ...readHeld(value, at) };
  const { family, ...rest } = readAcquire(value, at);
  return { kind, ...common, ...rest, family: family === 4 ? 4 : 6 };
};

const readKind = object({
  kind: required(oneOf("bound", "refused", "silent", "gone", "done", "failed")),
  why: text,
  code: text,
  detail: anything,
});
const readBound = object({
  terms: required(readTerms),
  link: required(readLink),
  ageMs: milliseconds,
  ignored: required(list(text)),
});

export const readAnswer: Decode<Answer> = (value, at) => {
  const { kind, why = "", code, detail } = readKind(value, at);
  if (kind === "bound") return { kind, ...readBound(value, at) };
  if (kind === "failed") return { kind, why, detail, ...(code === undefined ? {} : { code }) };
  return kind === "done" ? { kind } : { kind, why };
};
