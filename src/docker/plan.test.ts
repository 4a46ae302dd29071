/** What networks, endpoints and ports look like, without a kernel. */
import { describe, expect, test } from "bun:test";
import type { Facts } from "../netstate/facts.ts";
import type { NetObject, NetState } from "../netstate/model.ts";
import type { Address } from "../rtnl/address.ts";
import type { Link } from "../rtnl/link.ts";
import { cidr, ip } from "../testing/address.ts";
import { fresh, linkFact, mac, noFacts } from "../testing/plan.ts";
import { joined } from "./endpoints.ts";
import type { BridgeNetwork, Endpoint, Network, OpenPort, ParentNetwork } from "./model.ts";
import { endpointNeeds, endpointPlan, networkNeeds, networkPlan, portsPlan } from "./plan.ts";
import { readCreateNetwork } from "./requests.ts";

const ID = "ab".repeat(32);
const MARK = "heddle-docker-0123456789ab-0123456789abcdef";
const made = (options: object = {}, more: object = {}, internal = false): Network =>
  readCreateNetwork(
    {
      NetworkID: ID,
      Options: { "com.docker.network.generic": options, "com.docker.network.internal": internal },
      IPv4Data: [{ Pool: "10.7.0.0/24", Gateway: "10.7.0.1/24" }],
      ...more,
    },
    "",
  );
const bridged = (...args: Parameters<typeof made>) => made(...args) as BridgeNetwork;
const hanging = (options: object) => made({ parent: "eth1", ...options }) as ParentNetwork;
const six = { IPv6Data: [{ Pool: "fd07::/64", Gateway: "fd07::1/64" }] };
const endpoint: Endpoint = {
  networkId: ID,
  id: "e1",
  addresses: [cidr("10.7.0.2/24")],
  mac: mac("02:00:00:00:00:09"),
  asked: [],
};
const facts = (links: readonly Link[], addresses: readonly string[] = []): Facts => ({
  ...noFacts,
  links: new Map(links.map((l) => [`host ${l.name}`, l])),
  addresses: new Map(
    links.map((l) => [`host ${l.name}`, addresses.map((a) => ({ prefix: cidr(a) }) as Address)]),
  ),
});
const kinds = ({ objects }: NetState): readonly string[] => objects.map((o) => `${o.kind} ${o.possession}`);
const of = <K extends NetObject["kind"]>({ objects }: NetState, kind: K) =>
  objects.filter((o): o is Extract<NetObject, { kind: K }> => o.kind === kind);
const rulesOf = (state: NetState) =>
  of(state, "firewall").flatMap(({ state: { backend, rules } }) => rules.map((r) => `${backend} ${r.kind}`));
const planOf = (network: Network, keeper: Facts["forwardKeeper"] = "nobody", e = endpoint): NetState =>
  endpointPlan(network, e, { forwardKeeper: keeper }, { mark: MARK, fresh });

describe("a network of mode bridge", () => {
  test("owns its bridge, which has the gateways and forwards", () => {
    const state = networkPlan(made({}, six), noFacts, fresh);
    expect(kinds(state)).toEqual([
      "bridge exclusive",
      "address shared",
      "address shared",
      "sysctl shared",
      "sysctl shared",
    ]);
    expect(of(state, "bridge")[0]).toMatchObject({ name: "br-abababababab", mac: fresh.bridgeMac });
    expect(of(state, "address").map((a) => a.address.text)).toEqual(["10.7.0.1/24", "fd07::1/64"]);
  });

  test("uses a bridge that is there, and takes back what it added to that", () => {
    const there = linkFact("br-abababababab", { kind: "bridge", mac: fresh.gatewayMac });
    const state = networkPlan(made({}, six), facts([there], ["10.7.0.1/24"]), fresh);
    expect(of(state, "bridge")[0]).toMatchObject({ possession: "shared", mac: fresh.gatewayMac });
    expect(of(state, "address").map((a) => [a.possession, a.foreignLink])).toEqual([
      ["shared", undefined],
      ["exclusive", true],
    ]);
  });

  test("that is internal forwards nothing from the bridge, and nothing to it", () => {
    const state = networkPlan(made({}, {}, true), noFacts, fresh);
    expect(of(state, "sysctl")).toMatchObject([
      { key: "net/ipv4/conf/br-abababababab/forwarding", value: "0" },
    ]);
    expect(of(state, "firewall").map((o) => o.state)).toMatchObject([
      { backend: "nftables", rules: [{ kind: "closed-link", link: "br-abababababab" }] },
    ]);
  });

  test("asks of the kernel what it has to know, and no more", () => {
    expect(networkNeeds(made())).toEqual({
      links: [{ place: "host", name: "br-abababababab", addresses: true }],
      routerAdvertised: false,
    });
    expect(networkNeeds(made({}, six)).routerAdvertised).toBe(true);
    expect(endpointNeeds(hanging({ mode: "macvlan" }))).toEqual({});
  });
});

describe("a network on a parent", () => {
  const eth1 = linkFact("eth1", { index: 3 });

  test("makes nothing, but the link of its VLAN", () => {
    expect(networkPlan(hanging({ mode: "macvlan" }), facts([eth1]), fresh).objects).toEqual([]);
    const state = networkPlan(hanging({ mode: "vlan", vlan: "100" }), facts([eth1]), fresh);
    expect(kinds(state)).toEqual(["link exclusive", "link-up exclusive"]);
    expect(of(state, "link")[0]).toMatchObject({ name: "eth1.100", type: { kind: "vlan", id: 100 } });
  });

  test.each([
    ["a parent that is not there", [], "there is no interface eth1 in the host"],
    ["the loopback", [linkFact("eth1", { loopback: true })], "carries no other link"],
    ["a parent that is down", [linkFact("eth1", { up: false })], "set it up"],
    [
      "a stranger of the VLAN's name",
      [eth1, linkFact("eth1.100", { kind: "dummy" })],
      "is not VLAN 100 of eth1",
    ],
  ])("is refused with %s", (_, links, why) => {
    expect(() => networkPlan(hanging({ mode: "vlan", vlan: "100" }), facts(links), fresh)).toThrow(why);
  });

  test("is refused if its packets are larger than its parent's", () => {
    const large = hanging({ mode: "macvlan", "com.docker.network.driver.mtu": "9000" });
    expect(() => networkPlan(large, facts([eth1]), fresh)).toThrow("9000 is more than the 1500 of eth1");
  });
});

describe("an endpoint", () => {
  test("of a bridge is a pair whose ends are both in the host, and the rules for its address", () => {
    const state = planOf(made());
    expect(of(state, "veth")[0]).toMatchObject({
      container: {
        name: expect.stringMatching(/^hdl[0-9a-f]{12}$/) as string,
        mac: endpoint.mac,
        place: "host",
      },
      port: { bridge: "br-abababababab", isolated: false },
    });
    expect(rulesOf(state)).toEqual(["nftables masquerade", "nftables ingress-policy"]);
  });

  test("is let through where somebody drops", () => {
    for (const keeper of ["iptables", "firewalld"] as const)
      expect(rulesOf(planOf(made(), keeper)).at(-1)).toBe(`${keeper} accept-forward`);
  });

  test("of a network that is internal, or asks for none, is not masqueraded", () => {
    const without = { "com.docker.network.bridge.enable_ip_masquerade": "false" };
    for (const network of [made({}, {}, true), made(without)])
      expect(rulesOf(planOf(network))).toEqual(["nftables ingress-policy"]);
  });

  test("of a network that keeps containers apart is an isolated port", () => {
    const apart = made({ "com.docker.network.bridge.enable_icc": "false" });
    expect(of(planOf(apart), "veth")[0]?.port?.isolated).toBe(true);
  });

  test("without an address has no rules", () => {
    expect(kinds(planOf(made(), "iptables", { ...endpoint, addresses: [] }))).toEqual(["veth exclusive"]);
  });

  test.each([
    ["macvlan", {}, { kind: "macvlan", mode: "bridge" }, "eth1", true],
    ["macvlan", { macvlan_mode: "private" }, { kind: "macvlan", mode: "private" }, "eth1", true],
    ["ipvlan", {}, { kind: "ipvlan", mode: "l2" }, "eth1", false],
    ["ipvlan", { ipvlan_mode: "l3s" }, { kind: "ipvlan", mode: "l3s" }, "eth1", false],
    ["vlan", { vlan: "7" }, { kind: "macvlan", mode: "bridge" }, "eth1.7", true],
  ] as const)("of mode %s %j is one link on its parent", (mode, options, type, lower, hasMac) => {
    const [link, ...more] = planOf(hanging({ mode, ...options })).objects;
    expect(more).toEqual([]);
    expect(link).toMatchObject({
      kind: "link",
      type,
      lower: { place: "host", name: lower },
      movesAway: true,
    });
    expect(link && "mac" in link).toBe(hasMac);
  });
});

describe("ports", () => {
  const open = (hostIp?: string): OpenPort => ({
    protocol: "tcp",
    containerPort: 80,
    hostPort: 8080,
    ...(hostIp ? { hostIp: ip(hostIp) } : {}),
  });
  const both: Endpoint = { ...endpoint, addresses: [cidr("10.7.0.2/24"), cidr("fd07::2/64")] };
  const targets = (port: OpenPort, e = both) =>
    of(portsPlan(bridged(), e, [port], {}), "firewall").flatMap(({ state }) =>
      state.rules.flatMap((r) => (r.kind === "port-mapping" ? [[r.target.text, r.hostIp?.text]] : [])),
    );

  test("lead to the address of each family that they are opened for", () => {
    expect(targets(open())).toEqual([
      ["10.7.0.2", undefined],
      ["fd07::2", undefined],
    ]);
    expect(targets(open("0.0.0.0"))).toEqual([["10.7.0.2", undefined]]);
    expect(targets(open("::"))).toEqual([["fd07::2", undefined]]);
    expect(targets(open("192.0.2.1"))).toEqual([["10.7.0.2", "192.0.2.1"]]);
    expect(targets(open("::"), endpoint)).toEqual([]);
  });

  test("of an address that cannot lead to the container are refused", () => {
    expect(() => targets(open("2001:db8::1"), endpoint)).toThrow("another family");
    expect(() => targets(open(), { ...endpoint, addresses: [] })).toThrow(
      "no address that port 8080 could lead to",
    );
  });

  test("are reached by 127.0.0.1 where they are open there", () => {
    const sysctls = (hostIp?: string) =>
      of(portsPlan(bridged(), endpoint, [open(hostIp)], {}), "sysctl").length;
    expect([sysctls(), sysctls("127.0.0.1"), sysctls("192.0.2.1")]).toEqual([1, 1, 0]);
  });

  test("are let through where iptables drops, once for each address", () => {
    const state = portsPlan(bridged(), endpoint, [open(), { ...open(), hostPort: 8081 }], {
      forwardKeeper: "iptables",
    });
    expect(rulesOf(state).filter((r) => r.startsWith("iptables"))).toEqual(["iptables accept-mapped"]);
    expect(rulesOf(portsPlan(bridged(), endpoint, [open()], { forwardKeeper: "firewalld" }))).toHaveLength(1);
  });
});

describe("the answer to Join", () => {
  test("names the link, the gateways of its addresses, and the routes", () => {
    const routes = { routes: "10.5.0.0/16 via 10.7.0.254, 10.6.0.0/16" };
    const network = made(routes, six);
    expect(
      joined(network, { ...endpoint, addresses: [cidr("10.7.0.2/24"), cidr("fd07::2/64")] }, "hdl0"),
    ).toEqual({
      InterfaceName: { SrcName: "hdl0", DstPrefix: "eth" },
      Gateway: "10.7.0.1",
      GatewayIPv6: "fd07::1",
      StaticRoutes: [
        { Destination: "10.5.0.0/16", RouteType: 0, NextHop: "10.7.0.254" },
        { Destination: "10.6.0.0/16", RouteType: 1 },
      ],
      DisableGatewayService: true,
    });
    expect(joined(network, endpoint, "hdl0")).not.toHaveProperty("GatewayIPv6");
  });

  test("takes the gateway of the subnet that the address is in", () => {
    const two = {
      IPv4Data: [
        { Pool: "10.8.0.0/24", Gateway: "10.8.0.1/24" },
        { Pool: "10.7.0.0/24", Gateway: "10.7.0.9/24" },
      ],
    };
    expect(joined(made({}, two), endpoint, "hdl0")).toMatchObject({ Gateway: "10.7.0.9" });
  });

  test("has no way out of an internal network, and no other one by Docker", () => {
    const answer = joined(made({}, {}, true), endpoint, "hdl0");
    expect(answer).not.toHaveProperty("Gateway");
    expect(answer).toMatchObject({ StaticRoutes: [], DisableGatewayService: true });
  });

  test("sends everything to the link in layer 3 modes", () => {
    const answer = joined(hanging({ mode: "ipvlan", ipvlan_mode: "l3" }), endpoint, "hdl0");
    expect(answer).not.toHaveProperty("Gateway");
    expect(answer).toMatchObject({ StaticRoutes: [{ Destination: "0.0.0.0/0", RouteType: 1 }] });
  });
});
