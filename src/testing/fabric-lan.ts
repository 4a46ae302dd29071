/**
 * Hosts of a fabric on one switch, each a network namespace with a reconciler of its own:
 *
 *     host 1 ─ eth0 192.0.2.1, 2001:db8::1 ─┐
 *     host 2 ─ eth0 192.0.2.2, 2001:db8::2 ─┴ switch
 */
import { type Reconciler, openReconciler } from "../fabric/reconcile/reconciler.ts";
import { FABRIC_PROTOCOL, type Owner, type Place } from "../fabric/reconcile/place.ts";
import type { HostFacts } from "../fabric/transport/transport.ts";
import { openNetlink } from "../netlink/socket.ts";
import { inNetns, type Netns, openNetns } from "../sys/netns.ts";
import { readSysctl, tryWriteSysctl } from "../sys/sysctl.ts";
import { hostFacts } from "./fabric.ts";
import { type TestNetns, testNetns } from "./netns.ts";
import { keyPair } from "./wireguard.ts";

export const testOwner: Owner = { name: "test", routeProtocol: FABRIC_PROTOCOL };

export interface FabricHost {
  readonly net: TestNetns;
  readonly handle: Netns;
  /** What a transport must know of it; its keys are those of its number. */
  readonly facts: HostFacts;
  readonly reconciler: Reconciler;
  /** Commands of `ip -batch`. */
  ip(...lines: readonly string[]): Promise<void>;
  /** What a program prints as JSON. */
  json<T = readonly Readonly<Record<string, unknown>>[]>(...argv: readonly string[]): Promise<T>;
}

export interface FabricLan extends AsyncDisposable {
  readonly hosts: readonly FabricHost[];
}

/** The kernel of a namespace, for as long as its handle is open. */
export const placeIn = (handle: Netns): Place => ({
  socket: inNetns(handle, () => openNetlink("route")),
  openGeneric: () => inNetns(handle, () => openNetlink("generic")),
  readSysctl: (key) => inNetns(handle, () => readSysctl(key)),
  writeSysctl: (key, value) => inNetns(handle, () => tryWriteSysctl(key, value)),
});

export async function fabricLan(count: number, now?: () => number): Promise<FabricLan> {
  await using stack = new AsyncDisposableStack();
  const lan = stack.use(await testNetns());
  await batch(lan, ["link add br0 type bridge", "link set br0 up"]);
  const hosts: FabricHost[] = [];
  for (let n = 1; n <= count; n++) {
    const net = stack.use(await testNetns());
    await batch(lan, [
      `link add port${n} type veth peer name eth0 netns ${net.name}`,
      `link set port${n} master br0`,
      `link set port${n} up`,
    ]);
    await batch(net, [
      "link set eth0 up",
      `address add 192.0.2.${n}/24 dev eth0`,
      `address add 2001:db8::${n}/64 dev eth0 nodad`,
    ]);
    hosts.push(hostIn(stack, net, n, now));
  }
  const kept = stack.move();
  return { hosts, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

function hostIn(
  stack: AsyncDisposableStack,
  net: TestNetns,
  n: number,
  now: (() => number) | undefined,
): FabricHost {
  const handle = stack.use(openNetns(net.path));
  const options = { place: placeIn(handle), ...(now ? { now } : {}) };
  for (const key of ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"])
    options.place.writeSysctl(key, "1");
  return {
    net,
    handle,
    facts: {
      ...hostFacts({ at4: `192.0.2.${n}`, at6: `2001:db8::${n}` }, (ip) =>
        /^(192\.0\.2\.|2001:db8::)/.test(ip.text),
      ),
      keys: keyPair(n),
    },
    reconciler: stack.use(openReconciler(testOwner, options)),
    ip: (...lines) => batch(net, lines),
    json: async <T>(...argv: readonly string[]) => JSON.parse((await net.exec(argv)).stdout || "[]") as T,
  };
}

const batch = async (net: TestNetns, lines: readonly string[]): Promise<void> =>
  void (await net.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` }));
