/** What IPAM says, as the container's interface has it: addresses, and routes of every kind, by each plugin that makes a link. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type Json, type ListSite, listSite } from "./list-site.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });
const heddle = heddleOfFile();

const addresses = [
  { address: "10.83.0.30/24", gateway: "10.83.0.1" },
  { address: "fd83::cdde/64", gateway: "fd83::1" },
];
const makers: readonly (readonly [string, Json])[] = [
  ["bridge", { type: "bridge", bridge: "routes0" }],
  ["ptp", { type: "ptp" }],
  ["macvlan", { type: "macvlan", master: "up0" }],
  ["tap", { type: "tap" }],
  ["host-device", { type: "host-device", device: "dev0" }],
];

async function site(): Promise<ListSite> {
  const on = await listSite(heddle);
  const links = ["link add up0 up type veth peer name up1", "link add dev0 up type veth peer name dev1"];
  await on.host.exec(["ip", "-batch", "-"], { stdin: `${links.join("\n")}\n` });
  return on;
}
const withRoutes = (maker: Json, routes: readonly Json[]): Json => ({
  ...maker,
  ipam: { type: "static", addresses, routes },
});

/** Routes of one destination: `via GATEWAY`, `metric`, and what else is said of them. */
async function routesTo(on: ListSite, net: string, dst: string, table = "main"): Promise<readonly Json[]> {
  const family = dst.includes(":") ? "-6" : "-4";
  const listed = await on.ip(net, family, "-details", "route", "show", "to", "exact", dst, "table", table);
  // Of several next hops the kernel may make one route.
  return listed.flatMap(({ nexthops, ...route }) =>
    ((nexthops ?? [{}]) as readonly Json[]).map((hop) => ({ ...route, ...hop })),
  );
}

describe.each(makers)("an interface by %s", (_, maker) => {
  kernel("has the addresses and routes of IPAM, whatever these say of themselves", async () => {
    await using on = await site();
    const a = await on.container();
    const conf = withRoutes(maker, [
      { dst: "198.18.0.0/24", gw: "10.83.0.5", priority: 7, mtu: 1300, advmss: 1200 },
      { dst: "2001:db8:1::/48", gw: "fd83::5" },
      { dst: "198.18.1.0/24" },
      { dst: "2001:db8:2::/48" },
      { dst: "198.18.2.0/24", gw: "10.83.0.5", table: 5000 },
      { dst: "198.18.3.4/32", gw: "10.83.0.5", scope: 222 },
    ]);
    const result = await on.add(a, [conf]);
    const [link] = await on.ip(a.path, "address", "show", "dev", "eth0");
    const own = ((link?.["addr_info"] ?? []) as readonly Json[]).filter((i) => i["scope"] === "global");
    expect(own.map((i) => [i["local"], i["prefixlen"]])).toEqual([
      ["10.83.0.30", 24],
      ["fd83::cdde", 64],
    ]);
    expect(await routesTo(on, a.path, "198.18.0.0/24")).toMatchObject([
      { gateway: "10.83.0.5", metric: 7, metrics: [{ mtu: 1300, advmss: 1200 }] },
    ]);
    expect(await routesTo(on, a.path, "2001:db8:1::/48")).toMatchObject([{ gateway: "fd83::5" }]);
    expect(await routesTo(on, a.path, "198.18.1.0/24")).toMatchObject([{ gateway: "10.83.0.1" }]);
    expect(await routesTo(on, a.path, "2001:db8:2::/48")).toMatchObject([{ gateway: "fd83::1" }]);
    expect(await routesTo(on, a.path, "198.18.2.0/24", "5000")).toMatchObject([{ gateway: "10.83.0.5" }]);
    expect(await routesTo(on, a.path, "198.18.3.4")).toMatchObject([{ scope: "222" }]);
    await on.check(a, [conf], result);
    await on.del(a, [conf], result);
  });

  kernel("has both ways to one destination", async () => {
    await using on = await site();
    const a = await on.container();
    const both = ["198.18.0.0/24", "2001:db8:1::/48"].flatMap((dst) =>
      [5, 6].map((n) => ({ dst, gw: dst.includes(":") ? `fd83::${n}` : `10.83.0.${n}` })),
    );
    const conf = withRoutes(maker, both);
    const result = await on.add(a, [conf]);
    const ways = async (dst: string) => (await routesTo(on, a.path, dst)).map((r) => r["gateway"]);
    expect(await ways("198.18.0.0/24")).toEqual(["10.83.0.5", "10.83.0.6"]);
    expect(await ways("2001:db8:1::/48")).toEqual(["fd83::5", "fd83::6"]);
    await on.check(a, [conf], result);
    await on.del(a, [conf], result);
  });

  kernel("keeps its IPv6 address while it is down", async () => {
    await using on = await site();
    const a = await on.container();
    await on.add(a, [withRoutes(maker, [])]);
    await a.exec(["ip", "link", "set", "eth0", "down"]);
    const { stdout } = await a.exec(["ip", "-6", "-oneline", "address", "show", "dev", "eth0"]);
    expect(stdout).toContain("fd83::cdde/64");
  });
});
