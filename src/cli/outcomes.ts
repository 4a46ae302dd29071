/** What `heddle gc` and `heddle reload` have done, thing by thing: a line for people, or an object with stable keys for programs. */
import { attachmentKey } from "../cni/attachments.ts";
import type { CacheKey } from "../cni/cache.ts";
import { type ErrorJson, toErrorJson } from "../cni/errors.ts";
import { newestVersion } from "../cni/version.ts";
import { print } from "./output.ts";

/** Whose it is: container and interface are empty for what a network has for itself, the network too if it is not known. */
export interface Outcome extends CacheKey {
  /** For people. */
  readonly what: string;
  readonly failure: Error | undefined;
  /** The plugin whose part it is, where it is one plugin's. */
  readonly plugin?: string;
  /** The link that a network had for itself. */
  readonly link?: string;
}

interface OutcomeJson extends CacheKey {
  readonly key: string | null;
  readonly plugin?: string;
  readonly link?: string;
  readonly ok: boolean;
  readonly error?: ErrorJson;
}

/** As `heddle ps` has it; what belongs to no container has none. */
export const keyOf = (whose: CacheKey): string | null =>
  whose.containerId === "" ? null : attachmentKey(whose);

export function outcomeJson({ network, containerId, ifname, plugin, link, failure }: Outcome): OutcomeJson {
  return {
    key: keyOf({ network, containerId, ifname }),
    network,
    containerId,
    ifname,
    ...(plugin === undefined ? {} : { plugin }),
    ...(link === undefined ? {} : { link }),
    ok: failure === undefined,
    ...(failure === undefined ? {} : { error: toErrorJson(failure, newestVersion) }),
  };
}

/** One line a thing; the exit code is 1 if one failed. `nothing` is said to people where there was nothing to do. */
export function tell(outcomes: readonly Outcome[], verb: string, nothing: string, json: boolean): void {
  if (outcomes.some(({ failure }) => failure)) process.exitCode = 1;
  if (json) return print(JSON.stringify(outcomes.map(outcomeJson), undefined, 2));
  if (outcomes.length === 0) return print(nothing);
  for (const { what, failure } of outcomes)
    print(failure ? `failed     ${what}: ${failure.message}` : `${verb.padEnd(10)} ${what}`);
}
