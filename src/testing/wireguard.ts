/** Keys of WireGuard for tests, by number: real pairs, the same in every run. */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { SecretKey, wireguardKeyFrom, type WireguardKeyPair } from "../net/wireguard-key.ts";

/** A private key of X25519 in PKCS #8, but for its 32 bytes (RFC 8410). */
const PKCS8 = Uint8Array.fromHex("302e020100300506032b656e04220420");

/** The private key of number `n`. */
export function privateBytes(n: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(32).fill(0x40);
  bytes.set([n & 0xff, n >>> 8], 1);
  return bytes;
}

export function keyPair(n: number): WireguardKeyPair {
  const bytes = privateBytes(n);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, bytes]), format: "der", type: "pkcs8" });
  const raw = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
  const [publicKey, privateKey] = [wireguardKeyFrom(raw), SecretKey.from(bytes)];
  if (publicKey === undefined || privateKey === undefined) throw new Error(`no key ${n}`);
  return { publicKey, privateKey };
}

/** The public key of number `n`. */
export const keyText = (n: number): string => keyPair(n).publicKey;
