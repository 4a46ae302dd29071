import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { Facts } from "../../../netstate/facts.ts";
import {
  confOf,
  fresh,
  inputOf,
  linkFact,
  mac,
  noFacts,
  objectsOf,
  prefixOf,
} from "../../../testing/plan.ts";
import { macOf } from "../../shared/config.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const ipam = { type: "host-local" };
const V4 = { ips: [{ address: "10.1.2.3/24" }] };
const DUAL = { ips: [{ address: "10.1.2.3/24" }, { address: "fd00::3/64" }] };

const configOf = (raw: object) => parseConfig(confOf("bridge", { ...raw }));
const planOf = (raw: object, lease: Readonly<Record<string, unknown>> | undefined, facts = noFacts) =>
  plan(inputOf(configOf(raw), lease), facts);

/** A bridge that is there with this address. */
const found = (name: string, ...addresses: readonly string[]): Facts => ({
  ...noFacts,
  links: new Map([
    [`host ${name}`, linkFact(name, { mac: mac("02:00:00:00:00:09"), mtuBytes: 9000, kind: "bridge" })],
  ]),
  addresses: new Map([
    [
      `host ${name}`,
      addresses.map((a) => ({ prefix: prefixOf(a), linkLocal: false, tentative: false, index: 7 })),
    ],
  ]) as unknown as Facts["addresses"],
});

const refused = (raw: object): unknown => {
  try {
    configOf(raw);
    return undefined;
  } catch (e) {
    if (isNetError(e, "config/invalid") || isNetError(e, "config/unsupported")) return e.detail.field;
    throw e;
  }
};

describe("the configuration of bridge", () => {
  test("has the defaults of the reference", () => {
    expect(configOf({})).toEqual({
      bridge: "cni0",
      isGateway: false,
      isDefaultGateway: false,
      forceAddress: false,
      ipMasq: false,
      ipMasqBackend: "nftables",
      hairpinMode: false,
      promiscMode: false,
      macspoofchk: false,
      enabledad: false,
      disableContainerInterface: false,
      portIsolation: false,
    });
    expect(configOf({ bridge: "", mtu: 0, ipMasqBackend: "" })).toEqual(configOf({}));
    expect(configOf({ BRIDGE: "" })).toEqual(configOf({}));
  });
  test("makes a default gateway a gateway", () => {
    expect(configOf({ isDefaultGateway: true }).isGateway).toBe(true);
  });
  test.each([
    ["bridge", { bridge: "a/b" }],
    ["bridge", { bridge: "a-name-of-16-char" }],
    ["bridge", { bridge: 7 }],
    ["isGateway", { isGateway: "yes" }],
    ["mtu", { mtu: 67 }],
    ["mtu", { mtu: 65536 }],
    ["mtu", { mtu: "1500" }],
    ["ipMasqBackend", { ipMasqBackend: "ipfw" }],
    ["hairpinMode", { hairpinMode: true, promiscMode: true }],
    ["disableContainerInterface", { disableContainerInterface: true, ipam }],
    ["vlan", { vlan: -1 }],
    ["vlan", { vlan: 4095 }],
    ["vlan", { vlan: "100" }],
    ["vlan", { vlan: 4000, bridge: "bridge-of-13-c", isGateway: true, ipam }],
    ["vlanTrunk", { vlanTrunk: 7 }],
    ["vlanTrunk[0]", { vlanTrunk: [7] }],
    ["vlanTrunk[0].id", { vlanTrunk: [{ id: 0 }] }],
    ["vlanTrunk[0].id", { vlanTrunk: [{ id: 4095 }] }],
    ["vlanTrunk[1].id", { vlanTrunk: [{ id: 1 }, { id: -1 }] }],
    ["vlanTrunk[0].minID", { vlanTrunk: [{ maxID: 7 }] }],
    ["vlanTrunk[0].maxID", { vlanTrunk: [{ minID: 7 }] }],
    ["vlanTrunk[0].minID", { vlanTrunk: [{ minID: -1, maxID: 7 }] }],
    ["vlanTrunk[0].minID", { vlanTrunk: [{ minID: 4095, maxID: 4095 }] }],
    ["vlanTrunk[0].maxID", { vlanTrunk: [{ minID: 7, maxID: 4095 }] }],
    ["vlanTrunk[0].maxID", { vlanTrunk: [{ minID: 7, maxID: -1 }] }],
    ["vlanTrunk[0].maxID", { vlanTrunk: [{ minID: 7, maxID: 6 }] }],
    ["preserveDefaultVlan", { preserveDefaultVlan: "yes" }],
  ])("names the field %s of %j", (field, raw) => {
    expect(refused(raw)).toBe(field);
  });
  test.each([{ vlan: 0, vlanTrunk: [] }, { vlanTrunk: [{}] }, { preserveDefaultVlan: true }])(
    "has no VLANs if %j says none",
    (raw) => {
      expect(configOf(raw)).toEqual(configOf({}));
    },
  );
  test.each([
    [{ vlan: 100 }, 100, []],
    [{ vlanTrunk: [{ id: 101 }] }, 1, [101]],
    [{ vlanTrunk: [{ minID: 200, maxID: 203 }, { id: 101 }] }, 1, [101, 200, 201, 202, 203]],
    [{ vlanTrunk: [{ id: 201, minID: 200, maxID: 201 }, { id: 200 }] }, 1, [200, 201]],
    [{ vlan: 100, vlanTrunk: [{ minID: 99, maxID: 101 }] }, 100, [99, 101]],
    [{ vlanTrunk: [{ minID: 1, maxID: 4094 }] }, 1, Array.from({ length: 4093 }, (_, i) => i + 2)],
  ])("puts the port into the VLANs of %j", (raw, native, tagged) => {
    expect(configOf(raw).vlans).toEqual({ native, tagged, keepDefault: false });
  });
  test("makes the host an interface in the VLAN only as a gateway with addresses", () => {
    expect(configOf({ vlan: 100, isGateway: true, ipam }).vlans?.gateway?.name).toBe("cni0.100");
    expect(configOf({ vlan: 100, isGateway: true }).vlans?.gateway).toBeUndefined();
    expect(configOf({ vlan: 100, ipam }).vlans?.gateway).toBeUndefined();
    expect(configOf({ vlanTrunk: [{ id: 100 }], isGateway: true, ipam }).vlans?.gateway).toBeUndefined();
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("bridge", { bridge: "a/b", ipam })).ipam).toBe("host-local");
    expect(parseForRemoval(confOf("bridge", { hairpinMode: 3 })).ipam).toBeUndefined();
  });
});

describe("the MAC address of the container", () => {
  const from = (raw: object, args = "") => macOf({ conf: confOf("bridge", { ...raw }), args });
  const [one, two, three] = ["02:00:00:00:00:11", "02:00:00:00:00:12", "02:00:00:00:00:13"];
  test.each([
    [one, { runtimeConfig: { mac: one }, args: { cni: { mac: two } } }, `MAC=${three}`],
    [two, { args: { cni: { mac: two } } }, `MAC=${three}`],
    [three, { runtimeConfig: { mac: "" } }, `MAC=${three}`],
    [undefined, {}, ""],
  ])("is %s for %j and CNI_ARGS %j", (wanted, raw, args) => {
    expect(from(raw, args)).toBe(wanted as ReturnType<typeof macOf>);
  });
  test("that is none is refused with its place", () => {
    expect(() => from({ runtimeConfig: { mac: "nonsense" } })).toThrow("runtimeConfig.mac");
  });
});

describe("the plan of bridge", () => {
  test("without IPAM is a bridge, a pair and a link that is up", () => {
    const { state, result } = planOf({}, undefined);
    expect(state.objects.map((o) => o.kind)).toEqual(["bridge", "veth", "link-up"]);
    expect(result.ips).toEqual([]);
    expect(result.interfaces.map((i) => [i.name, i.sandbox])).toEqual([
      ["cni0", undefined],
      ["veth00000001", undefined],
      ["eth0", "/run/netns/c"],
    ]);
  });
  test("reads the bridge, and its addresses only if it becomes the gateway", () => {
    expect(needs(inputOf(configOf({}), V4)).links).toEqual([
      { place: "host", name: "cni0", addresses: false },
    ]);
    const gateway = needs(inputOf(configOf({ isGateway: true }), DUAL));
    expect(gateway.links?.[0]?.addresses).toBe(true);
    expect(gateway.routerAdvertised).toBe(true);
  });
  test("leaves the container's interface down with disableContainerInterface", () => {
    expect(objectsOf(planOf({ disableContainerInterface: true }, undefined).state, "link-up")).toEqual([]);
  });
  test("keeps the MAC address and the MTU of a bridge that is there", () => {
    const { result } = planOf({}, undefined, found("cni0"));
    expect(result.interfaces[0]).toEqual({ name: "cni0", mac: mac("02:00:00:00:00:09"), mtu: 9000 });
    expect(planOf({}, undefined).result.interfaces[0]?.mac).toBe(fresh.bridgeMac);
    const bare = linkFact("cni0", { mac: mac("00:00:00:00:00:00"), kind: "bridge" });
    const facts = { ...noFacts, links: new Map([["host cni0", bare]]) };
    expect(planOf({}, undefined, facts).result.interfaces[0]?.mac).toBe(fresh.bridgeMac);
  });
  test("takes the first address of each network as the gateway where IPAM gives none", () => {
    const { state, result } = planOf({ isGateway: true, ipam }, DUAL);
    expect(result.ips.map((ip) => ip.gateway?.text)).toEqual(["10.1.2.1", "fd00::1"]);
    const shared = objectsOf(state, "address").filter((a) => a.possession === "shared");
    expect(shared.map((a) => [a.link, a.address.text])).toEqual([
      ["cni0", "10.1.2.1/24"],
      ["cni0", "fd00::1/64"],
    ]);
  });
  test("gives its interface the addresses of IPAM, whatever interface these name, if any", () => {
    for (const named of [{}, { interface: 0 }, { interface: 7 }]) {
      const ips = DUAL.ips.map((one) => ({ ...one, ...named }));
      const { result, state } = planOf({ ipam }, { interfaces: [{ name: "other" }], ips });
      expect(result.ips.map((one) => [one.interface, result.interfaces[2]?.name])).toEqual([
        [2, "eth0"],
        [2, "eth0"],
      ]);
      expect(objectsOf(state, "address").map((a) => [a.place, a.link])).toEqual([
        ["container", "eth0"],
        ["container", "eth0"],
      ]);
    }
  });
  test("keeps the gateway that IPAM gave, and invents none without isGateway", () => {
    const lease = { ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.254" }] };
    expect(planOf({ isGateway: true, ipam }, lease).result.ips[0]?.gateway?.text).toBe("10.1.2.254");
    expect(planOf({ ipam }, V4).result.ips[0]?.gateway).toBeUndefined();
    expect(objectsOf(planOf({ ipam }, lease).state, "address").every((a) => a.place === "container")).toBe(
      true,
    );
  });
  test("turns on forwarding for the families that have an address, and only as a gateway", () => {
    const keys = (raw: object, lease: Readonly<Record<string, unknown>>) =>
      objectsOf(planOf(raw, lease).state, "sysctl")
        .filter((s) => s.place === "host")
        .map((s) => s.key);
    expect(keys({ isGateway: true, ipam }, V4)).toEqual(["net/ipv4/ip_forward"]);
    expect(keys({ isGateway: true, ipam }, DUAL)).toEqual([
      "net/ipv4/ip_forward",
      "net/ipv6/conf/all/forwarding",
    ]);
    expect(keys({ ipam }, DUAL)).toEqual([]);
  });
  test("as default gateway adds the default routes that IPAM did not give", () => {
    const routes = (lease: Readonly<Record<string, unknown>>) =>
      planOf({ isDefaultGateway: true, ipam }, lease).result.routes.map((r) => [r.dst.text, r.gw?.text]);
    expect(routes(DUAL)).toEqual([
      ["0.0.0.0/0", "10.1.2.1"],
      ["::/0", "fd00::1"],
    ]);
    expect(routes({ ...V4, routes: [{ dst: "0.0.0.0/0", gw: "10.1.2.9" }] })).toEqual([
      ["0.0.0.0/0", "10.1.2.9"],
    ]);
  });
  test("sends routes without a gateway to the gateway of their family", () => {
    const { state } = planOf({ isGateway: true, ipam }, { ...DUAL, routes: [{ dst: "2001:db8::/32" }] });
    expect(objectsOf(state, "route").map((r) => r.gateway?.text)).toEqual(["fd00::1"]);
  });
  test("refuses another IPv4 network on the bridge unless forceAddress replaces it", () => {
    const facts = found("cni0", "10.9.9.1/24");
    expect(() => planOf({ isGateway: true, ipam }, V4, facts)).toThrow(
      "already has an address different from",
    );
    const { state } = planOf({ isGateway: true, forceAddress: true, ipam }, V4, facts);
    const gateway = objectsOf(state, "address").find((a) => a.place === "host");
    expect(gateway?.replaces?.map((p) => p.text)).toEqual(["10.9.9.1/24"]);
  });
  test("accepts the same address on the bridge, and other IPv6 networks that do not overlap", () => {
    expect(() => planOf({ isGateway: true, ipam }, V4, found("cni0", "10.1.2.1/24"))).not.toThrow();
    expect(() => planOf({ isGateway: true, ipam }, DUAL, found("cni0", "fd11::1/64"))).not.toThrow();
    expect(() => planOf({ isGateway: true, ipam }, DUAL, found("cni0", "fd00::7/48"))).toThrow();
  });
  test("masquerades each address, and checks the MAC address in nftables whatever masquerades", () => {
    const raw = { ipMasq: true, ipMasqBackend: "iptables", macspoofchk: true, ipam };
    const rules = objectsOf(planOf(raw, DUAL).state, "firewall").map(({ state }) => [
      state.backend,
      state.rules.map((r) => r.kind),
    ]);
    expect(rules).toEqual([
      ["iptables", ["masquerade", "masquerade"]],
      ["nftables", ["mac-check"]],
    ]);
  });
  test("prefers the configuration's DNS to that of IPAM if it has any", () => {
    const lease = { ...V4, dns: { nameservers: ["10.0.0.53"] } };
    expect(planOf({ ipam }, lease).result.dns.nameservers).toEqual(["10.0.0.53"]);
    expect(planOf({ ipam, dns: {} }, lease).result.dns.nameservers).toEqual(["10.0.0.53"]);
    expect(planOf({ ipam, dns: { nameservers: ["10.0.0.1"] } }, lease).result.dns.nameservers).toEqual([
      "10.0.0.1",
    ]);
  });
  test("with a VLAN has a bridge that filters, the port's VLANs and the host's interface in it", () => {
    const { state, result } = planOf({ vlan: 100, isGateway: true, ipam }, V4);
    expect(objectsOf(state, "bridge")[0]?.vlanFiltering).toBe(true);
    expect(objectsOf(state, "port-vlans")).toEqual([
      {
        kind: "port-vlans",
        possession: "exclusive",
        link: fresh.hostLink,
        bridge: "cni0",
        vlans: { native: 100, tagged: [] },
        keepDefault: false,
      },
    ]);
    expect(objectsOf(state, "vlan-gateway")[0]).toMatchObject({
      name: "cni0.100",
      vlan: 100,
      mac: fresh.gatewayMac,
      port: fresh.hostLink,
    });
    const gateways = objectsOf(state, "address").filter((a) => a.place === "host");
    expect(gateways.map((a) => [a.link, a.address.text])).toEqual([["cni0.100", "10.1.2.1/24"]]);
    expect(result.interfaces.map((i) => i.name)).toEqual(["cni0", "veth00000001", "eth0", "cni0.100"]);
    expect(result.ips[0]?.interface).toBe(2);
  });
  test("looks for contradicting addresses on the interface in the VLAN, not on the bridge", () => {
    const raw = { vlan: 100, isGateway: true, ipam };
    const bridge = linkFact("cni0", { kind: "bridge", bridge: { vlanFiltering: true } });
    const on = (name: string): Facts => {
      const there = found(name, "10.9.9.1/24");
      return { ...there, links: new Map([...there.links, ["host cni0", bridge]]) };
    };
    expect(() => planOf(raw, V4, on("cni0"))).not.toThrow();
    expect(() => planOf(raw, V4, on("cni0.100"))).toThrow("cni0.100 already has an address");
  });
  test.each([
    ["config/invalid", { vlanFiltering: false }],
    ["feature/missing", {}],
  ] as const)("with a VLAN is %s for a bridge with %j", (code, bridge) => {
    const facts = {
      ...noFacts,
      links: new Map([["host cni0", linkFact("cni0", { kind: "bridge", bridge })]]),
    };
    let failure: unknown;
    try {
      planOf({ vlan: 100 }, undefined, facts);
    } catch (e) {
      failure = e;
    }
    expect(isNetError(failure, code)).toBe(true);
    // In CHECK the difference is found in the kernel.
    const added = { interfaces: [{ name: "cni0", mac: fresh.bridgeMac }] };
    expect(() => planOf({ vlan: 100 }, added, facts)).not.toThrow();
  });
  test("says duplicate address detection only if it was asked for", () => {
    const dad = (enabledad: boolean) =>
      objectsOf(planOf({ enabledad, ipam }, DUAL).state, "address").map((a) => a.dad);
    expect(dad(false)).toEqual([false, false]);
    expect(dad(true)).toEqual([true, true]);
  });
});
