/**
 * One run of the fabric's benchmark, in a process of its own, as an agent begins: PLAYER NODES NETNS. Ours makes
 * the view, the wish and the difference; the floor sends the same requests to the kernel, made before the clock starts.
 * Prints the times as one line of JSON. It is compiled as the executable is.
 */
import { openReconciler } from "../src/fabric/reconcile/reconciler.ts";
import { vxlanTransport } from "../src/fabric/transport/vxlan.ts";
import { viewOf } from "../src/fabric/view.ts";
import { hostPrefix } from "../src/net/ip.ts";
import { openNetlink } from "../src/netlink/socket.ts";
import { addAddress } from "../src/rtnl/address.ts";
import { createLink } from "../src/rtnl/create-link.ts";
import { setTunnelEntry } from "../src/rtnl/forwarding-entry.ts";
import { getLink } from "../src/rtnl/link.ts";
import { neighbourSetting } from "../src/rtnl/neighbour.ts";
import { routeAddition } from "../src/rtnl/route.ts";
import { inNetns, openNetns } from "../src/sys/netns.ts";
import { hostFacts, macOf, numbered, numberedNetwork } from "../src/testing/fabric.ts";
import { placeIn, testOwner } from "../src/testing/fabric-lan.ts";

/** Milliseconds. */
export interface FabricTimes {
  /** From what the store says to the kernel's last answer. */
  readonly join: number;
  /** Time on the processor of all of the process's threads meanwhile, in the kernel too. */
  readonly joinProcessor: number;
  /** The same for one more node, the median of several; ours only. */
  readonly oneMore?: number;
  /** Everything is listed, and every route that somebody flushed is set again; ours only. */
  readonly repair?: number;
}

const MORE = 9;
/** What making up the nodes has left behind is none of the run's. */
const sweep = (): void => Bun.gc(true);
const processorMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const options = { vni: 1, port: 8472, gbp: false, learning: false, directRouting: false };
const self = numbered(1);

function floor(nodes: number, netns: string): FabricTimes {
  using handle = openNetns(netns);
  using socket = inNetns(handle, () => openNetlink("route"));
  const facts = hostFacts({ at4: "192.0.2.1" });
  const all = Array.from({ length: nodes }, (_, i) => numbered(i + 2));
  const { state } = vxlanTransport(options, () => macOf(1)).desired(
    { network: numberedNetwork, self, peers: all },
    facts,
  );
  const { index: lowerIndex } = getLink(socket, { name: "eth0" });
  // The index of the link is chosen, so that everything that names it is written before.
  const link = 1000;
  const neighbours = state.neighbours.map((n) => neighbourSetting({ link, ip: n.ip, mac: n.mac }));
  const entries = state.forwarding.map((f) => setTunnelEntry({ link, mac: f.mac, to: f.to }));
  const routes = state.routes.map((r) =>
    routeAddition({
      dst: r.dst,
      oif: link,
      onLink: true,
      protocol: testOwner.routeProtocol,
      ...(r.gateway ? { gateway: r.gateway } : {}),
    }),
  );
  sweep();
  const since = performance.now();
  const busySince = processorMs();
  const [wanted] = state.links;
  if (wanted?.type.kind !== "vxlan") throw new Error("there is no link");
  createLink(socket, {
    name: wanted.name,
    type: { ...wanted.type, lower: lowerIndex },
    mtuBytes: wanted.mtuBytes,
    index: link,
    up: true,
    ...(wanted.mac ? { mac: wanted.mac } : {}),
  });
  for (const { address } of state.addresses)
    addAddress(socket, link, hostPrefix(address.ip), { dad: false, connectedRoute: true });
  for (const requests of [neighbours, entries, routes]) {
    const [refused] = socket.batch(requests).values();
    if (refused) throw refused;
  }
  return { join: performance.now() - since, joinProcessor: processorMs() - busySince };
}

function ours(nodes: number, netns: string): FabricTimes {
  using handle = openNetns(netns);
  using reconciler = openReconciler(testOwner, { place: placeIn(handle) });
  const facts = hostFacts({ at4: "192.0.2.1" });
  const transport = vxlanTransport(options, () => macOf(1));
  const all = Array.from({ length: nodes + MORE }, (_, i) => numbered(i + 2));
  const reconcile = (count: number): number => {
    const known = all.slice(0, count);
    const since = performance.now();
    const { view } = viewOf({ network: numberedNetwork, self, nodes: known, publics: transport.publics });
    const { failures } = reconciler.reconcile(transport.desired(view, facts).state);
    const took = performance.now() - since;
    if (failures[0]) throw failures[0].error;
    return took;
  };
  sweep();
  const busySince = processorMs();
  const join = reconcile(nodes);
  const joinProcessor = processorMs() - busySince;
  const more = Array.from({ length: MORE }, (_, i) => reconcile(nodes + i + 1)).toSorted((a, b) => a - b);
  const flush = ["ip", "netns", "exec", netns.replace(/^.*\//, ""), "ip", "route", "flush", "proto", "73"];
  if (Bun.spawnSync(flush).exitCode !== 0) throw new Error("the routes were not flushed");
  reconciler.relist();
  const repair = reconcile(nodes + MORE);
  return { join, joinProcessor, oneMore: more[MORE >> 1] ?? Number.NaN, repair };
}

const [player = "", nodes = "", netns = ""] = process.argv.slice(2);
console.log(JSON.stringify((player === "floor" ? floor : ours)(Number(nodes), netns)));
