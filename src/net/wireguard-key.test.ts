import { describe, expect, test } from "bun:test";
import { createSecureContext } from "node:tls";
import {
  isSameSecret,
  parseWireguardKey,
  SecretKey,
  wireguardKeyBytes,
  wireguardKeyFrom,
} from "./wireguard-key.ts";

const bytes = Uint8Array.from({ length: 32 }, (_, i) => i + 1);
const text = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

test("a key is read also right after a certificate that is damaged", () => {
  const damaged = (kind: string): string => `-----BEGIN ${kind}-----\nAAAA\n-----END ${kind}-----\n`;
  const options = { cert: damaged("CERTIFICATE"), key: damaged("PRIVATE KEY") };
  expect(() => createSecureContext(options)).toThrow();
  expect(SecretKey.from(bytes)).toBeDefined();
});

describe("a public key", () => {
  test("is read and written in one way", () => {
    const key = parseWireguardKey(text);
    expect(key).toEqual({ ok: true, value: text as never });
    if (key.ok) expect(wireguardKeyBytes(key.value)).toEqual(bytes);
    // The last two bits mean nothing.
    expect(parseWireguardKey(text.replace("A=", "B="))).toEqual(key);
    expect(wireguardKeyFrom(bytes)).toBe(text as never);
  });

  test.each([
    ["nothing", ""],
    ["too little", "AQID"],
    ["hexadecimal digits", "01".repeat(32)],
    ["another alphabet", text.replace("A", "-")],
    ["an end missing", text.slice(0, -1)],
    ["zeros, which stand for none", `${"A".repeat(43)}=`],
  ])("is not %s, which is not repeated", (_, wrong) => {
    const key = parseWireguardKey(wrong);
    expect(key).toEqual({ ok: false, why: "is not a key: 32 bytes in base64" });
  });

  test("has 32 bytes that are not all zero", () => {
    expect(wireguardKeyFrom(bytes.subarray(1))).toBeUndefined();
    expect(wireguardKeyFrom(new Uint8Array(32))).toBeUndefined();
  });
});

describe("a secret key", () => {
  const parsed = SecretKey.parse(text);
  if (!parsed.ok) throw new Error(parsed.why);
  const key = parsed.value;

  test("gives its bytes to who asks for them, and to nobody else", () => {
    expect(key.reveal()).toEqual(bytes);
    const shown = [
      Bun.inspect({ key }),
      JSON.stringify({ key }),
      String(key),
      Bun.inspect([key], { depth: 9 }),
    ];
    for (const one of shown) {
      expect(one).not.toContain(text.slice(0, 8));
      expect(one).not.toContain(bytes.toHex().slice(0, 8));
      expect(one).toContain(key.name);
    }
  });

  test("cannot be changed from outside", () => {
    key.reveal().fill(0);
    expect(key.reveal()).toEqual(bytes);
  });

  test("is equal to the same key, and to no other", () => {
    const same = SecretKey.from(bytes);
    const other = SecretKey.from(bytes.toReversed());
    expect(isSameSecret(key, same)).toBeTrue();
    expect(isSameSecret(key, other)).toBeFalse();
    expect(isSameSecret(key, undefined)).toBeFalse();
    expect(isSameSecret(undefined, undefined)).toBeTrue();
    // As lists of what is wanted are compared.
    expect(Bun.deepEquals([key], [same])).toBeTrue();
    expect(Bun.deepEquals([key], [other])).toBeFalse();
  });

  test("that cannot be one is not repeated", () => {
    expect(SecretKey.parse("hunter2")).toEqual({ ok: false, why: "is not a key: 32 bytes in base64" });
    expect(SecretKey.from(new Uint8Array(32))).toBeUndefined();
  });
});
