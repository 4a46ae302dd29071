import { describe, expect, test } from "bun:test";
import type { Ip } from "../../net/ip.ts";
import {
  fabricNode,
  hostFacts,
  macOf,
  numbered,
  numberedNetwork,
  subnets,
  vxlanData,
} from "../../testing/fabric.ts";
import { nothing } from "../host-state.ts";
import type { FabricNode, Json, View } from "../model.ts";
import { allocTransport } from "./alloc.ts";
import { hostGatewayTransport } from "./host-gw.ts";
import { ipipTransport } from "./ipip.ts";
import type { Transport } from "./transport.ts";
import { vxlanTransport, type VxlanOptions } from "./vxlan.ts";

const network = subnets({ v4: "10.0.0.0/8", v6: "fd00:10::/32" });
const usual: VxlanOptions = { vni: 1, port: 8472, gbp: false, learning: false, directRouting: false };
const vxlan = (options: Partial<VxlanOptions> = {}): Transport => {
  let drawn = 100;
  return vxlanTransport({ ...usual, ...options }, () => macOf(++drawn));
};

const self4 = fabricNode("self", { v4: "10.0.1.0/24", at4: "192.0.2.1", backend: vxlanData(1) });
const self = fabricNode("self", {
  v4: "10.0.1.0/24",
  at4: "192.0.2.1",
  v6: "fd00:10:1::/64",
  at6: "2001:db8::1",
  backend: vxlanData(1, [4, 6]),
});
const peer = fabricNode("peer", {
  v4: "10.0.2.0/24",
  at4: "192.0.2.2",
  v6: "fd00:10:2::/64",
  at6: "2001:db8::2",
  backend: vxlanData(2, [4, 6]),
});
const four = hostFacts({ at4: "192.0.2.1" });
const dual = hostFacts({ at4: "192.0.2.1", at6: "2001:db8::1" });
const onLink = (ip: Ip): boolean => ip.text.startsWith("192.0.2.");

const viewOf = (own: FabricNode, ...peers: readonly FabricNode[]): View => ({ network, self: own, peers });
const told = (transport: Transport, view: View, host = four): readonly string[] =>
  transport.desired(view, host).troubles.map(({ code, node, why }) => `${node}: ${code}: ${why}`);
/** Every object as one line. */
function lines(transport: Transport, view: View, host = four): readonly string[] {
  const { state } = transport.desired(view, host);
  return [
    ...state.links.map(
      (l) => `link ${l.name} on ${l.lower ?? "any"} mac ${l.mac ?? "any"} mtu ${l.mtuBytes}`,
    ),
    ...state.sysctls.map((s) => `sysctl ${s.key} ${s.value}`),
    ...state.addresses.map((a) => `address ${a.address.text} on ${a.link}`),
    ...state.neighbours.map((n) => `neighbour ${n.ip.text} ${n.mac} on ${n.link}`),
    ...state.forwarding.map((f) => `forwarding ${f.mac} to ${f.to.text} on ${f.link}`),
    ...state.routes.map(
      (r) =>
        `route ${r.dst.text} via ${r.gateway?.text ?? "-"} on ${r.link ?? "-"}${r.onLink ? " onlink" : ""}`,
    ),
  ];
}

describe("vxlan", () => {
  test("needs a neighbour, a forwarding entry and a route for each peer", () => {
    expect(lines(vxlan(), viewOf(self4, peer))).toEqual([
      "link flannel.1 on eth0 mac 02:04:00:00:00:01 mtu 1450",
      "sysctl net/ipv6/conf/flannel.1/accept_ra 0",
      "address 10.0.1.0/32 on flannel.1",
      "neighbour 10.0.2.0 02:04:00:00:00:02 on flannel.1",
      "forwarding 02:04:00:00:00:02 to 192.0.2.2 on flannel.1",
      "route 10.0.2.0/24 via 10.0.2.0 on flannel.1 onlink",
    ]);
  });

  test("has a link for each family, each with the MTU of its own underlay", () => {
    expect(lines(vxlan(), viewOf(self, peer), dual)).toEqual([
      "link flannel.1 on eth0 mac 02:04:00:00:00:01 mtu 1450",
      "link flannel-v6.1 on eth0 mac 02:06:00:00:00:01 mtu 1430",
      "sysctl net/ipv6/conf/flannel.1/accept_ra 0",
      "sysctl net/ipv6/conf/flannel-v6.1/accept_ra 0",
      "address 10.0.1.0/32 on flannel.1",
      "address fd00:10:1::/128 on flannel-v6.1",
      "neighbour 10.0.2.0 02:04:00:00:00:02 on flannel.1",
      "neighbour fd00:10:2:: 02:06:00:00:00:02 on flannel-v6.1",
      "forwarding 02:04:00:00:00:02 to 192.0.2.2 on flannel.1",
      "forwarding 02:06:00:00:00:02 to 2001:db8::2 on flannel-v6.1",
      "route 10.0.2.0/24 via 10.0.2.0 on flannel.1 onlink",
      "route fd00:10:2::/64 via fd00:10:2:: on flannel-v6.1 onlink",
    ]);
  });

  test("says every parameter of its link that flanneld compares", () => {
    const { state } = vxlan({ vni: 77, port: 4789, gbp: true, learning: true }).desired(viewOf(self4), four);
    expect(state.links.map((l) => [l.name, l.type])).toEqual([
      [
        "flannel.77",
        {
          kind: "vxlan",
          id: 77,
          port: 4789,
          local: four.local.v4,
          learning: true,
          gbp: true,
          l2miss: false,
          l3miss: false,
        } as never,
      ],
    ]);
  });

  test.each([
    ["an IPv4 underlay", four, {}, 1450],
    ["an IPv6 underlay", hostFacts({ at6: "2001:db8::1" }), {}, 1430],
    ["both", dual, {}, 1430],
    ["an underlay of which less may be used", four, { mtuBytes: 1400 }, 1350],
    ["large frames", hostFacts({ at4: "192.0.2.1", mtuBytes: 9000 }), {}, 8950],
  ])("leaves containers what fits over %s", (_, host, options, mtuBytes) => {
    expect(vxlan(options).mtuBytes(host)).toBe(mtuBytes);
  });

  test("announces what flanneld announces, to the byte", () => {
    const said = vxlan().announce(dual, undefined);
    expect(JSON.stringify(said?.v4)).toBe('{"VNI":1,"VtepMAC":"02:04:00:00:00:65"}');
    expect(JSON.stringify(said?.v6)).toBe('{"VNI":1,"VtepMAC":"02:04:00:00:00:66"}');
    expect(vxlan().announce(four, undefined)).not.toHaveProperty("v6");
  });

  test("keeps the hardware addresses that it announced before, also under another number", () => {
    expect(vxlan({ vni: 5 }).announce(dual, self)).toEqual({
      type: "vxlan",
      v4: { VNI: 5, VtepMAC: macOf(1) },
      v6: { VNI: 5, VtepMAC: macOf(1, 6) },
    });
    const other = { ...self, backend: { ...self.backend, type: "wireguard" } };
    expect(vxlan().announce(four, other)?.v4).toEqual({ VNI: 1, VtepMAC: macOf(101) });
  });

  test("reaches peers on its own link without the tunnel if it may", () => {
    const host = hostFacts({ at4: "192.0.2.1" }, onLink);
    const far = fabricNode("far", { v4: "10.0.3.0/24", at4: "198.51.100.3", backend: vxlanData(3) });
    expect(lines(vxlan({ directRouting: true }), viewOf(self4, peer, far), host).slice(3)).toEqual([
      "neighbour 10.0.3.0 02:04:00:00:00:03 on flannel.1",
      "forwarding 02:04:00:00:00:03 to 198.51.100.3 on flannel.1",
      "route 10.0.2.0/24 via 192.0.2.2 on eth0",
      "route 10.0.3.0/24 via 10.0.3.0 on flannel.1 onlink",
    ]);
  });

  const with4 = (v4: Json): FabricNode =>
    fabricNode("x", { v4: "10.0.3.0/24", at4: "192.0.2.3", backend: { type: "vxlan", v4 } });
  test.each<[string, FabricNode, string]>([
    [
      "by another backend",
      fabricNode("x", { v4: "10.0.3.0/24" }),
      "backend-other: its backend is host-gw, not vxlan",
    ],
    [
      "without an address",
      fabricNode("x", { v4: "10.0.3.0/24", backend: vxlanData(3) }),
      "unreachable: it has no public IPv4 address",
    ],
    ["with null", with4(null), "backend-malformed: it tells nothing of its link"],
    ["with a list", with4([1]), "backend-malformed: it tells nothing of its link"],
    ["with nothing", with4({}), "backend-malformed: it tells no VtepMAC"],
    [
      "with no address",
      with4({ VtepMAC: "zero" }),
      'backend-malformed: VtepMAC: "zero" is not six hex pairs',
    ],
    [
      "with a group's address",
      with4({ VNI: 1, VtepMAC: "01:00:5e:00:00:01" }),
      "backend-malformed: VtepMAC: 01:00:5e:00:00:01 is not the address of one link",
    ],
    [
      "with an empty address",
      with4({ VNI: 1, VtepMAC: "00:00:00:00:00:00" }),
      "backend-malformed: VtepMAC: 00:00:00:00:00:00 is not the address of one link",
    ],
    [
      "with a number that is a text",
      with4({ VNI: "1", VtepMAC: macOf(3) }),
      "backend-malformed: its VNI is not a whole number",
    ],
    [
      "of another number",
      with4({ VNI: 2, VtepMAC: macOf(3) }),
      "unreachable: its VXLAN has the number 2, ours 1",
    ],
    [
      "with this host's hardware address",
      with4({ VNI: 1, VtepMAC: macOf(1) }),
      "backend-conflict: its hardware address 02:04:00:00:00:01 is also that of self",
    ],
    [
      "with a peer's hardware address",
      with4({ VNI: 1, VtepMAC: macOf(2) }),
      "backend-conflict: its hardware address 02:04:00:00:00:02 is also that of peer",
    ],
  ])("leaves out a peer %s, and keeps the others", (_, bad, why) => {
    expect(told(vxlan(), viewOf(self4, bad, peer))).toEqual([`x: ${why}`]);
    expect(lines(vxlan(), viewOf(self4, bad, peer))).toEqual(lines(vxlan(), viewOf(self4, peer)));
  });

  test("takes both of two peers with one hardware address and one public address: a host that was named anew", () => {
    const renamed = fabricNode("a-peer", { v4: "10.0.3.0/24", at4: "192.0.2.2", backend: vxlanData(2) });
    expect(told(vxlan(), viewOf(self4, peer, renamed))).toEqual([]);
    expect(lines(vxlan(), viewOf(self4, peer, renamed)).slice(3)).toEqual([
      "neighbour 10.0.2.0 02:04:00:00:00:02 on flannel.1",
      "neighbour 10.0.3.0 02:04:00:00:00:02 on flannel.1",
      "forwarding 02:04:00:00:00:02 to 192.0.2.2 on flannel.1",
      "route 10.0.2.0/24 via 10.0.2.0 on flannel.1 onlink",
      "route 10.0.3.0/24 via 10.0.3.0 on flannel.1 onlink",
    ]);
  });

  test("takes a peer that tells no number, as old releases of Flannel do", () => {
    expect(told(vxlan(), viewOf(self4, with4({ VtepMAC: macOf(3) })))).toEqual([]);
  });

  test("says so if its own announcement cannot be read, and lets the link keep its address", () => {
    const lost = { ...self4, backend: { type: "vxlan", v4: null } };
    expect(told(vxlan(), viewOf(lost))).toEqual(["self: backend-malformed: it tells nothing of its link"]);
    expect(lines(vxlan(), viewOf(lost))[0]).toBe("link flannel.1 on eth0 mac any mtu 1450");
  });

  test("gives the same objects for the same peers, so that what is new is found fast", () => {
    const transport = vxlan();
    const peers = [numbered(2), numbered(3)];
    const view = { network: numberedNetwork, self: numbered(1), peers };
    const before = transport.desired(view, four).state;
    const after = transport.desired({ ...view, peers: [...peers, numbered(4)] }, four).state;
    for (const kind of ["neighbours", "forwarding", "routes"] as const) {
      expect(after[kind].length).toBe(3);
      expect(before[kind].every((o, i) => o === after[kind][i])).toBeTrue();
    }
    expect(transport.desired(view, { ...four }).state.routes[0]).not.toBe(before.routes[0]);
  });
});

describe("host-gw", () => {
  const near = fabricNode("near", {
    v4: "10.0.2.0/24",
    at4: "192.0.2.2",
    v6: "fd00:10:2::/64",
    at6: "2001:db8::2",
  });
  const host = hostFacts({ at4: "192.0.2.1", at6: "2001:db8::1" }, (ip) => ip.family === 6 || onLink(ip));

  test("needs a route for each peer and family, and nothing else", () => {
    expect(lines(hostGatewayTransport(), viewOf(self, near), host)).toEqual([
      "route 10.0.2.0/24 via 192.0.2.2 on eth0",
      "route fd00:10:2::/64 via 2001:db8::2 on eth0",
    ]);
    expect(hostGatewayTransport().mtuBytes(host)).toBe(1500);
    expect(hostGatewayTransport().announce(host, undefined)).toEqual({ type: "host-gw" });
  });

  test("leaves out a peer behind a router", () => {
    const far = fabricNode("far", { v4: "10.0.3.0/24", at4: "198.51.100.3" });
    expect(told(hostGatewayTransport(), viewOf(self, far, near), host)).toEqual([
      "far: unreachable: 198.51.100.3 is behind a router: host-gw reaches what is on the link eth0",
    ]);
  });

  test("says so if this host is behind a translation", () => {
    const behind = hostFacts({ at4: "10.9.9.9" }, onLink);
    expect(told(hostGatewayTransport(), viewOf(self4), behind)).toEqual([
      "self: unreachable: it announces 192.0.2.1 and has 10.9.9.9: host-gw goes through no translation",
    ]);
  });
});

describe("ipip", () => {
  const by = (v4: string, at4: string): FabricNode => fabricNode(v4, { v4, at4, backend: { type: "ipip" } });
  const view = viewOf(
    by("10.0.1.0/24", "192.0.2.1"),
    by("10.0.2.0/24", "192.0.2.2"),
    by("10.0.3.0/24", "198.51.100.3"),
  );

  test("reaches all by one link", () => {
    expect(lines(ipipTransport({ directRouting: false }), view)).toEqual([
      "link flannel.ipip on any mac any mtu 1480",
      "address 10.0.1.0/32 on flannel.ipip",
      "route 10.0.2.0/24 via 192.0.2.2 on flannel.ipip onlink",
      "route 10.0.3.0/24 via 198.51.100.3 on flannel.ipip onlink",
    ]);
  });

  test("reaches peers on its own link without the tunnel if it may", () => {
    const host = hostFacts({ at4: "192.0.2.1" }, onLink);
    expect(lines(ipipTransport({ directRouting: true }), view, host).slice(2)).toEqual([
      "route 10.0.2.0/24 via 192.0.2.2 on eth0",
      "route 10.0.3.0/24 via 198.51.100.3 on flannel.ipip onlink",
    ]);
  });

  test("tells who is there by other means, and wants nothing without IPv4", () => {
    const transport = ipipTransport({ directRouting: false });
    expect(told(transport, viewOf(self4, peer))).toEqual([
      "peer: backend-other: its backend is vxlan, not ipip",
    ]);
    expect(transport.desired(viewOf(self4), hostFacts({ at6: "2001:db8::1" })).state).toEqual(nothing);
  });
});

test("alloc wants nothing of the kernel", () => {
  expect(allocTransport.desired(viewOf(self, peer), dual)).toEqual({ state: nothing, troubles: [] });
  expect(allocTransport.announce(dual, undefined)).toEqual({ type: "" });
  expect(allocTransport.mtuBytes(dual)).toBe(1500);
});
