/**
 * What the checks make of facts that are out of sight: never that all is well. The facts are those of a host on which
 * everything is wrong, so that whatever is hidden of it hides something.
 */
import { describe, expect, test } from "bun:test";
import type { Link } from "../../rtnl/link.ts";
import { catalogue } from "./catalogue.ts";
import { examine } from "./checks.ts";
import type { HostFacts } from "./facts.ts";
import type { ConfNetwork } from "./gather/config.ts";
import { seen, unseen } from "./seen.ts";
import { cidr } from "../../testing/address.ts";

const link = (name: string, index: number, more: Partial<Link> = {}): Link => ({
  name,
  index,
  altNames: [],
  mtuBytes: 1500,
  up: true,
  loopback: false,
  promiscuous: false,
  operState: "up",
  allMulticast: false,
  txQueueLength: 1000,
  ...more,
});
const network = (name: string, more: Partial<ConfNetwork> = {}): ConfNetwork => ({
  name,
  file: `/c/${name}.conflist`,
  plugins: ["gone", "locked", "flannel"],
  types: ["bridge", "portmap"],
  bridge: { name: "br0", isGateway: true },
  routed: true,
  allowsIn: [],
  looksAtFrames: false,
  markBit: 13,
  dhcpSocket: "/run/nobody.sock",
  pools: [
    {
      dir: `/r/${name}`,
      text: "10.0.0.1-10.0.0.2",
      subnets: [cidr("10.0.0.0/30")],
      capacity: 1n,
      used: seen(1n),
    },
  ],
  ...more,
});

const owner = { component: "bridge", network: "a", containerId: "c", ifname: "eth0" };
const mark = "heddle-bridge-0123456789ab-0123456789abcdef";
const sysctl = {
  kind: "sysctl",
  possession: "shared",
  place: "host",
  key: "net/ipv4/ip_forward",
  value: "1",
} as const;
const file = (path: string) => ({ path, uid: 0, belongs: "own", mode: 0o777, modifiedMs: 9e12 }) as const;
const uplink = link("up0", 2, { mtuBytes: 1400 });
const iptables =
  "*filter\n:FORWARD DROP [0:0]\n:KUBE-FORWARD - [0:0]\n-A FORWARD -j MARK --set-xmark 0x2000/0x2000\nCOMMIT\n";

const links: readonly Link[] = [
  uplink,
  link("br0", 3, { kind: "bridge", mtuBytes: 9000 }),
  link("veth1", 4, { kind: "veth", master: 3, mtuBytes: 9000 }),
  link("veth2", 5, { kind: "veth", master: 3 }),
  link("eth9", 6, { kind: "veth" }),
];

const troubled: HostFacts = {
  nowMs: 1e12,
  config: {
    dir: "/c",
    ignored: seen(["x.bak"]),
    files: seen([
      {
        file: "/c/0.conflist",
        findings: seen([
          { file: "/c/0.conflist", line: 1, column: 1, severity: "error", path: "", message: "no" },
        ]),
      },
      { file: "/c/a.conflist", findings: seen([]), network: network("a") },
      { file: "/c/a2.conflist", findings: seen([]), network: network("a") },
      {
        file: "/c/b.conflist",
        findings: seen([]),
        network: network("b", { bridge: { name: "eth9", isGateway: true } }),
      },
    ]),
  },
  runtimes: { pluginPaths: seen([]), confDirs: seen([{ of: "containerd", dir: "/elsewhere" }]) },
  plugins: seen([
    {
      of: "CNI_PATH",
      dirs: ["/p", "/opt/cni/bin"],
      found: new Map([
        ["locked", { state: "not executable", file: "/p/locked" }],
        ["flannel", { state: "executable", file: "/opt/cni/bin/flannel", link: "../../usr/bin/flannel" }],
      ]),
    },
  ]),
  features: seen([{ feature: "links of kind vrf", modules: ["vrf"], networks: ["a"], has: seen(false) }]),
  net: {
    links: seen(links),
    uplink: seen(uplink),
    routes: seen([
      { dst: cidr("::/0"), oif: 2, table: 254, scope: 0, type: 1, protocol: 9 },
      { dst: cidr("10.0.0.0/8"), oif: 2, table: 254, scope: 0, type: 1, protocol: 72 },
    ]),
    rules: seen([{ family: 4, priority: 5, table: 7, mark: { value: 0x2000, mask: 0x2000 } }]),
    sysctls: seen(
      new Map([
        ["net/ipv4/ip_forward", "0"],
        ["net/ipv4/conf/all/route_localnet", "1"],
        ["net/ipv6/conf/up0/forwarding", "1"],
        ["net/ipv6/conf/up0/accept_ra", "1"],
        ["net/bridge/bridge-nf-call-iptables", "1"],
        ["net/netfilter/nf_conntrack_count", "1000"],
        ["net/netfilter/nf_conntrack_max", "1000"],
        ["net/netfilter/nf_conntrack_buckets", "1"],
      ]),
    ),
    sysctlFiles: seen(new Map([["net/ipv4/ip_forward", { value: "0", file: "/etc/sysctl.conf" }]])),
    protocolNames: seen(new Map([[72, "mine"]])),
  },
  ruleSet: {
    tables: seen([
      { family: "inet", table: "heddle", comment: "heddle layout 9" },
      { family: "inet", table: "firewalld" },
    ]),
    chains: seen([
      {
        family: "ip",
        table: "kube-proxy",
        chain: "nat",
        handle: 1n,
        uses: 0,
        base: { type: "nat", hook: "prerouting", priority: -95, policy: "accept" },
      },
    ]),
    drops: seen([{ chain: "ip filter FORWARD", by: "policy", families: [4], iptables: "nft" }]),
    usualIptables: seen("nft"),
    iptables: seen([
      { family: 4, kind: "nft", text: iptables },
      { family: 4, kind: "legacy", text: iptables },
    ]),
    unrecorded: seen([mark]),
  },
  managers: {
    networkd: seen(new Map([[3, { managed: true, state: "configured" }]])),
    networkManager: seen(new Map()),
    dhcpcd: seen("absent"),
    ufw: seen({ enabled: false }),
    firewalld: seen(false),
    docker: seen(false),
    flushes: seen([{ file: "/etc/nftables.conf", service: "nftables.service" }]),
    reloads: seen(undefined),
  },
  state: {
    attachments: seen([
      { owner, mark: `${mark}0`, state: "live", objects: [sysctl], firewall: seen("an element is missing") },
      {
        owner: { ...owner, containerId: "d" },
        mark: `${mark}1`,
        state: "dead",
        why: "it is gone",
        objects: [],
      },
    ]),
    unrecorded: seen(new Map([[mark, ["link veth2", "nftables inet ports4 8080"]]])),
    unreadable: seen(["/run/heddle/attachments/x.pending"]),
    reservations: seen([
      { network: "a", address: "10.0.0.2", containerId: "e", file: "/r/a/10.0.0.2", ageSeconds: 3600 },
    ]),
    cached: seen([
      { network: "a", containerId: "f", ifname: "eth0", netns: "/gone", live: false, ours: true },
    ]),
  },
  files: { state: seen([file("/s")]), config: seen([file("/c")]), plugins: seen([file("/p")]) },
  sockets: seen(new Map([["/run/nobody.sock", "absent"]])),
};

const bad = (facts: HostFacts): ReadonlySet<string> =>
  new Set(examine(facts).flatMap((f) => (f.severity === "ok" ? [] : [f.id])));

/** The facts with one thing hidden, in every way, and the name of what is hidden. */
function* hiding(value: unknown, path: string): Generator<readonly [path: string, hidden: unknown]> {
  if (typeof value !== "object" || value === null || value instanceof Map || value instanceof Set) return;
  if (value instanceof Uint8Array || Object.isFrozen(value)) return;
  if ("known" in value) yield [path, unseen("it is hidden")];
  for (const [key, inner] of Object.entries(value))
    for (const [at, hidden] of hiding(inner, path === "" ? key : `${path}.${key}`))
      yield [
        at,
        Array.isArray(value)
          ? value.map((v, i) => (String(i) === key ? hidden : v))
          : { ...value, [key]: hidden },
      ];
}

describe("of a plugin that is a link", () => {
  const said = (file: string, link: string, state: "executable" | "missing" = "executable") => {
    const found = new Map([["flannel", { state, file, link }]]);
    const lookup = { of: "CNI_PATH", dirs: ["/opt/cni/bin"], found };
    return examine({ ...troubled, plugins: seen([lookup]) })
      .filter(({ id, subject }) => id.startsWith("plugin-") && subject === "flannel")
      .map(({ id, severity, seen: what, cure }) => ({ id, severity, what, cure }));
  };

  test("flannel's is told where flanneld would write over what it leads to", () => {
    expect(said("/opt/cni/bin/flannel", "../../../usr/lib/cni/flannel")).toEqual([
      {
        id: "plugin-link",
        severity: "warning",
        what: "/opt/cni/bin/flannel is a link to ../../../usr/lib/cni/flannel, and not a file of its own",
        cure: [
          "rm /opt/cni/bin/flannel; heddle install --cni-bin-dir /opt/cni/bin",
          "or, if that program is meant: cp --remove-destination /usr/lib/cni/flannel /opt/cni/bin/flannel",
        ],
      },
    ]);
    expect(said("/opt/cni/bin/flannel", "heddle")[0]?.cure).toHaveLength(1);
    expect(said("/usr/lib/cni/flannel", "heddle")).toEqual([]);
  });

  test("one that leads nowhere is missing, and has to go before another comes", () => {
    const [finding] = said("/opt/cni/bin/flannel", "/gone/flannel", "missing");
    expect(finding?.id).toBe("plugin-missing");
    expect(finding?.what).toEndWith("; /opt/cni/bin/flannel is a link to /gone/flannel, which is not there");
    expect(finding?.cure).toEqual(["rm /opt/cni/bin/flannel", "heddle install --cni-bin-dir /opt/cni/bin"]);
  });
});

describe("of a host on which everything is wrong", () => {
  test("every finding but that there is no configuration is reported", () => {
    const missing = Object.keys(catalogue).filter((id) => !bad(troubled).has(id));
    expect(missing).toEqual(["config-none"]);
  });

  const hidden = [...hiding(troubled, "")].filter(([, facts]) => facts !== troubled);

  test("there is much that can be hidden", () => {
    expect(hidden.length).toBeGreaterThan(35);
  });

  test.each(hidden)("nothing that was wrong is in order when %s cannot be seen", (_, facts) => {
    const still = bad(facts as HostFacts);
    expect([...bad(troubled)].filter((id) => !still.has(id))).toEqual([]);
  });

  test("nothing at all is in order, nor wrong, when nothing can be seen", () => {
    const blind = JSON.parse(
      JSON.stringify(troubled, (_, v: unknown) => (isFact(v) ? unseen("it is dark") : bigless(v))),
    ) as HostFacts;
    const findings = examine(blind);
    expect(findings.filter((f) => f.unknown !== true)).toEqual([]);
    expect([...new Set<string>(findings.map((f) => f.id))]).toEqual(Object.keys(catalogue));
  });
});

const isFact = (v: unknown): boolean => typeof v === "object" && v !== null && "known" in v;
const bigless = (v: unknown): unknown => (typeof v === "bigint" ? String(v) : v);
