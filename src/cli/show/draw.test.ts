import { describe, expect, test } from "bun:test";
import type { Description, ShownLink, Station } from "./description.ts";
import { draw, wrap } from "./draw.ts";

const now = Date.parse("2026-11-22T12:00:00Z");
const drawn = (d: Description, width = 100): string => draw(d, { width, now }).join("\n");

const link = (name: string, more: Partial<ShownLink> = {}): ShownLink => ({
  index: 2,
  name,
  kind: "veth",
  parameters: {},
  mac: "0a:58:0a:58:00:02",
  mtu: 1500,
  up: true,
  operState: "up",
  ...more,
});

const station = (
  place: Station["place"],
  by: Station["by"],
  of: ShownLink | string,
  more: Partial<Station> = {},
): Station => ({
  place,
  by,
  link: typeof of === "string" ? null : of,
  name: typeof of === "string" ? of : of.name,
  addresses: [],
  routes: [],
  routingRules: [],
  limits: [],
  port: null,
  ports: null,
  ...more,
});

const address = (text: string, state: "usable" | "tentative" | "duplicate" = "usable") => ({
  address: text,
  linkLocal: text.startsWith("fe80"),
  state,
});
const route = (dst: string, more: Partial<Station["routes"][number]> = {}) => ({
  dst,
  gateway: null,
  src: null,
  metric: null,
  table: 254,
  ...more,
});

const plainPort = { hairpin: false, isolated: false, forwarding: true, vlan: null, taggedVlans: [] };

const description = (more: Partial<Description> = {}): Description => ({
  key: "8decc2075e27",
  network: "mynet",
  containerId: "web",
  ifname: "eth0",
  netns: "/run/netns/web",
  plugins: ["bridge", "portmap", "bandwidth"],
  since: "2026-11-22T11:57:00Z",
  state: "ok",
  why: null,
  findings: [],
  dns: null,
  path: [],
  ports: [],
  rules: [],
  forwarding: {},
  ...more,
});

const bridged = description({
  dns: { nameservers: ["10.88.0.1", "fd00::1"], search: ["example.org"] },
  path: [
    station("container", "start", link("eth0"), {
      addresses: [address("10.88.0.2/24"), address("fe80::1/64"), address("fd00::2/64", "duplicate")],
      routes: [
        route("default", { gateway: "10.88.0.1" }),
        route("fe80::/64"),
        route("10.9.0.0/16", { table: 100, metric: 5 }),
      ],
      routingRules: ["100: from 10.88.0.2/32 lookup 100"],
    }),
    station("host", "pair", link("veth1234abcd", { mac: "0a:58:0a:58:00:03" }), {
      port: { ...plainPort, hairpin: true, vlan: 7, taggedVlans: [1, 2, 3, 9] },
      limits: [
        { direction: "to the container", bitsPerSecond: 8_000_000, burstBytes: 100_000, on: "veth1234abcd" },
        { direction: "from the container", bitsPerSecond: 1_500, burstBytes: 999, on: "bwp0123456789ab" },
      ],
    }),
    station("host", "port", link("cni0", { kind: "bridge", mac: null }), {
      addresses: [address("10.88.0.1/24")],
      ports: 12,
    }),
    station("host", "route", link("up0", { kind: "device", operState: "down", mtu: 9000 }), {
      routes: [route("default", { gateway: "192.0.2.1" })],
    }),
  ],
  ports: [
    { protocol: "tcp", hostIP: null, hostPort: 8080, containerPort: 80, live: true },
    { protocol: "udp", hostIP: "127.0.0.1", hostPort: 53, containerPort: 53, live: false },
  ],
  forwarding: { ipv4: true, ipv6: false },
  rules: [
    {
      plugin: "bridge",
      backend: "nftables",
      where: "inet heddle, masquerade4",
      text: "10.88.0.2 : goto masq_10.88.0.0/24",
      via: ["postrouting, priority 105; ip saddr vmap @masquerade4"],
      leadsTo: ["ip daddr != 10.88.0.0/24 masquerade"],
    },
    {
      plugin: "portmap",
      backend: "nftables",
      where: "inet heddle, ports4",
      text: "tcp . 8080 : 10.88.0.2 . 80",
      via: [],
      leadsTo: [],
    },
  ],
});

describe("draw", () => {
  test("follows a bridge network to the uplink, with what happens between", () => {
    expect(`\n${drawn(bridged)}\n`).toBe(`
eth0 of container web on network mynet
key 8decc2075e27, by bridge, portmap, bandwidth, attached 3m ago
ok

┌─── container /run/netns/web ─────────────────────────────────────────────────┐
│ eth0          veth, 0a:58:0a:58:00:02, MTU 1500, up                          │
│ address       10.88.0.2/24                                                   │
│               fd00::2/64, duplicate                                          │
│ route         default via 10.88.0.1                                          │
│               10.9.0.0/16 metric 5 in table 100                              │
│ rule          100: from 10.88.0.2/32 lookup 100                              │
│ dns           10.88.0.1, fd00::1; search example.org                         │
└──┬───────────────────────────────────────────────────────────────────────────┘
   │ the other end of the pair
┌──┴ host ─────────────────────────────────────────────────────────────────────┐
│ veth1234abcd  veth, 0a:58:0a:58:00:03, MTU 1500, up                          │
│               port: hairpin, VLAN 7, tagged VLANs 1 to 3, 9                  │
│ limit         to the container 8 Mbit/s, burst 100 kB, by veth1234abcd       │
│               from the container 1.5 kbit/s, burst 999 B, by bwp0123456789ab │
└──┬───────────────────────────────────────────────────────────────────────────┘
   │ a port of
┌──┴ host ─────────────────────────────────────────────────────────────────────┐
│ cni0          bridge, MTU 1500, up                                           │
│               12 ports                                                       │
│ address       10.88.0.1/24                                                   │
└──┬───────────────────────────────────────────────────────────────────────────┘
   │ routed to
   │ IPv4 forwarding is on
   │ IPv6 forwarding is OFF
   │ host port 8080->80/tcp
   │ host port 127.0.0.1:53->53/udp IS NOT MAPPED
┌──┴ host ─────────────────────────────────────────────────────────────────────┐
│ up0           device, 0a:58:0a:58:00:02, MTU 9000, up, in state down         │
│ route         default via 192.0.2.1                                          │
└──────────────────────────────────────────────────────────────────────────────┘

firewall
  bridge: nftables, inet heddle, masquerade4
    10.88.0.2 : goto masq_10.88.0.0/24
      there: ip daddr != 10.88.0.0/24 masquerade
      from postrouting, priority 105; ip saddr vmap @masquerade4
  portmap: nftables, inet heddle, ports4
    tcp . 8080 : 10.88.0.2 . 80
      ! no packet comes to it
`);
  });

  test("ends at the link that a macvlan hangs on", () => {
    const d = description({
      plugins: ["macvlan"],
      path: [
        station(
          "container",
          "start",
          link("eth0", { kind: "macvlan", parameters: { mode: "bridge", broadcastQueueLength: 1000 } }),
        ),
        station("host", "below", link("up0", { kind: "device" }), { addresses: [address("10.95.0.1/24")] }),
      ],
    });
    expect(drawn(d).split("\n").slice(4)).toEqual([
      "┌─── container /run/netns/web ────────────────────────────────────┐",
      "│ eth0      macvlan, mode bridge, 0a:58:0a:58:00:02, MTU 1500, up │",
      "└──┬──────────────────────────────────────────────────────────────┘",
      "   │ hangs on",
      "┌──┴ host ────────────────────────────────────────────────────────┐",
      "│ up0       device, 0a:58:0a:58:00:02, MTU 1500, up               │",
      "│ address   10.95.0.1/24                                          │",
      "└─────────────────────────────────────────────────────────────────┘",
    ]);
  });

  test("says what differs from the record, and what is not there", () => {
    const finding = { component: "ptp", what: "interface eth0", wanted: "present", found: "none" };
    const lines = drawn(
      description({ state: "broken", findings: [finding], path: [station("container", "start", "eth0")] }),
    ).split("\n");
    expect(lines.slice(2, 4)).toEqual(["broken", "! ptp: interface eth0: want present, found none"]);
    expect(lines.some((l) => /^│ eth0 +is not there +│$/.test(l))).toBe(true);
  });

  test("of what is dead says why, and that nothing is left", () => {
    const lines = drawn(
      description({ state: "dead", why: "its namespace /run/netns/web is gone", since: null }),
    ).split("\n");
    expect(lines).toEqual([
      "eth0 of container web on network mynet",
      "key 8decc2075e27, by bridge, portmap, bandwidth",
      "dead: its namespace /run/netns/web is gone",
      "",
      "no link of it is left",
    ]);
  });

  test("says behind the last box that there is no way out", () => {
    const d = description({
      path: [station("container", "start", link("eth0")), station("host", "pair", link("veth0"))],
      forwarding: { ipv4: true },
    });
    expect(drawn(d).split("\n").slice(-3)).toEqual([
      expect.stringMatching(/^└──┬─+┘$/),
      "   │ no other link has a default route",
      "   │ IPv4 forwarding is on",
    ]);
  });

  test.each([100, 72, 40])(
    "has no line of more than %d characters, and boxes with straight sides",
    (width) => {
      const long = {
        ...bridged,
        containerId: "0123456789abcdef".repeat(4),
        netns: `/run/netns/${"x".repeat(80)}`,
      };
      const lines = drawn(long, width).split("\n");
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
      const sides = lines.filter((l) => /^[┌│└]/.test(l)).map((l) => l.length);
      expect(new Set(sides).size).toBe(1);
    },
  );

  test("prints nothing that a terminal would obey", () => {
    const dns = { nameservers: ["10.0.0.1"], search: ["evil\u001b[2J.example"] };
    const text = drawn(description({ dns, path: [station("container", "start", link("eth0"))] }));
    expect(text).toContain("search evil?[2J.example");
    expect(text).not.toContain("\u001b");
  });

  test("draws twenty routes and counts the rest", () => {
    const routes = Array.from({ length: 25 }, (_, i) => route(`10.${i}.0.0/16`));
    const text = drawn(description({ path: [station("container", "start", link("eth0"), { routes })] }));
    expect(text).toContain("10.19.0.0/16");
    expect(text).not.toContain("10.20.0.0/16");
    expect(text).toContain("and 5 more");
  });
});

describe("wrap", () => {
  test("breaks between words, and a word that is too long", () => {
    expect(wrap("one two three", 8)).toEqual(["one two", "three"]);
    expect(wrap("  rule with words", 10, "    ")).toEqual(["  rule", "    with", "    words"]);
    expect(wrap("abcdefghij", 4)).toEqual(["abcd", "efgh", "ij"]);
    expect(wrap("fits", 4)).toEqual(["fits"]);
  });
});
