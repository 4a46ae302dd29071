/**
 * Lays the underlay: bridges in the router, a cable to every host, addresses, routes and sysctls, by what `underlay.ts` has
 * planned. Runs in the process that has made the namespaces; sockets are opened inside of them and used from outside.
 */
import { NetError } from "../errors.ts";
import { activeFeatures, setFeatures } from "../genl/ethtool.ts";
import { defaultRoute, type Family, hostPrefix } from "../net/ip.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { addAddress } from "../rtnl/address.ts";
import { createBridge, createVeth, getLink, setLink } from "../rtnl/link.ts";
import { addRoute } from "../rtnl/route.ts";
import { inNetns, type Netns, openNetns } from "../sys/netns.ts";
import { tryWriteSysctl } from "../sys/sysctl.ts";
import type { LabSpec } from "./model.ts";
import type { LabPaths } from "./paths.ts";
import { type HostPlan, ROUTER, type Underlay, UPLINK } from "./underlay.ts";

/** What `--offload off` switches off, at both ends of a cable, by ethtool's names: all that lets packets cross it that a wire would not carry. */
const isOffload = (feature: string): boolean =>
  /^tx-.*-segmentation$|^tx-gso-|^rx-gro|^rx-udp-gro/.test(feature);

/** As a new kernel has them, whatever the machine's own settings: IPv4's are copied into new namespaces. */
const everywhere: Readonly<Record<string, string>> = {
  "net/ipv4/conf/all/rp_filter": "0",
  "net/ipv4/conf/default/rp_filter": "0",
  "net/ipv4/conf/all/accept_redirects": "0",
  // Addresses are the plan's, and nobody waits for the detection of duplicates.
  "net/ipv6/conf/default/accept_dad": "0",
  "net/ipv6/conf/default/accept_ra": "0",
};
const forwarding = (on: boolean): Readonly<Record<string, string>> => ({
  "net/ipv4/ip_forward": on ? "1" : "0",
  "net/ipv6/conf/all/forwarding": on ? "1" : "0",
});

interface Place extends Disposable {
  readonly netns: Netns;
  readonly route: NetlinkSocket;
}

function openPlace(path: string): Place {
  using stack = new DisposableStack();
  const netns = stack.use(openNetns(path));
  const route = stack.use(inNetns(netns, () => openNetlink("route")));
  const owned = stack.move();
  return { netns, route, [Symbol.dispose]: () => owned[Symbol.dispose]() };
}

export function wireLab(paths: LabPaths, spec: LabSpec, underlay: Underlay): void {
  using router = openPlace(paths.host(ROUTER).net);
  prepare(router, forwarding(true));
  const loopback = getLink(router.route, { name: "lo" }).index;
  for (const ip of underlay.outside)
    addAddress(router.route, loopback, hostPrefix(ip), { dad: false, connectedRoute: true });
  const bridges = new Map<string, number>();
  for (const { bridge, mac, router: addresses } of underlay.subnets) {
    createBridge(router.route, { name: bridge, mac, mtuBytes: spec.mtuBytes });
    const { index } = getLink(router.route, { name: bridge });
    bridges.set(bridge, index);
    for (const address of addresses)
      addAddress(router.route, index, address, { dad: false, connectedRoute: true });
    setLink(router.route, { index }, { up: true });
  }
  for (const host of underlay.hosts) {
    using place = openPlace(paths.host(host.name).net);
    prepare(place, forwarding(false));
    connect(router, place, host, { ...spec, master: bridges.get(host.subnet.bridge) ?? 0 });
    giveAddresses(place.route, host, underlay.families);
  }
  for (const { port } of underlay.hosts)
    if (!waitUntilPassing(router.route, port))
      throw new NetError("try-again", { why: `the port ${port} of ${ROUTER} does not forward` });
}

const PASSING_LIMIT_MS = 5_000;
const STEP_MS = 1;

/**
 * A new port of a bridge, or one that comes up again, passes frames only once the kernel has seen its carrier; what is sent
 * before is lost. False: it does not after five seconds, because its other end is down for example.
 */
export function waitUntilPassing(router: NetlinkSocket, port: string): boolean {
  for (const deadline = performance.now() + PASSING_LIMIT_MS; ; Bun.sleepSync(STEP_MS)) {
    const link = getLink(router, { name: port });
    if (link.operState === "up" && link.port?.forwarding === true) return true;
    if (performance.now() > deadline) return false;
  }
}

function prepare(place: Place, sysctls: Readonly<Record<string, string>>): void {
  inNetns(place.netns, () => {
    for (const [key, value] of Object.entries({ ...everywhere, ...sysctls })) tryWriteSysctl(key, value);
  });
  setLink(place.route, { name: "lo" }, { up: true });
}

function connect(
  router: Place,
  place: Place,
  host: HostPlan,
  { mtuBytes, offload, master }: Pick<LabSpec, "mtuBytes" | "offload"> & { readonly master: number },
): void {
  createVeth(
    router.route,
    { name: host.port, mac: host.portMac, mtuBytes, master, up: true },
    { name: UPLINK, mac: host.mac, mtuBytes, netnsFd: place.netns.fd },
  );
  if (!offload) {
    for (const [end, device] of [
      [router, host.port],
      [place, UPLINK],
    ] as const) {
      using socket = inNetns(end.netns, () => openNetlink("generic"));
      const active = activeFeatures(socket, device).filter(isOffload);
      setFeatures(socket, device, Object.fromEntries(active.map((name) => [name, false])));
    }
  }
  setLink(place.route, { name: UPLINK }, { up: true });
}

/** The host's addresses and its default routes; what was there under another address is the caller's to remove. */
export function giveAddresses(
  socket: NetlinkSocket,
  host: Pick<HostPlan, "addresses" | "gateways">,
  families: readonly Family[],
): void {
  const { index } = getLink(socket, { name: UPLINK });
  for (const address of host.addresses)
    addAddress(socket, index, address, { dad: false, connectedRoute: true });
  for (const family of families) {
    const gateway = host.gateways.find((ip) => ip.family === family);
    if (gateway !== undefined) addRoute(socket, { dst: defaultRoute(family), gateway, oif: index });
  }
}
