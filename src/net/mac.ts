import { bad, type Brand, good, type Parsed } from "./brand.ts";

/** A 48-bit hardware address: six lower-case hex pairs with colons. */
export type Mac = Brand<string, "Mac">;

const MAC = /^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i;

/** Reads `aa:bb:cc:dd:ee:ff`, also upper case or with dashes. */
export const parseMac = (s: string): Parsed<Mac> =>
  MAC.test(s) ? good(s.toLowerCase().replaceAll("-", ":") as Mac) : bad(`"${s}" is not six hex pairs`);

/** By the engine's own reader: a loop over the digits takes six times as long as long as it is interpreted. */
export const macToBytes = (mac: Mac): Uint8Array => Uint8Array.fromHex(mac.replaceAll(":", ""));

/** The six bytes of `b`, or undefined if there are not six (an InfiniBand or a tunnel link). */
export function macFromBytes(b: Uint8Array): Mac | undefined {
  if (b.length !== 6) return undefined;
  const hex = b.toHex();
  let text = hex.slice(0, 2);
  for (let at = 2; at < 12; at += 2) text += `:${hex.slice(at, at + 2)}`;
  return text as Mac;
}

/** Six random bytes made into a unicast, locally administered address (IEEE 802, section 8.4). */
export function localMac(random: Uint8Array): Mac {
  const b = random.slice(0, 6);
  b[0] = ((b[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(b) as Mac;
}

/** The address of a link that has none yet: a bridge, for example, whose last port took its address along. */
export const isZeroMac = (mac: Mac): boolean => mac === "00:00:00:00:00:00";
