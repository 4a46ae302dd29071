import { bad, type Brand, good, type Parsed } from "./brand.ts";

/** A Curve25519 public key, by which WireGuard knows a peer: 32 bytes in base64, of which there is one way to write them. */
export type WireguardKey = Brand<string, "WireguardKey">;

const KEY_BYTES = 32;
/** 43 digits, the last with two bits that mean nothing, and one `=`. */
const KEY = /^[A-Za-z0-9+/]{43}=$/;

function bytesOf(text: string): Uint8Array | undefined {
  return KEY.test(text) ? Uint8Array.fromBase64(text) : undefined;
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((b) => b === 0);

/** Reads a public key. What is refused is not repeated: it may be a private key in the wrong place. */
export function parseWireguardKey(text: string): Parsed<WireguardKey> {
  const bytes = bytesOf(text);
  return bytes === undefined || isZero(bytes)
    ? bad("is not a key: 32 bytes in base64")
    : good(bytes.toBase64() as WireguardKey);
}

/** The 32 bytes of a public key; undefined for another length, and for the zeros that stand for none. */
export const wireguardKeyFrom = (bytes: Uint8Array): WireguardKey | undefined =>
  bytes.length === KEY_BYTES && !isZero(bytes) ? (bytes.toBase64() as WireguardKey) : undefined;

export const wireguardKeyBytes = (key: WireguardKey): Uint8Array => Uint8Array.fromBase64(key);

/** Not kept anywhere: names of secrets tell nothing to another process, or after this one has ended. */
let naming: Uint8Array<ArrayBuffer> | undefined;

function nameOf(bytes: Uint8Array): string {
  naming ??= crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  // Not the engine's HMAC: it fails once after somebody has read a certificate or a key that is damaged (Bun 1.4.5).
  return new Bun.CryptoHasher("sha256").update(naming).update(bytes).digest("hex").slice(0, 32);
}

/**
 * A private or a preshared key. It does not show itself: printed, in JSON or in an error it is a name, the same for the same key
 * and for as long as this process runs, so that two can be compared.
 */
export class SecretKey {
  readonly name: string;
  readonly #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes.slice();
    this.name = nameOf(bytes);
  }

  /** 32 bytes; undefined for another length, and for the zeros that stand for none. */
  static from(bytes: Uint8Array): SecretKey | undefined {
    return bytes.length === KEY_BYTES && !isZero(bytes) ? new SecretKey(bytes) : undefined;
  }

  /** From base64. What is refused is not repeated. */
  static parse(text: string): Parsed<SecretKey> {
    const bytes = bytesOf(text);
    const key = bytes && SecretKey.from(bytes);
    return key === undefined ? bad("is not a key: 32 bytes in base64") : good(key);
  }

  /** The key itself, for the kernel and for its file. */
  reveal(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice();
  }

  toJSON(): string {
    return `secret ${this.name}`;
  }

  toString(): string {
    return this.toJSON();
  }
}

/** Two keys, or none of both. */
export const isSameSecret = (a: SecretKey | undefined, b: SecretKey | undefined): boolean =>
  a?.name === b?.name;

/** What a host has for itself, and what it tells. */
export interface WireguardKeyPair {
  readonly publicKey: WireguardKey;
  readonly privateKey: SecretKey;
}
