/**
 * Real etcd, of Debian's package, unpacked into the cache and not installed: members on the loopback of the namespace that
 * the test runs in, alone or as a cluster, with TLS or without. A member can be killed, paused and started again.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unpackDebian } from "../../scripts/debian.ts";
import { cacheDir } from "../../scripts/paths.ts";
import { fetchedOr } from "./fetched.ts";
import { lineLog } from "./line-log.ts";
import { plainEnv, run } from "./run.ts";
import { patience } from "./slowdown.ts";

/** The unpacked packages; undefined as `fetchedOr` says. */
export const etcdTree = (): Promise<string | undefined> =>
  fetchedOr("etcd", async () => {
    const root = join(cacheDir("etcd"), "tree");
    await unpackDebian(root, "this machine's", (apt) => apt.download(["etcd-server", "etcd-client"]));
    return root;
  });

/** Files in PEM form, made by `certificates`. */
export interface Certificates {
  readonly ca: string;
  /** Of members, and of clients. */
  readonly cert: string;
  readonly key: string;
}

export interface EtcdOptions {
  readonly root: string;
  /** Where the members' data are, one directory each. */
  readonly dir: string;
  /** How many members; 1 unless told. */
  readonly members?: number;
  /** The first member's port for clients; the others and those between members follow. */
  readonly port: number;
  readonly tls?: Certificates;
  readonly flags?: readonly string[];
}

export interface EtcdMember {
  readonly url: string;
  /** Resolves when the member serves clients. */
  start(): Promise<void>;
  /** Ends it at once, as a power cut; its data stay. */
  kill(): Promise<void>;
  /** Stops it so that it answers nothing and closes nothing. */
  pause(): void;
  resume(): void;
  /** Removes its data. */
  wipe(): void;
}

export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdMember[];
  readonly urls: readonly string[];
}

/** Starts a cluster; it serves when this returns, and is gone at the end of the block. */
export async function startEtcd(options: EtcdOptions): Promise<EtcdCluster> {
  const count = options.members ?? 1;
  const all = Array.from({ length: count }, (_, i) => member(options, i, count));
  const dispose = async (): Promise<void> => void (await Promise.all(all.map((m) => m.kill())));
  try {
    await Promise.all(all.map((m) => m.start()));
  } catch (e) {
    await dispose();
    throw e;
  }
  return { members: all, urls: all.map(({ url }) => url), [Symbol.asyncDispose]: dispose };
}

function member({ root, dir, port, tls, flags = [] }: EtcdOptions, index: number, count: number): EtcdMember {
  const data = join(dir, `member-${port}-${index}`);
  const scheme = tls === undefined ? "http" : "https";
  const client = (i: number): string => `${scheme}://127.0.0.1:${port + 2 * i}`;
  const peer = (i: number): string => `http://127.0.0.1:${port + 2 * i + 1}`;
  const cluster = Array.from({ length: count }, (_, i) => `m${i}=${peer(i)}`).join(",");
  const argv = [
    ...[
      "setpriv",
      "--pdeathsig",
      "KILL",
      join(root, "usr/bin/etcd"),
      `--name=m${index}`,
      `--data-dir=${data}`,
    ],
    ...[`--listen-client-urls=${client(index)}`, `--advertise-client-urls=${client(index)}`],
    ...[`--listen-peer-urls=${peer(index)}`, `--initial-advertise-peer-urls=${peer(index)}`],
    ...[`--initial-cluster=${cluster}`, "--heartbeat-interval=20", "--election-timeout=200"],
    ...["--logger=zap", "--log-outputs=stderr", ...flags],
    ...(tls === undefined
      ? []
      : [
          `--cert-file=${tls.cert}`,
          `--key-file=${tls.key}`,
          `--trusted-ca-file=${tls.ca}`,
          "--client-cert-auth=true",
        ]),
  ];
  let child: Bun.ReadableSubprocess | undefined;
  return {
    url: client(index),
    start: async () => {
      mkdirSync(data, { recursive: true, mode: 0o700 });
      child = Bun.spawn(argv, { env: { ...plainEnv }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
      const log = lineLog(child.stderr);
      await log.line((line) => line.includes("serving client traffic"), patience(20_000));
    },
    kill: async () => {
      child?.kill("SIGKILL");
      await child?.exited;
      child = undefined;
    },
    pause: () => child?.kill("SIGSTOP"),
    resume: () => child?.kill("SIGCONT"),
    wipe: () => rmSync(data, { recursive: true, force: true }),
  };
}

/** Makes an authority and one certificate of it for 127.0.0.1, good for servers and clients. */
export async function certificates(dir: string): Promise<Certificates> {
  mkdirSync(dir, { recursive: true });
  const at = (name: string): string => join(dir, name);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = ["req", "-x509", ...newKey, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-subj", "/CN=test"];
  await run(["openssl", ...ca, "-days", "2"]);
  await run(["openssl", "req", ...newKey, "-keyout", at("key.pem"), "-out", at("csr"), "-subj", "/CN=one"]);
  writeFileSync(at("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  const sign = ["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-extfile", at("ext")];
  await run(["openssl", "x509", "-req", "-in", at("csr"), ...sign, "-out", at("cert.pem"), "-days", "2"]);
  return { ca: at("ca.pem"), cert: at("cert.pem"), key: at("key.pem") };
}
