/** What plans of interfaces on a master are made from: a host with `eth0`, and what a refusal names. */
import { isNetError } from "../errors.ts";
import { type Facts, factKey } from "../netstate/facts.ts";
import { linkFact, mac, noFacts, prefixOf } from "./plan.ts";

export const MASTER_MAC = mac("02:00:00:00:00:09");

/** A host with `eth0`, which has these addresses and is the link of the default route. */
export function hostWith(...addresses: readonly string[]): Facts {
  const eth0 = linkFact("eth0", { mac: MASTER_MAC, mtuBytes: 1500 });
  const on = addresses.map((a) => ({
    prefix: prefixOf(a),
    linkLocal: a.startsWith("fe80"),
    tentative: false,
    dadFailed: false,
    permanent: true,
    index: 7,
  }));
  return {
    ...noFacts,
    links: new Map([[factKey("host", "eth0"), eth0]]),
    uplink: eth0,
    addresses: new Map([[factKey("host", "eth0"), on]]),
  };
}

/** The key that `config/invalid` names, or the code of another refusal; undefined if nothing is refused. */
export function refusedField(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.detail.field;
    if (isNetError(e, "prev-result/invalid") || isNetError(e, "check/differs")) return e.code;
    throw e;
  }
}
