/**
 * Certificates for tests that speak TLS: an authority of the test's own, and what it signs for servers and clients. Keys are
 * ECDSA on P-256. The encoding is DER (X.690) of certificates (RFC 5280), as far as such certificates need it.
 */
import { parseIp } from "../net/ip.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A certificate and its key, in PEM. */
export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

export interface Authority {
  /** The authority's own certificate, in PEM: what clients and servers trust. */
  readonly certificate: string;
  /** A server of these names; an IP address is told by its form. */
  server(names: readonly string[]): Promise<Identity>;
  /** A client, by user and groups as Kubernetes reads them, and etcd the user. */
  client(commonName: string, organizations?: readonly string[]): Promise<Identity>;
}

/** A new authority; every one has a key of its own, so that none trusts what another signed. */
export async function certificateAuthority(commonName = "authority of a test"): Promise<Authority> {
  const issuer: Holder = { name: nameOf(commonName, []), keys: await newKeys() };
  const sign = async (
    subject: Bytes,
    extensions: readonly Bytes[],
    days: number,
    of?: CryptoKeyPair,
  ): Promise<Identity> => {
    const keys = of ?? (await newKeys());
    const certificate = await certificateOf({ subject, keys, extensions, days }, issuer);
    const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
    return { certificate: pem("CERTIFICATE", certificate), key: pem("PRIVATE KEY", key) };
  };
  const root = await sign(
    issuer.name,
    [extension("55 1d 13", sequence(TRUE), true), extension("55 1d 0f", KEY_CERT_SIGN, true)],
    2,
    issuer.keys,
  );
  return {
    certificate: root.certificate,
    server: (names) =>
      sign(
        nameOf(names[0] ?? "server", []),
        [
          extension("55 1d 25", sequence(objectId("2b 06 01 05 05 07 03 01"))),
          extension("55 1d 11", sequence(...names.map(alternativeName))),
        ],
        1,
      ),
    client: (name, organizations = []) =>
      sign(
        nameOf(name, organizations),
        [extension("55 1d 25", sequence(objectId("2b 06 01 05 05 07 03 02")))],
        1,
      ),
  };
}

interface Holder {
  readonly name: Bytes;
  readonly keys: CryptoKeyPair;
}
interface Subject {
  readonly subject: Bytes;
  readonly keys: CryptoKeyPair;
  readonly extensions: readonly Bytes[];
  readonly days: number;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const newKeys = (): Promise<CryptoKeyPair> => crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);

async function certificateOf(of: Subject, issuer: Holder): Promise<Bytes> {
  const ecdsaWithSha256 = sequence(objectId("2a 86 48 ce 3d 04 03 02"));
  const from = Date.now() - 3_600_000;
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", of.keys.publicKey));
  const body = sequence(
    der(0xa0, der(0x02, new Uint8Array([2]))),
    der(0x02, serialNumber()),
    ecdsaWithSha256,
    issuer.name,
    sequence(time(from), time(from + of.days * 86_400_000)),
    of.subject,
    publicKey,
    der(0xa3, sequence(...of.extensions)),
  );
  const signature = await crypto.subtle.sign({ ...ALGORITHM, hash: "SHA-256" }, issuer.keys.privateKey, body);
  return sequence(body, ecdsaWithSha256, der(0x03, join(ZERO, derSignature(new Uint8Array(signature)))));
}

/** WebCrypto gives r and s side by side; a certificate has them as two integers. */
const derSignature = (raw: Bytes): Bytes =>
  sequence(der(0x02, unsigned(raw.slice(0, 32))), der(0x02, unsigned(raw.slice(32))));

const ZERO = new Uint8Array([0]);
const serialNumber = (): Bytes => unsigned(crypto.getRandomValues(new Uint8Array(12)));

/** The shortest form of a number that is not negative. */
function unsigned(bytes: Bytes): Bytes {
  const first = bytes.findIndex((byte) => byte !== 0);
  const short = first < 0 ? ZERO : bytes.slice(first);
  return (short[0] ?? 0) > 0x7f ? join(ZERO, short) : short;
}

function join(...parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function der(tag: number, ...contents: readonly Uint8Array[]): Bytes {
  const body = join(...contents);
  const n = body.length;
  const length = n < 0x80 ? [n] : n < 0x100 ? [0x81, n] : [0x82, n >> 8, n & 0xff];
  return join(new Uint8Array([tag, ...length]), body);
}
const sequence = (...parts: readonly Uint8Array[]): Bytes => der(0x30, ...parts);
const hex = (text: string): Bytes => Uint8Array.from(text.split(" "), (byte) => Number.parseInt(byte, 16));
const objectId = (text: string): Bytes => der(0x06, hex(text));
const utf8 = (text: string): Bytes => der(0x0c, new TextEncoder().encode(text));
const TRUE = der(0x01, new Uint8Array([0xff]));
/** The one bit that lets a key sign certificates. */
const KEY_CERT_SIGN = der(0x03, new Uint8Array([2, 0x04]));

const time = (at: number): Bytes =>
  der(
    0x17,
    new TextEncoder().encode(
      `${new Date(at)
        .toISOString()
        .replace(/^\d\d|\.\d+Z$/g, "")
        .replaceAll(/[-:T]/g, "")}Z`,
    ),
  );

const nameOf = (commonName: string, organizations: readonly string[]): Bytes => {
  const part = (id: string, value: string): Bytes => der(0x31, sequence(objectId(id), utf8(value)));
  return sequence(...organizations.map((o) => part("55 04 0a", o)), part("55 04 03", commonName));
};

const extension = (id: string, value: Uint8Array, critical = false): Bytes =>
  sequence(objectId(id), ...(critical ? [TRUE] : []), der(0x04, value));

function alternativeName(name: string): Bytes {
  const ip = parseIp(name);
  return ip.ok ? der(0x87, ip.value.bytes) : der(0x82, new TextEncoder().encode(name));
}

function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}
