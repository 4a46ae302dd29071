import { describe, expect, test } from "bun:test";
import type { SeenHost, SeenLab } from "./look.ts";
import { allReached, drawMatrix } from "./matrix.ts";
import { drawLab } from "./picture.ts";
import { parseXml, type XmlElement } from "../testing/xml.ts";
import { isExpected, type Party, partiesOf, type Pinged } from "./ping.ts";
import { drawSvg } from "./svg.ts";

const host = (n: number, bridge: string, change: Partial<SeenHost> = {}): SeenHost => ({
  name: `host${n}`,
  bridge,
  uplink: { name: "eth0", addresses: [`192.168.${bridge.slice(3)}.1${n}/24`], mtuBytes: 1500, state: "up" },
  containers: [{ name: "web", network: "lab", addresses: [`10.244.${n}.2/24`], there: true }],
  programs: [],
  ...change,
});
const lab: SeenLab = {
  spec: {
    name: "demo",
    hosts: 3,
    underlay: "routed",
    subnets: 2,
    ip: "4",
    mtuBytes: 1450,
    offload: false,
    provider: "none",
    backend: "",
    store: "file",
  },
  faults: [{ kind: "cut", host: "host2" }],
  subnets: [
    { bridge: "lan1", addresses: ["192.168.1.1/24"] },
    { bridge: "lan2", addresses: ["192.168.2.1/24"] },
  ],
  outside: ["198.51.100.1"],
  routerPrograms: [],
  hosts: [
    host(1, "lan1", { programs: [{ name: "agent", pid: 7, state: "stopped" }] }),
    host(2, "lan1", { uplink: { ...host(2, "lan1").uplink, state: "cut" } }),
    host(3, "lan2"),
  ],
};

describe("the picture of a lab", () => {
  test("has every subnet as a line with its hosts, and cables that are pulled do not reach", () => {
    expect(`\n${drawLab(lab, 80).join("\n")}\n`).toBe(`
lab demo: 3 hosts, routed underlay, IPv4, MTU 1450, no offloads, no provider
! host2 is cut off

router  outside 198.51.100.1
│
├─────┬──────────────────────┬─ lan1 192.168.1.1/24 ─
│     │                      ╳
│  ┌─ host1 ───────────┐  ┌─ host2 ───────────┐
│  │ eth0              │  │ eth0 CUT          │
│  │   192.168.1.11/24 │  │   192.168.1.12/24 │
│  │ agent STOPPED     │  │ ■ web             │
│  │ ■ web             │  │   10.244.2.2/24   │
│  │   10.244.1.2/24   │  │                   │
│  └───────────────────┘  └───────────────────┘
│
└─────┬─ lan2 192.168.2.1/24 ─
      │
   ┌─ host3 ───────────┐
   │ eth0              │
   │   192.168.2.13/24 │
   │ ■ web             │
   │   10.244.3.2/24   │
   └───────────────────┘
`);
  });

  test("puts hosts that do not fit into a further row of their subnet", () => {
    const lines = drawLab(lab, 40);
    expect(lines.filter((line) => line.startsWith("├"))).toEqual([
      "├─────┬─ lan1 192.168.1.1/24 ─",
      "├─────┬─ lan1 ─",
    ]);
    expect(Math.max(...lines.slice(4).map((line) => line.length))).toBeLessThanOrEqual(40);
  });

  test("shows a subnet without hosts", () => {
    expect(drawLab({ ...lab, hosts: [] }, 80).slice(-2)).toEqual(["│", "└─── lan2 192.168.2.1/24 ─"]);
  });

  test("names the programs of the router", () => {
    const seen = { ...lab, routerPrograms: [{ name: "etcd", pid: 9, state: "stopped" as const }] };
    expect(drawLab(seen, 80)).toContain("router  outside 198.51.100.1  etcd STOPPED");
  });
});

describe("the picture of a lab as SVG", () => {
  const named = (svg: string, name: string) => parseXml(svg).children.filter((e) => e.name === name);
  const textsOf = (svg: string) => named(svg, "text").map((e) => e.text);

  test("is well-formed XML and says the same, whatever is in a name", () => {
    const name = `<a&b> "c'`;
    const svg = drawSvg({ ...lab, hosts: [host(1, "lan1", { name })] });
    expect(parseXml(svg)).toMatchObject({ name: "svg", attributes: { xmlns: "http://www.w3.org/2000/svg" } });
    expect(textsOf(svg)).toContain(name);
    expect(textsOf(svg)).toContain("host2 is cut off");
    expect(named(svg, "rect")).toHaveLength(1);
  });

  test("has everything within its edges, and no two hosts on one another", () => {
    const hosts = Array.from({ length: 12 }, (_, i) => host(i + 1, i < 7 ? "lan1" : "lan2"));
    const svg = drawSvg({ ...lab, hosts });
    const of = (e: XmlElement, key: string): number => Number(e.attributes[key]);
    const { attributes } = parseXml(svg);
    const boxes = named(svg, "rect").map((e) => ({
      x: of(e, "x"),
      y: of(e, "y"),
      right: of(e, "x") + of(e, "width"),
      bottom: of(e, "y") + of(e, "height"),
    }));
    expect(boxes).toHaveLength(12);
    for (const box of boxes) {
      expect([box.x, box.y, Number(attributes["width"]) - box.right]).not.toContain(NaN);
      expect(Math.min(box.x, box.y)).toBeGreaterThan(0);
      expect(box.right).toBeLessThan(Number(attributes["width"]));
      expect(box.bottom).toBeLessThan(Number(attributes["height"]));
      const others = boxes.filter((other) => other !== box);
      expect(
        others.filter((o) => o.x < box.right && box.x < o.right && o.y < box.bottom && box.y < o.bottom),
      ).toEqual([]);
    }
    for (const e of named(svg, "text")) {
      expect(of(e, "x") + e.text.length * 7.8).toBeLessThanOrEqual(Number(attributes["width"]));
      expect(of(e, "y")).toBeLessThan(Number(attributes["height"]));
    }
  });
});

describe("the matrix of a ping", () => {
  const parties = partiesOf(lab);
  const pinged = (from: string, to: string, rest: Partial<Pinged> = {}): Pinged => ({
    from,
    to,
    family: 4,
    address: "192.0.2.1",
    sent: 2,
    received: 2,
    ms: 0.0512,
    ...rest,
  });

  test("has everyone who is there, hosts first, each with the address that is pinged", () => {
    expect(parties.map((p) => p.name)).toEqual([
      "host1",
      "host1/web",
      "host2",
      "host2/web",
      "host3",
      "host3/web",
      "outside",
    ]);
  });

  test("shows times, losses, failures, and what was not asked", () => {
    const { ms: _, ...lost } = pinged("host2", "host1", { received: 0, error: "ENETUNREACH" });
    const all = [
      pinged("host1", "host1/web"),
      pinged("host1", "host2", { ms: 12.34, received: 1 }),
      pinged("host1/web", "host1", { ms: 1234.5 }),
      lost,
    ];
    expect(`\n${drawMatrix(parties.slice(0, 3), all, 4).join("\n")}\n`).toBe(`
   IPv4, ms                    1     2          3
1  host1      192.168.1.11        0.05  12.3 -50%
2  host1/web  10.244.1.2    1235                ·
3  host2      192.168.1.12  FAIL     ·

3 of 4 reached, 1 FAILED
  ENETUNREACH: host2 to 192.0.2.1
`);
    expect(allReached(all)).toBe(false);
    expect(allReached(all.slice(0, 3))).toBe(true);
  });

  test("without a provider, containers of different hosts are not expected to reach each other", () => {
    const named = (name: string): Party => parties.find((p) => p.name === name) as Party;
    const expected = (from: string, to: string, joins = false) => isExpected(named(from), named(to), joins);
    expect(expected("host1", "host2")).toBe(true);
    expect(expected("host1", "host1/web")).toBe(true);
    expect(expected("host1/web", "host2/web")).toBe(false);
    expect(expected("host1/web", "outside")).toBe(true);
    expect(expected("host1/web", "host2/web", true)).toBe(true);
  });
});
