/**
 * One stream of TCP between containers of two hosts, whose kernels our reconciler has set up or a person with `ip` and `bridge`: what a
 * fabric costs beyond the kernel's own tunnels, which should be nothing. Both pairs of hosts are there at once and are measured by
 * turns.
 */
import type { FabricNode } from "../src/fabric/model.ts";
import { hostGatewayTransport } from "../src/fabric/transport/host-gw.ts";
import type { Transport } from "../src/fabric/transport/transport.ts";
import { vxlanTransport } from "../src/fabric/transport/vxlan.ts";
import { viewOf } from "../src/fabric/view.ts";
import { fabricNode, macOf, subnets } from "../src/testing/fabric.ts";
import { type FabricHost, fabricLan } from "../src/testing/fabric-lan.ts";
import { plainRows, shownObjects } from "../src/testing/kernel-objects.ts";
import { lineLog } from "../src/testing/line-log.ts";
import { testNetns } from "../src/testing/netns.ts";
import { run } from "../src/testing/run.ts";
import type { IperfResult, Meters } from "./meters.ts";
import { shuffled, summarize, type Summary } from "./stats.ts";

export const backends = ["vxlan", "host-gw"] as const;
export type Backend = (typeof backends)[number];

export interface Streams {
  readonly backend: Backend;
  /** Gbit/s. */
  readonly ours: Summary;
  readonly byHand: Summary;
  /** Of each pair's two. */
  readonly ratio: Summary;
  /** Objects of the first host's kernel, which the programs show alike on both; a difference is an error. */
  readonly equalObjects: number;
}

export interface StreamOptions {
  readonly pairs: number;
  readonly seconds: number;
  readonly random: () => number;
}

type Maker = "ours" | "by hand";
const makers: readonly Maker[] = ["ours", "by hand"];
const network = subnets({ v4: "10.0.0.0/8" });

/** @throws Error if what we have set up is not what was set up by hand */
export async function compareStreams(
  backend: Backend,
  meters: Meters,
  { pairs, seconds, random }: StreamOptions,
): Promise<Streams> {
  await using stack = new AsyncDisposableStack();
  const sites = { ours: await makeSite(stack, backend, "ours", meters) } as Record<Maker, Site>;
  sites["by hand"] = await makeSite(stack, backend, "by hand", meters);
  const [ours, byHand] = [await sites.ours.objects(), await sites["by hand"].objects()];
  if (!Bun.deepEquals(ours, byHand))
    throw new Error(
      `${backend}: the kernel has\n${ours.join("\n")}\nand set up by hand\n${byHand.join("\n")}`,
    );
  const values: Record<Maker, number[]> = { ours: [], "by hand": [] };
  // The first pair warms up and is not counted.
  for (let pair = 0; pair <= pairs; pair++)
    for (const maker of shuffled(makers, random)) {
      const value = await sites[maker].gigabits(pair === 0 ? 1 : seconds);
      if (pair > 0) values[maker].push(value);
    }
  return {
    backend,
    ours: summarize(values.ours),
    byHand: summarize(values["by hand"]),
    ratio: summarize(values.ours.map((value, i) => value / (values["by hand"][i] ?? Number.NaN))),
    equalObjects: ours.length,
  };
}

interface Site {
  /** What a stream of so many seconds carries, in Gbit/s. */
  gigabits(seconds: number): Promise<number>;
  /** What the first host's kernel has of the fabric. */
  objects(): Promise<readonly string[]>;
}

const transportOf = (backend: Backend): Transport =>
  backend === "host-gw"
    ? hostGatewayTransport()
    : vxlanTransport({ vni: 1, port: 8472, gbp: false, learning: false, directRouting: false }, () =>
        macOf(1),
      );

const nodeOf = (backend: Backend, n: number): FabricNode =>
  fabricNode(`host${n}`, {
    v4: `10.0.${n}.0/24`,
    at4: `192.0.2.${n}`,
    backend: backend === "vxlan" ? { type: "vxlan", v4: { VNI: 1, VtepMAC: macOf(n) } } : { type: "host-gw" },
  });

async function makeSite(
  stack: AsyncDisposableStack,
  backend: Backend,
  maker: Maker,
  { iperf3, env }: Meters,
): Promise<Site> {
  const { hosts } = stack.use(await fabricLan(2));
  const [first, second] = hosts;
  if (first === undefined || second === undefined) throw new RangeError("two hosts");
  const transport = transportOf(backend);
  const containers: string[] = [];
  for (const [i, host] of hosts.entries()) {
    if (maker === "ours") reconcile(host, transport, backend, i + 1);
    else await byHand[backend](host, i + 1, 2 - i);
    containers.push(
      await attach(stack, host, i + 1, transport.mtuBytes({ ...host.facts, local: v4Of(host) })),
    );
  }
  const inside = (n: number, ...argv: readonly string[]): readonly string[] => [
    ...["ip", "netns", "exec", containers[n - 1] ?? "", iperf3],
    ...argv,
  ];
  const server = Bun.spawn([...inside(2, "-s", "--forceflush")], {
    env: { ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  stack.defer(async () => {
    server.kill("SIGKILL");
    await server.exited;
  });

  await lineLog(server.stdout).line((line) => line.includes("Server listening"));
  return {
    async gigabits(seconds) {
      const argv = inside(1, "-J", "-c", "10.0.2.2", "-t", String(seconds));
      const { stdout } = await run(argv, { env, timeoutMs: (seconds + 30) * 1000 });
      return (JSON.parse(stdout) as IperfResult).end.sum_received.bits_per_second / 1e9;
    },
    objects: async () =>
      backend === "vxlan"
        ? shownObjects(first, "flannel.1")
        : plainRows(await first.json("ip", "-d", "-j", "route", "show", "table", "main")),
  };
}

const v4Of = ({ facts }: FabricHost) => (facts.local.v4 ? { v4: facts.local.v4 } : {});

function reconcile(host: FabricHost, transport: Transport, backend: Backend, n: number): void {
  const nodes = [1, 2].map((one) => nodeOf(backend, one));
  const self = nodeOf(backend, n);
  const { view } = viewOf({ network, self, nodes, publics: transport.publics });
  const { state, troubles } = transport.desired(view, { ...host.facts, local: v4Of(host) });
  const { failures } = host.reconciler.reconcile(state);
  if (troubles[0]) throw new Error(troubles[0].why);
  if (failures[0]) throw failures[0].error;
}

/** What a person would type on host `n` of two, whose other one is `far`. */
const byHand: Readonly<Record<Backend, (host: FabricHost, n: number, far: number) => Promise<void>>> = {
  vxlan: async (host, n, far) => {
    const type = `type vxlan id 1 local 192.0.2.${n} dev eth0 dstport 8472 nolearning`;
    await host.ip(
      `link add flannel.1 address ${macOf(n)} mtu 1450 ${type}`,
      "link set flannel.1 up",
      `address add 10.0.${n}.0/32 dev flannel.1`,
      `neigh add 10.0.${far}.0 lladdr ${macOf(far)} dev flannel.1 nud permanent`,
      `route add 10.0.${far}.0/24 via 10.0.${far}.0 dev flannel.1 onlink`,
    );
    const entry = ["bridge", "fdb", "add", macOf(far), "dev", "flannel.1", "dst", `192.0.2.${far}`];
    await host.net.exec(entry);
  },
  "host-gw": (host, _, far) => host.ip(`route add 10.0.${far}.0/24 via 192.0.2.${far} dev eth0`),
};

/** A container at a bridge of the host, 10.0.N.2. Returns the name of its namespace. */
async function attach(
  stack: AsyncDisposableStack,
  host: FabricHost,
  n: number,
  mtuBytes: number,
): Promise<string> {
  const container = stack.use(await testNetns());
  await host.ip(
    `link add cni0 mtu ${mtuBytes} type bridge`,
    "link set cni0 up",
    `address add 10.0.${n}.1/24 dev cni0`,
    `link add port1 mtu ${mtuBytes} type veth peer name eth0 mtu ${mtuBytes} netns ${container.name}`,
    "link set port1 master cni0",
    "link set port1 up",
  );
  for (const words of [
    ["link", "set", "eth0", "up"],
    ["address", "add", `10.0.${n}.2/24`, "dev", "eth0"],
    ["route", "add", "default", "via", `10.0.${n}.1`],
  ])
    await container.exec(["ip", ...words]);
  return container.name;
}
