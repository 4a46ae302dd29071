/**
 * This host's WireGuard keys, in the file that flanneld has: the private key in base64, readable by its owner alone. It is made
 * once; what is wrong with a file that is there is told, and the file stays as it is.
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { NetError } from "../../errors.ts";
import { SecretKey, wireguardKeyFrom, type WireguardKeyPair } from "../../net/wireguard-key.ts";
import {
  errnoOf,
  giveFile,
  linkFile,
  makeDirs,
  O,
  openFile,
  putText,
  readAll,
  removeIfThere,
  statFd,
  syncPath,
  unlessErrno,
} from "../../sys/files.ts";

/** What comes before the 32 bytes of a private key of X25519 in PKCS #8 (RFC 8410). */
const PKCS8 = Uint8Array.fromHex("302e020100300506032b656e04220420");
/** The public key is the end of its own form. */
const KEY_BYTES = 32;
const MODE = 0o400;
/** Enough for a key, and for what somebody has put in its place to be seen. */
const MOST_BYTES = 1024;

/** Keeps a host's keys. Each call looks at the file, so that a new key in it is seen. */
export type KeyKeeper = () => WireguardKeyPair;

/**
 * Reads the file, or makes it. One that is gone later is made again with the keys that this process has had: the other hosts know
 * them, and the kernel has them.
 * @throws config/invalid if the file is not what it should be, sys/call
 */
export function keepKeys(path: string): KeyKeeper {
  let known: WireguardKeyPair | undefined;
  return () => {
    known = readKeys(path) ?? makeFile(path, known ?? newKeys());
    return known;
  };
}

const invalid = (path: string, why: string): never => {
  throw new NetError("config/invalid", { field: path, why });
};

/** Undefined if there is no file. */
function readKeys(path: string): WireguardKeyPair | undefined {
  using fd = unlessErrno(["ENOENT"], () => openFile(path, O.RDONLY | O.NONBLOCK));
  if (fd === undefined) return undefined;
  const { isFile, mode, size, uid } = statFd(fd.raw);
  if (!isFile) return invalid(path, "is not a file; the private key of WireGuard belongs there");
  if ((mode & 0o077) !== 0)
    return invalid(
      path,
      `others than its owner may use it (mode ${(mode & 0o777).toString(8).padStart(4, "0")}): a private key needs ` +
        "mode 0400; if somebody may have read it, remove it, and a new one is made",
    );
  if (uid !== 0 && uid !== process.geteuid?.())
    return invalid(path, `belongs to the user ${uid}, who could change the key`);
  const text = size > MOST_BYTES ? "" : new TextDecoder().decode(readAll(fd.raw, path));
  const key = SecretKey.parse(text.trim());
  return key.ok
    ? keyPairOf(key.value)
    : invalid(
        path,
        `${key.why}; it is left as it is: put the key there, or remove it, and a new one is made`,
      );
}

/** A private key with the public one that belongs to it (X25519, RFC 7748). */
export function keyPairOf(privateKey: SecretKey): WireguardKeyPair {
  const pkcs8 = Buffer.concat([PKCS8, privateKey.reveal()]);
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const raw = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-KEY_BYTES);
  const publicKey = wireguardKeyFrom(raw);
  if (publicKey === undefined) throw new TypeError("a private key without a public one");
  return { publicKey, privateKey };
}

/** As RFC 7748, section 5, has private keys: a multiple of eight, with its second highest bit set. */
function newKeys(): WireguardKeyPair {
  const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  bytes[0] = (bytes[0] ?? 0) & 0xf8;
  bytes[31] = ((bytes[31] ?? 0) & 0x7f) | 0x40;
  const privateKey = SecretKey.from(bytes);
  if (privateKey === undefined) throw new TypeError("zero is no key");
  return keyPairOf(privateKey);
}

/** Whoever is first has made it: the others take the one that is there. */
function makeFile(path: string, keys: WireguardKeyPair): WireguardKeyPair {
  const dir = dirname(path);
  makeDirs(dir, 0o755);
  const made = join(dir, `.${basename(path)}.new`);
  // What a killed process left.
  removeIfThere(made);
  putText(made, `${keys.privateKey.reveal().toBase64()}\n`, O.CREAT | O.EXCL | O.NOFOLLOW, MODE);
  try {
    giveFile(made, { uid: undefined, gid: undefined, mode: MODE }); // whatever the umask says
    syncPath(made);
    linkFile(made, path);
    syncPath(dir);
    return keys;
  } catch (e) {
    const other = errnoOf(e) === "EEXIST" ? readKeys(path) : undefined;
    if (other === undefined) throw e;
    return other;
  } finally {
    removeIfThere(made);
  }
}
