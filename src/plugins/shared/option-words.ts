/**
 * Options of networks as other programs give them: a name and a text, whatever the value is. Docker and Podman have the
 * same words for the same things.
 */
import { type Decode, fold, integer, invalid, type JsonObject, oneOf, parsed } from "../../cni/json.ts";
import { IF_NAME_BYTES, type IfName, parseIfName } from "../../net/ifname.ts";
import { VLAN_MAX, VLAN_MIN } from "../../net/vlan.ts";

/** A whole number of at most ten digits. */
export const number =
  (bounds: { readonly min: number; readonly max: number }): Decode<number> =>
  (value, at) => {
    const word = typeof value === "string" && /^\d{1,10}$/.test(value) ? Number(value) : value;
    return integer(bounds)(word, at);
  };

/** As Go reads a truth value. */
export const truth: Decode<boolean> = (value, at) => {
  const word = String(value).toLowerCase();
  if (["true", "t", "1"].includes(word)) return true;
  return ["false", "f", "0"].includes(word) ? false : invalid(at, `"${word}" is neither true nor false`);
};

/** Go writes what is not set as an empty text. */
export const orNone =
  <T>(decode: Decode<T>): Decode<T | undefined> =>
  (value, at) =>
    value === "" ? undefined : decode(value, at);

export const ifName: Decode<IfName> = parsed(parseIfName);

export const modes = ["bridge", "macvlan", "ipvlan", "vlan"] as const;
export type Mode = (typeof modes)[number];

/** What a network on a parent may say, whichever its mode. */
export const parentWords = {
  parent: orNone(ifName),
  vlan: number({ min: VLAN_MIN, max: VLAN_MAX }),
  macvlan_mode: orNone(oneOf("bridge", "private", "vepa", "passthru")),
  ipvlan_mode: orNone(oneOf("l2", "l3", "l3s")),
} as const;

/** Those of them that each mode has. */
export const parentKeys = {
  macvlan: ["parent", "macvlan_mode"],
  ipvlan: ["parent", "ipvlan_mode"],
  vlan: ["parent", "vlan"],
} as const satisfies { readonly [M in Exclude<Mode, "bridge">]: readonly (keyof typeof parentWords)[] };

/** Refuses keys that the mode does not have, in any case of letters. @throws config/invalid with the key */
export function refuseOthers(raw: JsonObject, at: string, mode: Mode, known: readonly string[]): void {
  const folded = known.map(fold);
  for (const key of Object.keys(raw))
    if (!folded.includes(fold(key)))
      invalid(`${at}.${key}`, `is no option of mode ${mode}; those are ${known.join(", ")}`);
}

/** 0 is the same as absent. 68 is the least that IPv4 allows (RFC 791). */
export const mtu: Decode<number | undefined> = (value, at) => {
  const bytes = number({ min: 0, max: 65535 })(value, at);
  if (bytes > 0 && bytes < 68) return invalid(at, `${bytes} is less than 68, the least that IPv4 allows`);
  return bytes === 0 ? undefined : bytes;
};

/** The usual name of a VLAN's link, shortened where the kernel has no room for it. */
export function vlanLink(parent: string, vlan: number, at: string): IfName {
  const ending = `.${vlan}`;
  return nameOf(parent.slice(0, IF_NAME_BYTES - ending.length) + ending, at);
}

/** The bridge of a network that names none. */
export const bridgeName = (id: string, at: string): IfName => nameOf(`br-${id.slice(0, 12)}`, at);

function nameOf(word: string, at: string): IfName {
  const name = parseIfName(word);
  return name.ok ? name.value : invalid(at, name.why);
}
