import { describe, expect, test } from "bun:test";
import { SecretKey } from "../../net/wireguard-key.ts";
import { fabricNode, hostFacts, subnets } from "../../testing/fabric.ts";
import { keyPair, keyText } from "../../testing/wireguard.ts";
import type { BackendData, FabricNode, Json, View } from "../model.ts";
import type { HostFacts } from "./transport.ts";
import { wireguardTransport, type WireguardOptions } from "./wireguard.ts";

const network = subnets({ v4: "10.0.0.0/8", v6: "fd00:10::/32" });
const usual: WireguardOptions = {
  mode: "separate",
  listenPort: 51_820,
  listenPortV6: 51_821,
  keepaliveSeconds: 0,
};
const transport = (options: Partial<WireguardOptions> = {}) => wireguardTransport({ ...usual, ...options });

const withKeys = (facts: HostFacts): HostFacts => ({ ...facts, keys: keyPair(1) });
const four = withKeys(hostFacts({ at4: "192.0.2.1" }));
const dual = withKeys(hostFacts({ at4: "192.0.2.1", at6: "2001:db8::1" }));

/** What node `n` tells in these families. */
const data = (n: number, ports: { readonly v4?: number; readonly v6?: number } = {}): BackendData => ({
  type: "wireguard",
  v4: { PublicKey: keyText(n), Port: ports.v4 ?? 51_820 },
  v6: { PublicKey: keyText(n), Port: ports.v6 ?? 51_821 },
});
const node = (n: number, words: Partial<Parameters<typeof fabricNode>[1]> = {}): FabricNode =>
  fabricNode(`node${n}`, {
    v4: `10.0.${n}.0/24`,
    v6: `fd00:10:${n}::/64`,
    at4: `192.0.2.${n}`,
    at6: `2001:db8::${n}`,
    backend: data(n),
    ...words,
  });
const self = node(1);
const self4 = fabricNode("node1", { v4: "10.0.1.0/24", at4: "192.0.2.1", backend: data(1) });
const viewOf = (own: FabricNode, ...peers: readonly FabricNode[]): View => ({ network, self: own, peers });

type Made = ReturnType<ReturnType<typeof transport>["desired"]>;
/** Every object as one line. */
const lines = ({ state }: Made): readonly string[] => [
  ...state.links.map((l) => `link ${l.name} ${l.type.kind} mtu ${l.mtuBytes}`),
  ...state.tunnels.map((t) => `tunnel ${t.link} port ${t.listenPort}`),
  ...state.addresses.map((a) => `address ${a.address.text} on ${a.link}`),
  ...state.peers.map(
    (p) =>
      `peer ${p.publicKey.slice(0, 4)} at ${p.endpoint.ip.text} ${p.endpoint.port} on ${p.link}: ${p.allowed.map((a) => a.text).join(" ")}`,
  ),
  ...state.routes.map((r) => `route ${r.dst.text} on ${r.link ?? "-"}`),
];
const told = ({ troubles }: Made): readonly string[] => troubles.map((t) => `${t.node}: ${t.code}: ${t.why}`);
const short = (n: number): string => keyText(n).slice(0, 4);

describe("wireguard with a tunnel for each family", () => {
  test("takes the whole network to the tunnel, and to each peer what is its", () => {
    const made = transport().desired(viewOf(self4, node(2)), four);
    expect(lines(made)).toEqual([
      "link flannel-wg wireguard mtu 1420",
      "tunnel flannel-wg port 51820",
      "address 10.0.1.0/32 on flannel-wg",
      `peer ${short(2)} at 192.0.2.2 51820 on flannel-wg: 10.0.2.0/24`,
      "route 10.0.0.0/8 on flannel-wg",
    ]);
    expect(told(made)).toEqual([]);
  });

  test("sends each family over itself", () => {
    expect(lines(transport().desired(viewOf(self, node(2)), dual))).toEqual([
      "link flannel-wg wireguard mtu 1420",
      "link flannel-wg-v6 wireguard mtu 1420",
      "tunnel flannel-wg port 51820",
      "tunnel flannel-wg-v6 port 51821",
      "address 10.0.1.0/32 on flannel-wg",
      "address fd00:10:1::/128 on flannel-wg-v6",
      `peer ${short(2)} at 192.0.2.2 51820 on flannel-wg: 10.0.2.0/24`,
      `peer ${short(2)} at 2001:db8::2 51821 on flannel-wg-v6: fd00:10:2::/64`,
      "route 10.0.0.0/8 on flannel-wg",
      "route fd00:10::/32 on flannel-wg-v6",
    ]);
  });

  test("takes its own port for a peer that tells none", () => {
    const old = { PublicKey: keyText(2) };
    const view = viewOf(self, node(2, { backend: { type: "wireguard", v4: old, v6: old } }));
    const { state } = transport({ listenPort: 1001, listenPortV6: 1002 }).desired(view, dual);
    expect(state.peers.map(({ endpoint }) => endpoint.port)).toEqual([1001, 1002]);
  });

  test("gives every peer the network's preshared key and keepalive", () => {
    const presharedKey = SecretKey.from(new Uint8Array(32).fill(9));
    const made = transport({ keepaliveSeconds: 25, ...(presharedKey ? { presharedKey } : {}) });
    const { state } = made.desired(viewOf(self4, node(2), node(3)), four);
    expect(state.peers.map((p) => [p.keepaliveSeconds, p.presharedKey?.name])).toEqual([
      [25, presharedKey?.name],
      [25, presharedKey?.name],
    ]);
  });

  test("reaches several hosts behind one address", () => {
    const behind = (n: number) => node(n, { at4: "203.0.113.7", backend: data(n, { v4: 51_820 + n }) });
    const made = transport();
    expect(made.publics).toBe("shared");
    expect(
      lines(made.desired(viewOf(self4, behind(2), behind(3)), four)).filter((l) => l.startsWith("peer")),
    ).toEqual([
      `peer ${short(2)} at 203.0.113.7 51822 on flannel-wg: 10.0.2.0/24`,
      `peer ${short(3)} at 203.0.113.7 51823 on flannel-wg: 10.0.3.0/24`,
    ]);
  });
});

describe("wireguard with one tunnel", () => {
  const peers = (mode: WireguardOptions["mode"], peer: FabricNode, host = dual, own = self) =>
    lines(transport({ mode }).desired(viewOf(own, peer), host)).filter((line) => line.startsWith("peer"));

  test("carries both families over the one", () => {
    expect(lines(transport({ mode: "ipv6" }).desired(viewOf(self, node(2)), dual))).toEqual([
      "link flannel-wg wireguard mtu 1420",
      "tunnel flannel-wg port 51820",
      "address 10.0.1.0/32 on flannel-wg",
      "address fd00:10:1::/128 on flannel-wg",
      `peer ${short(2)} at 2001:db8::2 51820 on flannel-wg: 10.0.2.0/24 fd00:10:2::/64`,
      "route 10.0.0.0/8 on flannel-wg",
      "route fd00:10::/32 on flannel-wg",
    ]);
    expect(peers("ipv4", node(2))).toEqual([
      `peer ${short(2)} at 192.0.2.2 51820 on flannel-wg: 10.0.2.0/24 fd00:10:2::/64`,
    ]);
  });

  const private4 = { at4: "10.9.0.2" };
  const private6 = { at6: "fd12::2" };
  test.each([
    ["IPv4 to a public address", {}, "192.0.2.2"],
    ["IPv6 if only that is public on both sides", private4, "2001:db8::2"],
    ["IPv4 if neither is public", { ...private4, ...private6 }, "10.9.0.2"],
  ])("chosen for each peer: %s", (_, words, at) => {
    expect(peers("auto", node(2, words))[0]).toContain(` at ${at} `);
  });

  test("chosen for each peer: IPv4 to who has no other", () => {
    const words = { v4: "10.0.2.0/24", v6: "fd00:10:2::/64", ...private4, backend: data(2) };
    expect(peers("auto", fabricNode("node2", words))[0]).toContain(" at 10.9.0.2 ");
  });

  test("chosen for each peer: IPv4 if this host's IPv6 address is private", () => {
    const host = withKeys(hostFacts({ at4: "192.0.2.1", at6: "fd12::1" }));
    const own = node(1, private6);
    expect(peers("auto", node(2, private4), host, own)[0]).toContain(" at 10.9.0.2 ");
  });

  test("chosen for each peer: IPv6 in a network of IPv6 alone", () => {
    const words = { v6: "fd00:10:1::/64", at6: "fd12::1", backend: data(1) };
    const own = fabricNode("node1", words);
    const peer = fabricNode("node2", { v6: "fd00:10:2::/64", at6: "fd12::2", backend: data(2) });
    const host = withKeys(hostFacts({ at6: "fd12::1" }));
    expect(peers("auto", peer, host, own)[0]).toContain(" at fd12::2 51820 ");
  });

  test("takes the port that flanneld listens on, not the one that it tells for IPv6", () => {
    expect(peers("ipv6", node(2, { backend: data(2, { v4: 40_000, v6: 51_821 }) }))[0]).toContain(" 40000 ");
    const only6: BackendData = { type: "wireguard", v6: { PublicKey: keyText(2), Port: 51_821 } };
    expect(peers("ipv6", node(2, { backend: only6 }))[0]).toContain(" 51820 ");
    const ours: BackendData = { type: "wireguard", v6: { PublicKey: keyText(2), Port: 40_006 } };
    expect(peers("ipv6", node(2, { backend: ours }))[0]).toContain(" 40006 ");
  });

  test("tells the port that it listens on", () => {
    expect(transport({ mode: "auto" }).announce(dual, undefined)).toEqual({
      type: "wireguard",
      v4: { PublicKey: keyText(1), Port: 51_820 },
      v6: { PublicKey: keyText(1), Port: 51_820 },
    });
  });
});

describe("what a host tells", () => {
  test("is its key and port, in the words of flanneld", () => {
    const said = transport().announce(dual, undefined);
    expect(JSON.stringify(said?.v4)).toBe(`{"PublicKey":"${keyText(1)}","Port":51820}`);
    expect(JSON.stringify(said?.v6)).toBe(`{"PublicKey":"${keyText(1)}","Port":51821}`);
    expect(transport().announce(four, undefined)).not.toHaveProperty("v6");
  });

  test("is nothing before it has keys, and it does nothing", () => {
    const host = hostFacts({ at4: "192.0.2.1" });
    expect(transport().announce(host, undefined)).toBeUndefined();
    const made = transport().desired(viewOf(self4, node(2)), host);
    expect(lines(made)).toEqual([]);
    expect(told(made)).toEqual(["node1: unreachable: it has no WireGuard key"]);
  });

  const saying = (v4: Json | undefined) => ({
    backend: { type: "wireguard", ...(v4 === undefined ? {} : { v4 }) },
  });
  test.each([
    ["nothing", saying(undefined), "backend-malformed: it tells nothing of its key"],
    ["null", saying(null), "backend-malformed: it tells nothing of its key"],
    ["a list", saying([]), "backend-malformed: it tells nothing of its key"],
    ["no key", saying({ Port: 1 }), "backend-malformed: it tells no PublicKey"],
    [
      "what is no key",
      saying({ PublicKey: "x" }),
      "backend-malformed: PublicKey: is not a key: 32 bytes in base64",
    ],
    [
      "a port that is none",
      saying({ PublicKey: keyText(2), Port: 65_536 }),
      "backend-malformed: its Port is not that of UDP",
    ],
    ["another backend", { backend: { type: "vxlan" } }, "backend-other: its backend is vxlan, not wireguard"],
    ["no address", { at4: undefined as never }, "unreachable: it has no public IPv4 address"],
  ])("is refused if it is %s", (_, words, why) => {
    const made = transport().desired(viewOf(self4, node(2, words), node(3)), four);
    expect(told(made)).toEqual([`node2: ${why}`]);
    expect(made.state.peers).toHaveLength(1);
  });

  test("is not enough if it has no address of the tunnel's family", () => {
    const far = fabricNode("node2", { v4: "10.0.2.0/24", at6: "2001:db8::2", backend: data(2) });
    expect(told(transport().desired(viewOf(self4, far), four))).toEqual([
      "node2: unreachable: it has no public IPv4 address",
    ]);
    expect(told(transport({ mode: "auto" }).desired(viewOf(self4, far), four))).toEqual([
      "node2: unreachable: it has no public address of a family that this host has too",
    ]);
  });

  test("is refused if its one tunnel had two keys", () => {
    const backend = { ...data(2), v6: { PublicKey: keyText(3) } };
    const made = transport({ mode: "auto" }).desired(viewOf(self, node(2, { backend })), dual);
    expect(told(made)).toEqual(["node2: backend-malformed: it tells two keys, and has one tunnel"]);
  });

  test("is refused if the key is this host's, or that of a node that comes first", () => {
    const like = (n: number, key: number) => node(n, { backend: data(key) });
    const made = transport().desired(viewOf(self4, like(5, 2), like(4, 2), like(3, 1)), four);
    expect(told(made)).toEqual([
      "node5: backend-conflict: its key is also that of node4: each host needs one of its own",
      "node3: backend-conflict: its key is also that of node1: each host needs one of its own",
    ]);
    expect(made.state.peers.map(({ allowed }) => allowed[0]?.text)).toEqual(["10.0.4.0/24"]);
  });
});

describe("the work for one more peer", () => {
  test("leaves what was made of the others as it is", () => {
    const made = transport();
    const [two, three] = [node(2), node(3)];
    const [a] = made.desired(viewOf(self4, two), four).state.peers;
    const [b] = made.desired(viewOf({ ...self4 }, two, three), four).state.peers;
    expect(b).toBe(a as never);
    const moved = made.desired(viewOf(node(1, { at6: "2001:db8::99" }), two), four).state.peers;
    expect(moved[0]).not.toBe(a);
    expect(moved[0]).toEqual(a as never);
  });

  test.each([
    ["an underlay of 1500 bytes", four, {}, 1420],
    ["one of which less may be used", four, { mtuBytes: 1400 }, 1320],
    ["large frames", withKeys(hostFacts({ at4: "192.0.2.1", mtuBytes: 9000 })), {}, 8920],
  ])("leaves 80 bytes for headers: %s", (_, host, options, mtuBytes) => {
    expect(transport(options).mtuBytes(host)).toBe(mtuBytes);
    expect(transport(options).desired(viewOf(self4), host).state.links[0]?.mtuBytes).toBe(mtuBytes);
  });
});
