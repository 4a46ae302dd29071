/** A lab of three hosts whose agents share an etcd, one container in each, and what the suites ask of it. */
import { expect } from "bun:test";
import { join } from "node:path";
import type { Status } from "../../src/agent/status.ts";
import { addressIn } from "../../src/lab/look.ts";
import type { Family } from "../../src/net/ip.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { type TestLab, testLab } from "../../src/testing/lab.ts";
import type { Inhabitant } from "../../src/testing/loads.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Backend, choiceOf, type IpChoice } from "./backends.ts";

export const HOSTS = ["host1", "host2", "host3"] as const;
export const CONTAINER = "c1";
/** Of the underlay's links. */
export const UNDERLAY_MTU = 1500;

export interface Fabric extends AsyncDisposable {
  readonly lab: TestLab;
  readonly backend: Backend;
  readonly ip: IpChoice;
  readonly families: readonly Family[];
  /** Of containers, in bytes. */
  readonly mtuBytes: number;
  /** False: the hosts' store is a directory. */
  readonly hasEtcd: boolean;
  /** `heddle lab fault WORDS`, with etcd in `PATH` for a start. */
  fault(...words: readonly string[]): Promise<void>;
}

/** `etcd` is where its packages were unpacked; without it the store is a directory. Bind it with `await using`. */
export async function makeFabric(
  heddle: HeddleBinary,
  backend: Backend,
  ip: IpChoice,
  etcd: string | undefined,
): Promise<Fabric> {
  const PATH = [...(etcd === undefined ? [] : [join(etcd, "usr/bin")]), plainEnv["PATH"]].join(":");
  const env = { ...plainEnv, PATH };
  const store = etcd === undefined ? "file" : "etcd";
  const words = [
    "--provider",
    "flannel",
    "--backend",
    choiceOf(backend),
    "--store",
    store,
    "--ip",
    String(ip),
  ];
  const lab = await testLab({ heddle, env }, "--hosts", String(HOSTS.length), ...words);
  return {
    lab,
    backend,
    ip,
    families: ip === "dual" ? [4, 6] : [ip],
    mtuBytes: UNDERLAY_MTU - (backend.overheadBytes[ip] ?? 0),
    hasEtcd: etcd !== undefined,
    fault: async (...fault) => void (await lab.command(["fault", ...fault], { env })),
    [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
  };
}

export interface LabContainer extends Inhabitant {
  readonly host: string;
  readonly name: string;
  /** As `lab exec` takes it. */
  readonly place: string;
  /** Empty without one. */
  readonly v4: string;
  readonly v6: string;
}

export const addressOf = ({ v4, v6 }: LabContainer, family: Family): string => (family === 4 ? v4 : v6);

/** A container as it is now. */
export async function containerOf({ lab }: Fabric, host: string, name: string): Promise<LabContainer> {
  const { hosts } = await lab.status();
  const found = hosts.find((h) => h.name === host)?.containers.find((c) => c.name === name);
  if (found?.there !== true) throw new Error(`there is no ${host}/${name}`);
  return {
    host,
    name,
    place: `${host}/${name}`,
    netns: { path: `${lab.paths.host(host).netns}/${name}` },
    v4: addressIn(found.addresses, 4) ?? "",
    v6: addressIn(found.addresses, 6) ?? "",
  };
}

/** The first container of each of two hosts. */
export const twoContainers = (fabric: Fabric): Promise<readonly [LabContainer, LabContainer]> =>
  Promise.all([containerOf(fabric, "host1", CONTAINER), containerOf(fabric, "host2", CONTAINER)]);

/** What the agent of a host answers; undefined if none does. */
async function statusOf({ lab }: Fabric, host: string): Promise<Status | undefined> {
  const { code, stdout } = await lab.exec(host, ["heddle", "agent", "status", "--json"], {
    mustSucceed: false,
  });
  return code === 0 ? (JSON.parse(stdout) as Status) : undefined;
}

/** An agent may ask for the configuration half a minute after the store came back, and only then believe that it has. */
const STATUS_LIMIT_MS = 60_000;

/** Waits until the agents of these hosts say what they should. */
export async function untilAgents(
  fabric: Fabric,
  hosts: readonly string[],
  what: string,
  fits: (status: Status) => boolean,
): Promise<void> {
  const end = performance.now() + patience(STATUS_LIMIT_MS, 240_000);
  for (const host of hosts)
    for (;;) {
      const status = await statusOf(fabric, host);
      if (status !== undefined && fits(status)) break;
      if (performance.now() > end)
        throw new Error(`${host} is not ${what}: ${JSON.stringify(status, undefined, 2)}`);
      await Bun.sleep(20);
    }
}

/** Waits until everyone reaches everyone: what changed has to be heard of first. */
export async function untilReached(fabric: Fabric): Promise<void> {
  const end = performance.now() + patience(STATUS_LIMIT_MS, 240_000);
  while ((await fabric.lab.ping("--timeout", String(pingMs(true)))).code !== 0 && performance.now() < end);
  await expectReached(fabric);
}

/** Waits until these hosts are ready, each with so many peers. */
export const untilPeers = (fabric: Fabric, hosts: readonly string[], peers: number): Promise<void> =>
  untilAgents(fabric, hosts, `ready with ${peers} peers`, (s) => s.ready && s.nodes.peers === peers);

/** How long answers are waited for, in milliseconds; where silence is expected it is not listened to for long. */
const pingMs = (silence: boolean): number => (silence ? patience(300, 3_000) : patience(2_000, 30_000));

/** `host1` or `host1/c1`, and what is outside. */
export const hostOf = (party: string): string => party.split("/", 1)[0] ?? "";
export const isContainer = (party: string): boolean => party.includes("/");

/** Everyone pings everyone: exactly those pairs have no answer that are said to have none, by default none. */
export async function expectReached(
  fabric: Fabric,
  isMissed?: (from: string, to: string) => boolean,
): Promise<void> {
  const { all } = await fabric.lab.ping("--timeout", String(pingMs(isMissed !== undefined)));
  const named = (some: typeof all): readonly string[] =>
    some.map(({ from, to, family }) => `${from} ${to} IPv${family}`).toSorted();
  const missed = all.filter((p) => p.received === 0);
  expect(named(missed)).toEqual(named(all.filter((p) => isMissed?.(p.from, p.to) === true)));
  // Each reaches the others and what is outside, in each family.
  const { hosts } = await fabric.lab.status();
  const parties = hosts.reduce((sum, { containers }) => sum + 1 + containers.length, 0);
  expect(all).toHaveLength(parties * parties * fabric.families.length);
}
