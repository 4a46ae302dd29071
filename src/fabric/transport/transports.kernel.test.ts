/** Transports, view and reconciler together: hosts whose containers speak to one another. */
import { describe, expect } from "bun:test";
import { fabricNode, macOf, subnets } from "../../testing/fabric.ts";
import { type FabricHost, type FabricLan, fabricLan } from "../../testing/fabric-lan.ts";
import { plainRows } from "../../testing/kernel-objects.ts";
import { kernelTest as test, onKernelWith } from "../../testing/needs.ts";
import { keyPair } from "../../testing/wireguard.ts";
import type { FabricNode } from "../model.ts";
import { viewOf } from "../view.ts";
import { hostGatewayTransport } from "./host-gw.ts";
import { ipipTransport } from "./ipip.ts";
import type { HostFacts, Transport } from "./transport.ts";
import { vxlanTransport } from "./vxlan.ts";
import { wireguardTransport, type WireguardOptions } from "./wireguard.ts";

const network = subnets({ v4: "10.0.0.0/8", v6: "fd00:10::/32" });
let drawn = 0;
const vxlan = (directRouting = false, gbp = false): Transport =>
  vxlanTransport({ vni: 1, port: 8472, gbp, learning: false, directRouting }, () => macOf(++drawn));

type Families = readonly (4 | 6)[];
const factsFor = ({ facts }: FabricHost, families: Families): HostFacts => ({
  ...facts,
  local: {
    ...(families.includes(4) && facts.local.v4 ? { v4: facts.local.v4 } : {}),
    ...(families.includes(6) && facts.local.v6 ? { v6: facts.local.v6 } : {}),
  },
});

function nodesOf({ hosts }: FabricLan, transport: Transport, families: Families): readonly FabricNode[] {
  return hosts.map((host, i) => {
    const n = i + 1;
    const backend = transport.announce(factsFor(host, families), undefined);
    return fabricNode(`host${n}`, {
      ...(families.includes(4) ? { v4: `10.0.${n}.0/24`, at4: `192.0.2.${n}` } : {}),
      ...(families.includes(6) ? { v6: `fd00:10:${n}::/64`, at6: `2001:db8::${n}` } : {}),
      ...(backend ? { backend } : {}),
    });
  });
}

/** Every host's kernel gets what the transport says, and an address as of a container. */
async function join(lan: FabricLan, transport: Transport, families: Families): Promise<void> {
  const nodes = nodesOf(lan, transport, families);
  for (const [i, host] of lan.hosts.entries()) {
    const self = nodes[i] as FabricNode;
    const seen = viewOf({ network, self, nodes, publics: transport.publics });
    const { state, troubles } = transport.desired(seen.view, factsFor(host, families));
    expect([...seen.troubles, ...troubles]).toEqual([]);
    const { failures } = host.reconciler.reconcile(state);
    expect(failures.map(({ error }) => error.message)).toEqual([]);
    await host.ip(
      "link add cni0 type bridge",
      "link set cni0 up",
      `address add 10.0.${i + 1}.1/24 dev cni0`,
      `address add fd00:10:${i + 1}::1/64 dev cni0 nodad`,
    );
  }
}

/** Answers every datagram, and sends to each of the others until it answers; then says so and goes on answering. */
// Who is asked before it listens refuses, which the next call on the socket tells.
const ECHO = `const unrefused = (send) => { try { send(); } catch {} };
const { own, others } = JSON.parse(process.argv[1]);
const missing = new Set(others.map((o) => o.to));
const sockets = new Map();
for (const address of own)
  sockets.set(address, await Bun.udpSocket({ hostname: address, port: 7007, socket: {
    data(socket, bytes, port, from) {
      if (bytes[0] === 1) return missing.delete(from);
      bytes[0] = 1;
      unrefused(() => socket.send(bytes, port, from));
    }, error() {} } }));
while (missing.size > 0) {
  for (const { from, to, bytes } of others)
    if (missing.has(to)) unrefused(() => sockets.get(from).send(new Uint8Array(bytes), 7007, to));
  await Bun.sleep(50);
}
console.log("all answered");`;

const addressOf = (family: 4 | 6, host: number): string =>
  family === 4 ? `10.0.${host}.1` : `fd00:10:${host}::1`;
/** IP and UDP. */
const headers = { 4: 28, 6: 48 } as const;

/** Datagrams, as large as containers may send, from every host's container address to every other's and back. */
async function allToAll({ hosts }: FabricLan, mtuBytes: number, families: Families): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const numbers = hosts.map((_, i) => i + 1);
  const running = hosts.map(({ net }, i) => {
    const words = {
      own: families.map((family) => addressOf(family, i + 1)),
      others: families.flatMap((family) =>
        numbers
          .filter((n) => n !== i + 1)
          .map((n) => ({
            from: addressOf(family, i + 1),
            to: addressOf(family, n),
            bytes: mtuBytes - headers[family],
          })),
      ),
    };
    return stack.use(net.start([process.execPath, "-e", ECHO, JSON.stringify(words)]));
  });
  await Promise.all(running.map((host) => host.printed("all answered")));
  // A tunnel whose MTU is too large for its underlay works, in pieces.
  for (const { net } of hosts) {
    const counters = await net.exec(["cat", "/proc/net/snmp", "/proc/net/snmp6"]);
    expect(/^Ip6FragCreates\s+(\d+)/m.exec(counters.stdout)?.[1]).toBe("0");
    const [names, values] = counters.stdout.split("\n").map((line) => line.split(" ")) as [
      string[],
      string[],
    ];
    expect(values[names.indexOf("FragCreates")]).toBe("0");
  }
}

describe("containers of three hosts reach one another", () => {
  test.each<[string, () => Transport, Families, number]>([
    ["by vxlan over IPv4", vxlan, [4], 1450],
    ["by vxlan over IPv6", vxlan, [6], 1430],
    ["by vxlan in dual stack", vxlan, [4, 6], 1430],
    ["by vxlan with group policy", () => vxlan(false, true), [4], 1450],
    ["by vxlan with direct routing", () => vxlan(true), [4, 6], 1430],
    ["by host-gw over IPv4", hostGatewayTransport, [4], 1500],
    ["by host-gw in dual stack", hostGatewayTransport, [4, 6], 1500],
  ])("%s", async (_, make, families, mtuBytes) => {
    await using lan = await fabricLan(3);
    const transport = make();
    await join(lan, transport, families);
    for (const host of lan.hosts) expect(transport.mtuBytes(factsFor(host, families))).toBe(mtuBytes);
    await allToAll(lan, mtuBytes, families);
  });
});

test("by host-gw a host has the same routes as one that was set up by hand", async () => {
  await using lan = await fabricLan(2);
  const [host, byHand] = lan.hosts as [FabricHost, FabricHost];
  const self = nodesOf(lan, hostGatewayTransport(), [4, 6])[0] as FabricNode;
  const far = fabricNode("host3", {
    ...{ v4: "10.0.3.0/24", at4: "192.0.2.3", v6: "fd00:10:3::/64", at6: "2001:db8::3" },
    backend: { type: "host-gw" },
  });
  const { state } = hostGatewayTransport().desired({ network, self, peers: [far] }, host.facts);
  expect(host.reconciler.reconcile(state).failures).toEqual([]);
  await byHand.ip(
    "route add 10.0.3.0/24 via 192.0.2.3 dev eth0",
    "route add fd00:10:3::/64 via 2001:db8::3 dev eth0",
  );
  const shown = async ({ json }: FabricHost): Promise<readonly string[]> => {
    const four = await json("ip", "-d", "-j", "route", "show", "10.0.3.0/24");
    const six = await json("ip", "-6", "-d", "-j", "route", "show", "fd00:10:3::/64");
    expect([four.length, six.length]).toEqual([1, 1]);
    return plainRows([...four, ...six]);
  };
  expect(await shown(host)).toEqual(await shown(byHand));
});

onKernelWith(["wireguard"], () => {
  const usual = { listenPort: 51_820, listenPortV6: 51_821, keepaliveSeconds: 0 } as const;
  const presharedKey = keyPair(99).privateKey;
  test.each<[string, WireguardOptions, Families]>([
    [
      "with a tunnel for each family, and a preshared key",
      { ...usual, mode: "separate", presharedKey },
      [4, 6],
    ],
    ["with one tunnel over IPv6", { ...usual, mode: "ipv6" }, [4, 6]],
  ])("containers of three hosts reach one another by wireguard %s", async (_, options, families) => {
    await using lan = await fabricLan(3);
    await join(lan, wireguardTransport(options), families);
    await allToAll(lan, 1420, families);
  });
});

onKernelWith(["ipip"], () => {
  for (const directRouting of [false, true])
    test(`containers of three hosts reach one another by ipip, direct routing ${String(directRouting)}`, async () => {
      await using lan = await fabricLan(3);
      await join(lan, ipipTransport({ directRouting }), [4]);
      await allToAll(lan, 1480, [4]);
    });
});
