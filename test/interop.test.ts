/**
 * A node changes over, either way, while its containers run: what the reference plugins attached is detached by ours,
 * and the other way round.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { join } from "node:path";
import { cniHost, type CniHost, type PluginReply } from "../src/testing/cni-host.ts";
import { type HeddleBinary, heddleBinary } from "../src/testing/executable.ts";
import { testWith, whyNot } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { peerProgram } from "../src/testing/peer.ts";
import { demand, difference } from "./faults/loop.ts";

const peer = whyNot({ root: true }) === undefined ? await peerProgram("bridge") : undefined;
const kernel = testWith({
  root: true,
  programs: ["ip", "nft", "iptables", "nsenter", "unshare"],
  feature: peer === undefined ? "needs the reference plugins" : true,
});
const peerPath = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

type Json = Readonly<Record<string, unknown>>;
const BACKENDS = ["nftables", "iptables"] as const;
type Backend = (typeof BACKENDS)[number];
const MAIN = ["bridge", "ptp"] as const;
const PORTS = [
  { hostPort: 9696, containerPort: 80, protocol: "tcp" },
  { hostPort: 9697, containerPort: 80, protocol: "udp", hostIP: "127.0.0.1" },
];

/** One of the two implementations, on a host. */
interface Player {
  readonly host: CniHost;
  readonly file: (type: string) => string;
  readonly path: string;
}
interface Subject {
  readonly netns: string;
  readonly main: (typeof MAIN)[number];
  readonly backend: Backend;
}

const pair = (host: CniHost): readonly [reference: Player, ours: Player] => [
  { host, file: (type) => join(peerPath, type), path: peerPath },
  { host, file: (type) => heddle.at(type), path: heddle.cniPath },
];

function confs(host: CniHost, { main, backend }: Subject): readonly Json[] {
  const ipam = {
    type: "host-local",
    dataDir: join(host.dir, "ipam"),
    ranges: [[{ subnet: "10.95.0.0/24" }], [{ subnet: "fd95::/64" }]],
  };
  const network = { cniVersion: "1.1.0", name: "interop" };
  const options = main === "bridge" ? { bridge: "int0", isGateway: true } : {};
  return [
    { ...network, type: main, ipMasq: true, ipMasqBackend: backend, ipam, ...options },
    { ...network, type: "portmap", backend, runtimeConfig: { portMappings: PORTS } },
  ];
}

const call = (
  p: Player,
  on: Subject,
  command: "ADD" | "CHECK" | "DEL" | "GC",
  conf: Json,
): Promise<PluginReply> => {
  const key = { containerId: "interop-1", netns: on.netns, ifname: "eth0", env: { CNI_PATH: p.path } };
  return p.host.call(p.file(String(conf["type"])), { command, ...key }, conf);
};

async function attach(p: Player, on: Subject): Promise<Json> {
  let prevResult: Json | undefined;
  for (const conf of confs(p.host, on)) {
    const reply = await call(p, on, "ADD", prevResult ? { ...conf, prevResult } : conf);
    prevResult = demand(`ADD of ${String(conf["type"])}`, reply).result;
  }
  return prevResult ?? {};
}

async function detach(p: Player, on: Subject, prevResult: Json): Promise<void> {
  for (const conf of confs(p.host, on).toReversed())
    await call(p, on, "DEL", { ...conf, prevResult }).then((reply) => {
      // The reference fails to remove rules of iptables that were never made, and goes on all the same.
      if (!(p.path === peerPath && reply.message.includes("does not exist"))) demand("DEL", reply);
    });
}

const cases = MAIN.flatMap((main) => BACKENDS.map((backend) => [main, backend] as const));
const left = (before: readonly string[], after: readonly string[]): string[] =>
  difference(before, after).filter((line) => line.startsWith("left"));

describe("an attachment of the reference", () => {
  kernel.each(cases)("of %s by %s leaves nothing after our DEL", async (main, backend) => {
    await using host = await cniHost(heddle);
    await using netns = await testNetns();
    const on = { netns: netns.path, main, backend };
    const [reference, ours] = pair(host);
    await detach(reference, on, await attach(reference, on));
    const before = await host.snapshot([on.netns]);
    const result = await attach(reference, on);
    expect(left(before, await host.snapshot([on.netns])).length).toBeGreaterThan(5);
    await detach(ours, on, result);
    expect(left(before, await host.snapshot([on.netns]))).toEqual([]);
    // As a runtime does that never calls DEL once only.
    await detach(ours, on, result);
  });

  kernel.each(cases)(
    "of %s by %s leaves nothing after our DEL without its namespace",
    async (main, backend) => {
      await using host = await cniHost(heddle);
      await using other = await testNetns();
      const [reference, ours] = pair(host);
      const stays = { netns: other.path, main, backend };
      await detach(reference, stays, await attach(reference, stays));
      const before = await host.snapshot();
      {
        await using netns = await testNetns();
        await attach(reference, { netns: netns.path, main, backend });
      }
      const gone = { netns: "/run/netns/gone", main, backend };
      for (const conf of confs(host, gone).toReversed()) {
        const { runtimeConfig: _, ...bare } = conf;
        demand("DEL", await call(ours, gone, "DEL", bare));
      }
      expect(left(before, await host.snapshot())).toEqual([]);
    },
  );
});

describe("an attachment of ours", () => {
  kernel.each(cases)(
    "of %s by %s is detached by the reference; our GC takes what it does not know",
    async (main, backend) => {
      await using host = await cniHost(heddle);
      await using netns = await testNetns();
      const on = { netns: netns.path, main, backend };
      const [reference, ours] = pair(host);
      await detach(ours, on, await attach(ours, on));
      const before = await host.snapshot([on.netns]);
      await detach(reference, on, await attach(ours, on));
      for (const conf of confs(host, on)) demand("GC", await call(ours, on, "GC", { ...conf, ...NONE }));
      expect(left(before, await host.snapshot([on.netns])).filter((line) => !REFERENCE.test(line))).toEqual(
        [],
      );
    },
  );
});

const NONE = { "cni.dev/valid-attachments": [] };
/** Tables that the reference makes when it looks for what it should remove. */
const REFERENCE = /nft: table (ip|ip6|inet) (nat|filter|cni_\w+)/;
