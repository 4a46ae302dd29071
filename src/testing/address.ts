/** Addresses from text, for tests: what does not parse is a mistake in the test. */
import { type Ip, type IpPrefix, parseIp, parsePrefix } from "../net/ip.ts";
import type { Parsed } from "../net/brand.ts";

function must<T>(parsed: Parsed<T>): T {
  if (!parsed.ok) throw new TypeError(parsed.why);
  return parsed.value;
}

export const ip = (text: string): Ip => must(parseIp(text));
export const cidr = (text: string): IpPrefix => must(parsePrefix(text));
