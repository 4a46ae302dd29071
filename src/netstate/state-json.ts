import { DecodeError } from "../wire/attrs.ts";
import { parseIp, parsePrefix } from "../net/ip.ts";

/**
 * States as text, for records. Addresses and prefixes are written in their printed form under a key of their own, so
 * that reading gives back the same frozen values.
 */
const IP = "$ip";
const PREFIX = "$prefix";

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null;

export const stringify = (value: unknown): string =>
  JSON.stringify(value, (_key, v: unknown) => {
    if (!isObject(v) || typeof v["text"] !== "string") return v;
    if (v["bytes"] instanceof Uint8Array) return { [IP]: v["text"] };
    return isObject(v["ip"]) && typeof v["bits"] === "number" ? { [PREFIX]: v["text"] } : v;
  });

/** Throws `DecodeError` or `SyntaxError` on text that `stringify` did not write. */
export const parse = (text: string): unknown =>
  JSON.parse(text, (_key, v: unknown) => {
    if (!isObject(v)) return v;
    const text = v[IP] ?? v[PREFIX];
    if (typeof text !== "string") return v;
    const parsed = IP in v ? parseIp(text) : parsePrefix(text);
    if (!parsed.ok) throw new DecodeError(parsed.why);
    return parsed.value;
  });
