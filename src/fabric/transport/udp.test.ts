import { describe, expect, test } from "bun:test";
import { cidr, ip } from "../../testing/address.ts";
import type { BackendData, FabricNode, View } from "../model.ts";
import type { HostFacts } from "./transport.ts";
import { udpTransport } from "./udp.ts";

const transport = udpTransport({ port: 8285 });
const host: HostFacts = {
  external: { name: "eth0", mtuBytes: 1500 },
  local: { v4: ip("192.0.2.1"), v6: ip("2001:db8::1") },
  isDirect: () => true,
};
const onlySix: HostFacts = { ...host, local: { v6: ip("2001:db8::1") } };
const plain: BackendData = { type: "" };
const ours: BackendData = { type: "", v4: { Heddle: 1 } };
const node = (n: number, backend: BackendData, words: Partial<FabricNode> = {}): FabricNode => ({
  id: `host${n}`,
  subnets: { v4: cidr(`10.5.${n}.0/24`), v6: cidr(`fd00:0:0:${n}::/64`) },
  publics: { v4: ip(`192.0.2.${n}`), v6: ip(`2001:db8::${n}`) },
  backend,
  ...words,
});
const view = (...peers: readonly FabricNode[]): View => ({
  network: { v4: cidr("10.5.0.0/16"), v6: cidr("fd00::/56") },
  self: node(1, ours),
  peers,
});

describe("the udp transport", () => {
  test("leaves room for its headers, those of IPv6 only where there is no IPv4", () => {
    expect([transport.mtuBytes(host), transport.mtuBytes(onlySix)]).toEqual([1472, 1452]);
  });

  test("names no backend in the lease, as flanneld, and says beside it whose it is", () => {
    expect(transport.announce(host, undefined)).toEqual({ type: "", v4: { Heddle: 1 }, v6: { Heddle: 1 } });
    expect(transport.announce({ ...host, local: { v4: ip("192.0.2.1") } }, undefined)).toEqual(ours);
  });

  test("wants the subnet's first address on the device, and the whole network behind it", () => {
    const { state, troubles } = transport.desired(view(node(2, ours)), host);
    expect(troubles).toEqual([]);
    expect(state.addresses.map(({ link, address }) => `${link} ${address.text}`)).toEqual([
      "flannel0 10.5.1.0/32",
      "flannel0 fd00:0:0:1::/128",
    ]);
    expect(state.routes.map(({ link, dst }) => `${link} ${dst.text}`)).toEqual([
      "flannel0 10.5.0.0/16",
      "flannel0 fd00::/56",
    ]);
    expect(state.links).toEqual([]);
  });

  test("carries IPv6 to hosts of ours, and IPv4 alone to others", () => {
    expect(transport.peers(view(node(2, ours), node(3, plain), node(4, { type: "udp" })), host)).toEqual([
      {
        id: "host2",
        subnets: ["10.5.2.0/24", "fd00:0:0:2::/64"],
        address: "192.0.2.2",
        port: 8285,
        heddle: true,
      },
      { id: "host3", subnets: ["10.5.3.0/24"], address: "192.0.2.3", port: 8285, heddle: false },
      { id: "host4", subnets: ["10.5.4.0/24"], address: "192.0.2.4", port: 8285, heddle: false },
    ]);
  });

  test("reaches hosts of ours over IPv6 where there is nothing else, and tells of those that it cannot reach", () => {
    const peers = [
      node(2, ours),
      node(3, plain),
      node(4, { type: "vxlan" }),
      node(5, plain, { subnets: { v6: cidr("fd00:0:0:5::/64") } }),
    ];
    expect(transport.peers(view(...peers), onlySix).map(({ address }) => address)).toEqual(["2001:db8::2"]);
    const told = transport.desired(view(...peers), onlySix).troubles;
    expect(told.map(({ code, node: id }) => `${code} ${id}`)).toEqual([
      "unreachable host3",
      "backend-other host4",
      "unreachable host5",
    ]);
    expect(transport.desired(view(...peers), host).troubles.map(({ node: id }) => id)).toEqual([
      "host4",
      "host5",
    ]);
  });

  test.each([[null], ["Heddle"], [{}], [{ Heddle: "1" }], [{ Heddle: 0 }], [[1]], [7]])(
    "takes a host that tells %j for one of others",
    (v4) => {
      expect(transport.peers(view(node(2, { type: "", v4 })), host)[0]?.heddle).toBe(false);
    },
  );
});
