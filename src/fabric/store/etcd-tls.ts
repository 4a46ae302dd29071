/**
 * Certificates for etcd, from files that others renew: they are read again when they have changed.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { fromSystem, NetError } from "../../errors.ts";

export interface TlsFiles {
  /** Authorities that servers are believed by; absent: those of the system. */
  readonly caFile?: string;
  /** This client's certificate and its key; both or none. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** In PEM. */
export interface Tls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** A certificate and a key are smaller than this, in bytes. */
const FILE_LIMIT = 1024 * 1024;

/**
 * Returns what is in the files now, the same object until one of them changes. While they are being replaced, what was there
 * before is good for another moment.
 * @throws config/invalid, when called the first time, if a file cannot be read or is not what it should be
 */
export function tlsReader({ caFile, certFile, keyFile }: TlsFiles): () => Tls {
  if ((certFile === undefined) !== (keyFile === undefined))
    throw invalid(certFile ?? keyFile ?? "", "a client's certificate and its key are given together");
  const files = Object.entries({ ca: caFile, cert: certFile, key: keyFile });
  const read = (): { readonly mark: string; readonly tls: Tls } => {
    const mark = files.map(([, path]) => markOf(path)).join(" ");
    if (mark === last?.mark) return last;
    const texts = files.flatMap(([what, path]) => (path === undefined ? [] : [[what, textOf(what, path)]]));
    const tls = Object.fromEntries(texts) as Tls;
    if (!isPair(tls)) throw invalid(keyFile ?? "", `is not the key of the certificate in ${certFile}`);
    return { mark, tls };
  };
  let last: ReturnType<typeof read> | undefined;
  return () => {
    try {
      last = read();
    } catch (e) {
      if (last === undefined) throw e;
    }
    return last.tls;
  };
}

const isPair = ({ cert, key }: Tls): boolean =>
  cert === undefined || key === undefined || new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));

const invalid = (field: string, why: string, cause?: unknown): NetError =>
  new NetError("config/invalid", { field, why }, { cause });

function markOf(path: string | undefined): string {
  if (path === undefined) return "-";
  try {
    const { dev, ino, size, mtimeMs } = statSync(path);
    return [dev, ino, size, mtimeMs].join(":");
  } catch (e) {
    throw invalid(path, "cannot be read", fromSystem(e));
  }
}

function textOf(what: string, path: string): string {
  try {
    if (statSync(path).size > FILE_LIMIT) throw invalid(path, `has more than ${FILE_LIMIT} bytes`);
    const pem = readFileSync(path, "utf8");
    // The runtime's own words about a broken file are those of a closed connection.
    if (what === "key") createPrivateKey(pem);
    else void new X509Certificate(pem);
    return pem;
  } catch (e) {
    if (e instanceof NetError) throw e;
    const kind = what === "key" ? "private key without a passphrase" : "certificate";
    throw invalid(path, `is no ${kind} in PEM form that can be read`, fromSystem(e));
  }
}
