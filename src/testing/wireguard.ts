/** Keys of WireGuard for tests, by number: real pairs, the same in every run. */
import { SecretKey, type WireguardKeyPair } from "../net/wireguard-key.ts";
import { keyPairOf } from "../providers/flannel/wireguard-keys.ts";

/** The private key of number `n`. */
export function privateBytes(n: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(32).fill(0x40);
  bytes.set([n & 0xff, n >>> 8], 1);
  return bytes;
}

export function keyPair(n: number): WireguardKeyPair {
  const key = SecretKey.from(privateBytes(n));
  if (key === undefined) throw new TypeError(`no key ${n}`);
  return keyPairOf(key);
}

/** The public key of number `n`. */
export const keyText = (n: number): string => keyPair(n).publicKey;
