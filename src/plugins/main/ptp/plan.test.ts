import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import { confOf, inputOf, noFacts, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const ipam = { type: "host-local" };
const V4 = { ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.1" }] };
const V6 = { ips: [{ address: "fd00::3/64", gateway: "fd00::1" }] };
const DUAL = { ips: [...V4.ips, ...V6.ips] };

const configOf = (raw: object) => parseConfig(confOf("ptp", { ipam, ...raw }));
const planOf = (raw: object, lease: Readonly<Record<string, unknown>>) =>
  plan(inputOf(configOf(raw), lease), noFacts);

describe("the configuration of ptp", () => {
  test("has the defaults of the reference", () => {
    expect(configOf({})).toEqual({ ipMasq: false, ipMasqBackend: "nftables", ipam: "host-local" });
    expect(configOf({ mtu: 0 })).toEqual(configOf({}));
    expect(configOf({ mtu: 1400, ipMasq: true, ipMasqBackend: "iptables" })).toMatchObject({
      mtuBytes: 1400,
      ipMasq: true,
      ipMasqBackend: "iptables",
    });
  });
  test.each([
    ["ipam", { ipam: undefined }],
    ["ipam.type", { ipam: {} }],
    ["mtu", { mtu: -1 }],
    ["ipMasq", { ipMasq: 1 }],
    ["ipMasqBackend", { ipMasqBackend: "none" }],
  ])("names the field %s of %j", (field, raw) => {
    let caught: unknown;
    try {
      configOf(raw);
    } catch (e) {
      caught = e;
    }
    expect(isNetError(caught, "config/invalid") ? caught.detail.field : caught).toBe(field);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("ptp", { mtu: -1, ipam })).ipam).toBe("host-local");
    expect(parseForRemoval(confOf("ptp", {})).ipam).toBeUndefined();
  });
});

describe("the plan of ptp", () => {
  test("gives the container its address without the network's route, and routes by the gateway", () => {
    const { state } = planOf({}, V4);
    const own = objectsOf(state, "address").filter((a) => a.place === "container");
    expect(own.map((a) => [a.address.text, a.connectedRoute])).toEqual([["10.1.2.3/24", false]]);
    const routes = objectsOf(state, "route").filter((r) => r.place === "container");
    expect(routes.map((r) => [r.dst.text, r.gateway?.text, r.src?.text, r.scope])).toEqual([
      ["10.1.2.1/32", undefined, "10.1.2.3", 253],
      ["10.1.2.0/24", "10.1.2.1", "10.1.2.3", 0],
    ]);
  });
  test("gives the host's end the gateway as a single address and a route to the container", () => {
    const { state } = planOf({}, DUAL);
    const addresses = objectsOf(state, "address").filter((a) => a.place === "host");
    expect(addresses.map((a) => [a.link, a.address.text])).toEqual([
      ["veth00000001", "10.1.2.1/32"],
      ["veth00000001", "fd00::1/128"],
    ]);
    const routes = objectsOf(state, "route").filter((r) => r.place === "host");
    expect(routes.map((r) => r.dst.text)).toEqual(["10.1.2.3/32", "fd00::3/128"]);
  });
  test("takes a gateway that is not the container's for one on the link", () => {
    const routes = [
      { dst: "198.18.0.0/24", gw: "10.1.2.7" },
      { dst: "198.18.1.0/24", gw: "10.1.2.1" },
    ];
    const made = objectsOf(planOf({}, { ...V4, routes }).state, "route");
    expect(made.filter((r) => r.dst.text.startsWith("198")).map((r) => r.onLink)).toEqual([true, undefined]);
  });
  test("sets one gateway address for two addresses of one network", () => {
    const lease = { ips: [...V4.ips, { address: "10.1.2.4/24", gateway: "10.1.2.1" }] };
    const addresses = objectsOf(planOf({}, lease).state, "address").filter((a) => a.place === "host");
    expect(addresses.map((a) => a.address.text)).toEqual(["10.1.2.1/32"]);
  });
  test("forwards the families that have an address, and listens to routers only where it must", () => {
    const keys = objectsOf(planOf({}, V6).state, "sysctl").filter((s) => s.place === "host");
    expect(keys.map((s) => s.key)).toEqual(["net/ipv6/conf/all/forwarding"]);
    expect(needs(inputOf(configOf({}), V4)).routerAdvertised).toBe(false);
    expect(needs(inputOf(configOf({}), DUAL)).routerAdvertised).toBe(true);
  });
  test("refuses an address without a gateway", () => {
    expect(() => planOf({}, { ips: [{ address: "10.1.2.3/24" }] })).toThrow("gave 10.1.2.3/24 no gateway");
  });
  test("answers with the host's end first and the addresses on the container's", () => {
    const { result } = planOf({ mtu: 1400 }, { ...DUAL, routes: [{ dst: "0.0.0.0/0" }] });
    expect(result.interfaces.map((i) => [i.name, i.mtu, i.sandbox])).toEqual([
      ["veth00000001", 1400, undefined],
      ["eth0", 1400, "/run/netns/c"],
    ]);
    expect(result.ips.map((ip) => ip.interface)).toEqual([1, 1]);
    expect(result.routes.map((r) => [r.dst.text, r.gw])).toEqual([["0.0.0.0/0", undefined]]);
  });
  test("prefers the configuration's DNS to that of IPAM if it says anything, be it that there is none", () => {
    const dns = (configured: object | undefined) =>
      planOf({ dns: configured }, { ...V4, dns: { nameservers: ["10.0.0.53"], search: ["lan"] } }).result.dns;
    const leased = { nameservers: ["10.0.0.53"], search: ["lan"] };
    for (const nothing of [undefined, {}, { domain: "", options: null }])
      expect(dns(nothing)).toEqual(leased);
    for (const said of [{ domain: "test" }, { options: ["rotate"] }, { search: [] }, { nameservers: [] }])
      expect(dns(said)).toEqual(said);
  });
  test("masquerades each address if asked", () => {
    expect(objectsOf(planOf({}, DUAL).state, "firewall")).toEqual([]);
    const [firewall] = objectsOf(planOf({ ipMasq: true }, DUAL).state, "firewall");
    expect(firewall?.state.rules).toMatchObject([
      { kind: "masquerade", address: { text: "10.1.2.3" }, subnet: { text: "10.1.2.0/24" } },
      { kind: "masquerade", address: { text: "fd00::3" }, subnet: { text: "fd00::/64" } },
    ]);
  });
});
