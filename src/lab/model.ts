/**
 * What a lab is: hosts on one machine, an underlay that joins them, and what somebody has broken on purpose. Plain data that
 * is kept in the lab's state file; where a host's addresses come from stands in `underlay.ts`.
 */
import {
  type Decode,
  flag,
  integer,
  invalid,
  list,
  object,
  oneOf,
  refined,
  required,
  text,
  withDefault,
  dictionary,
} from "../cni/json.ts";
import { bad, good, type Parsed } from "../net/brand.ts";

export const underlayKinds = ["flat", "routed"] as const;
export const ipChoices = ["4", "6", "dual"] as const;
export const providerNames = ["none", "flannel"] as const;
export const storeKinds = ["file", "etcd"] as const;
export type ProviderName = (typeof providerNames)[number];

/** What a lab was asked to be. */
export interface LabSpec {
  readonly name: string;
  /** How many; they are called host1, host2, … */
  readonly hosts: number;
  readonly underlay: (typeof underlayKinds)[number];
  /** Of a routed underlay; a flat one has one. */
  readonly subnets: number;
  readonly ip: (typeof ipChoices)[number];
  /** Of the hosts' links, 1280 (RFC 8200) to 9000. */
  readonly mtuBytes: number;
  /** Segmentation and receive offloads of the hosts' links. */
  readonly offload: boolean;
  readonly provider: ProviderName;
  /** The provider's way between hosts; empty for one that has none. */
  readonly backend: string;
  /** Where the provider's hosts find each other. */
  readonly store: (typeof storeKinds)[number];
}

/** Something that was broken on purpose. */
export type Fault =
  /** The host's cable is pulled. */
  | { readonly kind: "cut"; readonly host: string }
  /** What one of these hosts sends to one of those, and back, is lost on the way. */
  | { readonly kind: "partition"; readonly one: readonly string[]; readonly other: readonly string[] }
  /** What is sent to the host arrives later. */
  | { readonly kind: "delay"; readonly host: string; readonly delayMs: number }
  /** Of what is sent to the host this share is lost. */
  | { readonly kind: "loss"; readonly host: string; readonly percent: number };

/** A process by number and by when it began: the number alone is given to another one some day. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks from the start of the machine to that of the process (field 22 of proc_pid_stat(5)). */
  readonly start: string;
}

/** What the state file says. */
export interface LabState {
  readonly spec: LabSpec;
  /** False until everything is there that was asked for. */
  readonly complete: boolean;
  /** Who makes the lab, or made it. */
  readonly maker: ProcessId;
  readonly faults: readonly Fault[];
  /** Hosts whose addresses were changed: the number that now ends them (see `underlay.ts`). */
  readonly moved: Readonly<Record<string, number>>;
}

/** As many as one subnet has numbers for, with some left for addresses that move. */
export const MAX_HOSTS = 200;
export const MAX_SUBNETS = 16;

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;

/** Names of labs and of containers: they become names of directories and of hosts. */
export const parseLabName = (word: string): Parsed<string> =>
  NAME.test(word)
    ? good(word)
    : bad(
        `"${word}" is no name: up to 32 small letters, digits and hyphens, not beginning or ending with a hyphen`,
      );

const name: Decode<string> = refined(text, (word, at) => {
  const found = parseLabName(word);
  return found.ok ? found.value : invalid(at, found.why);
});

const readSpec = object({
  name: required(name),
  hosts: required(integer({ min: 1, max: MAX_HOSTS })),
  underlay: required(oneOf(...underlayKinds)),
  subnets: required(integer({ min: 1, max: MAX_SUBNETS })),
  ip: required(oneOf(...ipChoices)),
  mtuBytes: required(integer({ min: 1280, max: 9000 })),
  offload: required(flag),
  provider: required(oneOf(...providerNames)),
  backend: required(text),
  store: required(oneOf(...storeKinds)),
}) satisfies Decode<LabSpec>;

const faultShapes = {
  cut: object({ host: required(name) }),
  partition: object({ one: required(list(name)), other: required(list(name)) }),
  delay: object({ host: required(name), delayMs: required(integer({ min: 0, max: 10_000 })) }),
  loss: object({
    host: required(name),
    percent: required<number>((value, at) =>
      typeof value === "number" && value >= 0 && value <= 100
        ? value
        : invalid(at, "is not within 0 and 100"),
    ),
  }),
} as const;

const readFault: Decode<Fault> = (value, at) => {
  const { kind } = object({ kind: required(oneOf("cut", "partition", "delay", "loss")) })(value, at);
  switch (kind) {
    case "cut":
      return { kind, ...faultShapes.cut(value, at) };
    case "partition":
      return { kind, ...faultShapes.partition(value, at) };
    case "delay":
      return { kind, ...faultShapes.delay(value, at) };
    case "loss":
      return { kind, ...faultShapes.loss(value, at) };
  }
};

export const readProcessId: Decode<ProcessId> = object({
  pid: required(integer({ min: 1 })),
  start: required(text),
});

export const readLabState: Decode<LabState> = object({
  spec: required(readSpec),
  complete: required(flag),
  maker: required(readProcessId),
  faults: withDefault(list(readFault), []),
  moved: withDefault(dictionary(integer({ min: 1, max: 254 })), {}),
});

/** host1, host2, … */
export const hostNames = ({ hosts }: Pick<LabSpec, "hosts">): readonly string[] =>
  Array.from({ length: hosts }, (_, i) => `host${i + 1}`);
