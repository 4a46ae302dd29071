/**
 * A host for the doctor: as `cni-host.ts`, with an /etc, a /run and plugins of its own besides, an uplink, and one network
 * with an attached container. Nothing that is put there reaches the machine.
 */
import { expect } from "bun:test";
import { existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { type CniHost, cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import type { Outcome } from "../../src/testing/run.ts";

export interface ReportFinding {
  readonly id: string;
  readonly severity: "ok" | "note" | "warning" | "problem";
  readonly subject: string;
  readonly seen: string;
  readonly cure: readonly string[];
  readonly unknown: boolean;
}
export interface Report {
  readonly findings: readonly ReportFinding[];
  readonly summary: Readonly<Record<string, number>>;
  readonly fixes: readonly {
    readonly ids: readonly string[];
    readonly what: string;
    readonly done: readonly { readonly what: string; readonly ok: boolean }[];
  }[];
  readonly code: number;
}

export interface DoctorHost extends AsyncDisposable {
  readonly host: CniHost;
  readonly container: TestNetns;
  /** Runs a program on the host. */
  exec(...argv: readonly string[]): Promise<string>;
  /** The same with something on its standard input. */
  feed(stdin: string, ...argv: readonly string[]): Promise<void>;
  /** Writes a file as this host sees it; `ageSeconds` ago if that is given. */
  put(path: string, text: string, more?: { readonly mode?: number; readonly ageSeconds?: number }): void;
  /** Its path from outside. */
  path(path: string): string;
  /** Puts another network into the configuration directory. */
  network(file: string, list: object): void;
  /** Attaches it; with a mapping of the host's port 8080 if that is said. */
  attach(network: string, netns: TestNetns, mapped?: "mapped"): Promise<void>;
  heddle(...argv: readonly string[]): Promise<Outcome>;
  doctor(...options: readonly string[]): Promise<Report>;
  /** The index of a link. */
  indexOf(link: string): Promise<number>;
}

/** A directory for plugins that a test adds, behind Heddle's. */
export const PLUGINS = "/etc/plugins";
export const NETWORK = "mynet";
export const MY_BRIDGE = "mynet0";

/** The ends of the pair that is its uplink. */
export const UPLINK = ["up0", "wire0"] as const;

/** The beginning of a table's name in containerd's settings, of version 2. */
export const CRI = '[plugins."io.containerd.grpc.v1.cri"';

/** The network of every such host: a gateway, masquerading, port mappings. */
export const myList = (bridge: object = {}, more: readonly object[] = []): object => ({
  cniVersion: "1.1.0",
  name: NETWORK,
  plugins: [
    {
      type: "bridge",
      bridge: MY_BRIDGE,
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", subnet: "10.88.0.0/24", routes: [{ dst: "0.0.0.0/0" }] },
      ...bridge,
    },
    { type: "portmap", capabilities: { portMappings: true } },
    ...more,
  ],
});

const MAPPINGS = JSON.stringify({
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
});

/** Mounts of its own, so that the files of the machine are neither seen nor changed. */
async function makePrivate(host: CniHost): Promise<void> {
  const kept = `${host.dir}/kept`;
  const keep = async (path: string, name: string): Promise<void> => {
    mkdirSync(`${kept}/${name}`, { recursive: true });
    await host.exec(["mount", "--rbind", path, `${kept}/${name}`]);
  };
  const give = async (path: string, name: string): Promise<void> => {
    await host.exec(["mkdir", "-p", path]);
    await host.exec(["mount", "--rbind", `${kept}/${name}`, path]);
  };
  await keep("/run/netns", "netns");
  // The names of the iptables programs are links that lead through there on Debian.
  const alternatives = existsSync("/etc/alternatives");
  if (alternatives) await keep("/etc/alternatives", "alternatives");
  for (const dir of ["/run", "/etc"])
    await host.exec(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", dir]);
  await give("/run/netns", "netns");
  if (alternatives) await give("/etc/alternatives", "alternatives");
}

/** `list` is the network that it begins with. */
export async function doctorHost(heddle: HeddleBinary, list: object = myList()): Promise<DoctorHost> {
  const stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const container = stack.use(await testNetns());
  await makePrivate(host);
  const path = (inside: string): string => `/proc/${host.pid}/root${inside}`;
  const put: DoctorHost["put"] = (file, text, { mode = 0o644, ageSeconds } = {}) => {
    mkdirSync(dirname(path(file)), { recursive: true, mode: 0o755 });
    writeFileSync(path(file), text, { mode });
    if (ageSeconds === undefined) return;
    const then = Date.now() / 1000 - ageSeconds;
    utimesSync(path(file), then, then);
  };
  mkdirSync(path(PLUGINS), { mode: 0o755 });
  const env = { CNI_PATH: `${heddle.cniPath}:${PLUGINS}` };
  const run = (...argv: readonly string[]): Promise<Outcome> => host.cli(argv, env);
  const on: DoctorHost = {
    host,
    container,
    path,
    put,
    exec: async (...argv) => (await host.exec(argv)).stdout,
    feed: async (stdin, ...argv) => void (await host.exec(argv, { stdin })),
    network: (file, conf) => put(`/etc/cni/net.d/${file}`, JSON.stringify(conf)),
    attach: async (network, netns, mapped) => {
      const asked = mapped ? { CAP_ARGS: MAPPINGS } : {};
      const done = await host.cli(["cni", "add", network, netns.path], { ...env, ...asked });
      expect([done.code, done.stderr]).toEqual([0, ""]);
    },
    heddle: run,
    doctor: async (...options) => {
      const { code, stdout, stderr } = await run("doctor", "--json", ...options);
      if (stdout === "") throw new Error(stderr);
      return { ...(JSON.parse(stdout) as Omit<Report, "code">), code };
    },
    indexOf: async (link) => {
      const { stdout } = await host.exec(["ip", "-json", "link", "show", link]);
      return (JSON.parse(stdout) as readonly { readonly ifindex: number }[])[0]?.ifindex ?? 0;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  // The other end is in the host, too: nothing ever leaves it.
  await on.exec("ip", "link", "add", "up0", "type", "veth", "peer", "name", "wire0");
  for (const link of UPLINK) await on.exec("ip", "link", "set", link, "up");
  await on.exec("ip", "address", "add", "192.0.2.1/24", "dev", "up0");
  await on.exec("ip", "route", "add", "default", "via", "192.0.2.254", "dev", "up0");
  on.network(`10-${NETWORK}.conflist`, list);
  await on.attach(NETWORK, container, "mapped");
  return on;
}

/** What the report says of an id beside that it is ok, as `severity subject: seen`. */
export const said = (report: Report, id: string): readonly string[] =>
  report.findings
    .filter((f) => f.id === id && f.severity !== "ok")
    .map((f) => `${f.unknown ? "unknown" : f.severity} ${f.subject}: ${f.seen}`);
